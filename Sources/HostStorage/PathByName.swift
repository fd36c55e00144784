import BlockImage
import SystemPackage

/// A file as a person names it, maybe by a link to it.
public struct PathByName: Sendable {
    /// The path with the name that was given: its folder without links, and the name, which may be a link.
    public let path: FilePath
    /// Where the file is, without links.
    public let location: FilePath
    /// The folder that the path names, where that is not just the file's: one of a link, in which what the image names is
    /// looked for first, or another name of the same.
    public let folders: [FilePath]

    /// The file that `given` leads to. Throws `system` where there is none.
    public init(_ given: FilePath) throws(ImageError) {
        location = try canonical(given)
        let folder = given.removingLastComponent()
        let named = try canonical(folder.isEmpty ? "." : folder)
        // What the kernel calls an open file, or a device, is in no folder of images.
        let isOfKernel = named.starts(with: "/proc") || named.starts(with: "/dev")
        guard let name = given.lastComponent, name.kind == .regular, !isOfKernel else {
            path = location
            folders = []
            return
        }
        path = named.appending(name)
        folders = absolute(folder) == location.removingLastComponent() ? [] : [folder.isEmpty ? "." : folder]
    }
}
