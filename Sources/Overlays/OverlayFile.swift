import BlockImage
import Glibc
import HostStorage
import ImageFormats
import QCOW2
import SystemPackage

/// An overlay of this program that no program uses: it and its folder are locked for as long as this is there. For use by one
/// thread.
package final class OverlayFile {
    /// Where it is, without links.
    package let location: FilePath
    /// The image under it, as its header has it, from the root on. Links were not followed.
    package let baseLocation: FilePath
    let file: LocalWritableFile
    let description: QCOW2Description
    private(set) var identity: BaseIdentity
    let takesLocks: Bool
    private let folders: [FolderLock]

    /// The overlay at `path`. Nothing of it is changed. `takesLocks`: by QEMU's locks other programs are kept out, as they keep out this
    /// one.
    ///
    /// Throws `denied` for what is none, or a link, and `system` with EBUSY where a program uses it, or a server has its folder.
    package init(at path: FilePath, takesLocks: Bool) throws(ImageError) {
        self.takesLocks = takesLocks
        location = try canonical(path)
        let own = try? FileStatus(at: path, followingLinks: false)
        guard own?.identity == (try? FileStatus(at: location))?.identity else {
            throw ImageError(
                .denied, path: path.text, "is a link to \(path: location.text): name that")
        }
        file = try LocalWritableFile(at: location)
        let base = try Self.read(file).base
        baseLocation = location.removingLastComponent().pushing(FilePath(bytes: base)).lexicallyNormalized()
        var folders: [FolderLock] = []
        for folder in Self.folders(of: location, over: baseLocation) {
            folders.append(try FolderLock(folder, for: .tool))
        }
        self.folders = folders
        if takesLocks { try file.lock() }
        // What had it before may have changed it.
        let now = try Self.read(file)
        guard now.base == base, file.isCurrent else {
            throw ImageError(
                .system(errno: EBUSY), path: path.text, "another program has changed it this very moment; try again")
        }
        (description, identity) = (now.description, now.identity)
    }

    /// What its header says.
    private static func read(
        _ file: LocalWritableFile
    ) throws(ImageError) -> (description: QCOW2Description, identity: BaseIdentity, base: [UInt8]) {
        let description = try QCOW2Description(file)
        guard let stored = description.extensions.baseIdentity, let identity = BaseIdentity(parsing: stored),
            let base = description.backingFile
        else {
            throw ImageError(
                .denied, path: file.path, "is no overlay of 'rblockfs --overlay', and nothing is done with it")
        }
        return (description, identity, base)
    }

    /// What may be the folder of overlays that the one at `overlay` belongs to: its own, or one around it, since it lies there as
    /// the image under it does in the folder of images.
    static func folders(of overlay: FilePath, over base: FilePath) -> [FilePath] {
        var (folder, images) = (overlay.removingLastComponent(), base.removingLastComponent())
        var found = [folder]
        while let name = folder.lastComponent, name == images.lastComponent, folder.components.count > 1 {
            folder.removeLastComponent()
            images.removeLastComponent()
            found.append(folder)
        }
        return found
    }

    /// What was written, and what became zeros, without what the image under it has; nil where that cannot be told.
    package var written: Allocation? {
        (try? layer(over: nil)).flatMap { Image(layer: $0).measure(ignoresErrors: false).whole }
    }

    /// Whether a commit of it has begun, and did not come to its end: the image under it may be no disk without it.
    package var isPartlyInBase: Bool { identity.isBeingCommitted || identity.isPartlyInBase }

    /// The bytes that it takes on the host.
    package var allocatedSize: UInt64 { file.allocatedSize }

    /// What it stores, ready to be read. Throws why a mount could not write to it either.
    func layer(over base: Image?) throws(ImageError) -> WritableQCOW2 {
        if let refusal = description.refusal { throw refusal }
        return try WritableQCOW2(
            description, file: file, below: base, resources: LayerResources(cacheSize: 1 << 20))
    }

    /// Has it say that it is over the disk of `identity`. Returns when that is on stable storage, and all that was written to it
    /// before.
    func store(_ identity: BaseIdentity) throws(ImageError) {
        try description.replaceBaseIdentity(with: identity.bytes, in: file)
        self.identity = identity
    }

    /// Removes it: what was written is lost, unless the image under it has it. Returns when that is on stable storage.
    package func remove() throws(ImageError) {
        try file.remove()
    }
}
