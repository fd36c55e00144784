import BlockImage
import Catalog
import ImageFormats
import ImageTools

extension SharingOption {
    /// Throws `denied` where another program is writing to one of `files`, by QEMU's locks; with --force-share that is
    /// only said.
    func checkUse(of files: [any HostFile]) throws(ImageError) {
        guard let file = files.first(where: { $0.imageLock == .writing }) else { return }
        let message = "another program is writing to it, so that what is read may be wrong"
        guard forceShare else {
            throw ImageError(
                .denied, path: file.path, "\(message)", hint: "--force-share reads it all the same")
        }
        Failure.warn("\(file.path): \(message)")
    }

    /// To be called when all of `disk` was read. Throws `system` with ESTALE where it was written to meanwhile; with
    /// `ignoresChanges` or --force-share that is only reported. Reports files of which that cannot be known.
    func checkUnchanged(_ disk: NamedDisk, ignoresChanges: Bool) throws(ImageError) {
        do throws(ImageError) {
            try disk.checkUnchanged()
            for note in disk.changeNotes { Failure.say(note.description) }
        } catch {
            guard ignoresChanges || forceShare else { throw error }
            var said = error
            said.hint = nil
            Failure.warn(said.description)
        }
    }
}

extension ReadingOptions {
    /// Opens the disk of `image`. Throws why it cannot be read, and where another program is writing to it.
    func disk(
        _ image: NamedImage, resources: LayerResources = LayerResources()
    ) throws(ImageError) -> NamedDisk {
        let disk = try image.disk(resources: resources)
        try sharing.checkUse(of: disk.files)
        return disk
    }

    /// To be called when all of `disk` was read: as `SharingOption.checkUnchanged`.
    func checkUnchanged(_ disk: NamedDisk) throws(ImageError) {
        try sharing.checkUnchanged(disk, ignoresChanges: ignoreChanges)
    }
}
