import BlockImage
import HostStorage
import SystemPackage

/// What a mount shows: a folder of images, or a single one.
package struct ImageFolder: Sendable {
    /// The folder that images may name files of: the one that was given, or that of the image. Canonical.
    package let location: FilePath
    /// The one image, where it was given rather than a folder.
    let image: (name: [UInt8], location: FilePath)?
    /// The folder as it was given, where that is another path than `location`: images may call it so. Of the one image,
    /// the folder of the link by which it was given.
    package let linkFolders: [FilePath]

    /// Whether it is a single image.
    package var isImage: Bool { image != nil }

    /// The folder `path`, or the one image that `path` is: a file, or a block device.
    ///
    /// Throws `system` when there is no such folder or file, or the folder cannot be listed.
    package init(_ path: FilePath) throws(ImageError) {
        let status: FileStatus
        do {
            status = try FileStatus(at: path)
        } catch {
            throw ImageError(.system(errno: error.rawValue), path: path.text, "\(error)")
        }
        if status.kind == .folder {
            location = try canonical(path)
            image = nil
            linkFolders = path == location ? [] : [path]
            // Said now, and not by a mount without images.
            _ = try FolderListing(location)
        } else {
            // The user named this very file: a link is followed, and its target's folder is the images folder; so is its
            // own, for it is there that QEMU looks for what the image names.
            let file = try PathByName(path)
            location = file.location.removingLastComponent()
            linkFolders = file.folders
            image = (path.lastComponent.map { FilePath(root: nil, [$0]).bytes } ?? [], file.path)
        }
    }
}
