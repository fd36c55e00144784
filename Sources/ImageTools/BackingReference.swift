import BlockImage
import HostStorage
import SystemPackage

/// How an image names the file that lies under it.
package struct BackingReference: Hashable, Sendable {
    /// Whether this package opens what is named.
    package enum Reach: Hashable, Sendable {
        /// It is in the image's folder, or below it.
        case inside
        /// It is elsewhere: only if its folder is allowed.
        case outside
        /// It is a device, which is never opened because an image names it.
        case device
    }

    /// The name: relative to the image's folder for what is in it or below it, absolute for everything else.
    package var name: [UInt8]
    /// Whether this package opens what is named.
    package var reach: Reach

    /// The name of `base`, a regular file or a block device, for a new image at `path`, whose folder must exist.
    ///
    /// Links are followed, since they may lead elsewhere one day, but for devices, whose own names come and
    /// go. Throws `system` for what does not exist.
    package init(to base: FilePath, from path: FilePath) throws(ImageError) {
        let found = try canonical(base)
        if let status = try? FileStatus(at: found), case .blockDevice = status.kind {
            name = (try Self.folder(of: base)).appending(base.components.suffix(1)).bytes
            reach = .device
            return
        }
        var rest = found
        // An image that replaces what a link leads to gets its place there.
        let folder = try Self.folder(of: (try? canonical(path)) ?? path)
        guard rest.removePrefix(folder) else {
            name = found.bytes
            reach = .outside
            return
        }
        // QEMU takes what comes before a colon for the name of a protocol, unless there is a slash before it.
        let colon = rest.components.first.map { FilePath(root: nil, [$0]).bytes.contains(UInt8(ascii: ":")) } ?? false
        name = (colon ? Array("./".utf8) : []) + rest.bytes
        reach = .inside
    }

    private static func folder(of path: FilePath) throws(ImageError) -> FilePath {
        let folder = path.removingLastComponent()
        return try canonical(folder.isEmpty ? "." : folder)
    }
}
