import BlockImage
import HostStorage
import ImageFormats
import Overlays
import SystemPackage

/// How images are opened, and what is written over them.
extension ExportCatalog {
    /// The most notes that are remembered so that each is logged once.
    private static let noteLimit = 1024

    /// The image, with what was written to its disk.
    func open(_ image: NamedImage, _ counters: ReadCounters) -> OpenedImage {
        do throws(ImageError) {
            let opened = try image.open(resources: resources, counters: counters)
            noteUse(of: opened.layers.flatMap(\.files))
            return try view(of: opened, image)
        } catch {
            return OpenedImage(failure: error)
        }
    }

    private func view(of opened: OpenedImage, _ image: NamedImage) throws(ImageError) -> OpenedImage {
        guard let overlays else { return opened }
        let place = image.containerPlace
        let file = place?.archive ?? image.path
        // What was found in a folder has its path.
        let path = image.confines == nil ? try PathByName(file).path : file
        let location = path.appending(FilePath(bytes: place?.disk ?? []).components)
        return overlays.folder.disk(over: location).view(
            of: opened, at: location, isFile: place == nil, ignoresChanges: image.options.ignoresParentID)
    }

    private func noteUse(of files: [any HostFile]) {
        for note in ImageUse.timeNotes(files) + (ImageUse(files)?.note.map { [$0] } ?? []) {
            let note = note.description
            let isNew = told.withLock { told in
                if told.count >= Self.noteLimit { told = [] }
                return told.insert(note).inserted
            }
            if isNew { tell(note) }
        }
    }

    /// The disk `listed` of `disks`, of the image called `name`.
    func export(_ name: String, _ listed: ImageDisks.Listed, of disks: ImageDisks, isWhole: Bool) -> Export {
        Export(name, listed, of: disks, isWhole: isWhole, paths: paths, mayChange: isWritable)
    }
}

/// What is written to disks.
extension ExportCatalog {
    /// Whether what is written to disks has a place.
    package var isWritable: Bool { overlays != nil }

    static func openOverlays(
        at path: FilePath, for images: [OverlayFolder.Images], _ settings: OverlaySettings,
        _ tell: @escaping @Sendable (String) -> Void
    ) throws(ImageError) -> (folder: OverlayFolder, writeBack: IdleWriteBack) {
        let folder = try OverlayFolder(at: path, for: images, settings: settings)
        try folder.checkWritable()
        return (
            folder, IdleWriteBack(of: folder) { error in tell("what was written is not in its overlay: \(error)") }
        )
    }

    /// Nothing is written any more: flushes and closes the overlays. Answers why what was written to some of them may be lost.
    package func end() -> [ImageError] {
        overlays?.writeBack.end()
        return overlays?.folder.close() ?? []
    }
}
