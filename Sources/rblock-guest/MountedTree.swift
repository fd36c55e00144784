import CGuest
import Glibc
import GuestProtocol

/// A mounted file system. Files are found from its root down, one open directory after the other: no link is followed, and
/// nothing leads out.
final class MountedTree {
    let folder: String
    let root: Descriptor

    /// Mounts `device` in `folder`, which is made.
    init(
        device: String, in folder: String, type: String, options: String, isWritable: Bool
    ) throws(GuestFailure) {
        // Safe: strings of ours, here and below.
        unsafe mkdir(folder, 0o700)

        let result = unsafe cguest_mount_guest(device, folder, type, options, isWritable ? 1 : 0)
        guard result == 0 else {
            let number = errno
            unsafe rmdir(folder)
            throw GuestFailure(number, "mount it")
        }
        self.folder = folder
        root = try unsafe Descriptor(Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open its root")
    }

    /// The file at `path`, found and not opened.
    func find(_ path: [UInt8]) throws(GuestFailure) -> Descriptor {
        try open(path, flags: 0, isPath: true, "find it")
    }

    /// The file at `path`, opened with `flags`.
    func open(_ path: [UInt8], flags: CInt, isPath: Bool, _ step: String) throws(GuestFailure) -> Descriptor {
        var directory = root
        var rest = path[...]
        // The kernel takes paths of less than 4,096 bytes.
        while rest.count > 4000, let slash = rest.prefix(4000).lastIndex(of: UInt8(ascii: "/")) {
            let found = unsafe Array(rest[..<slash]).withCString { text in
                unsafe cguest_open_inside(directory.number, text, O_DIRECTORY, 1)
            }
            directory = try Descriptor(found, step)
            rest = rest[(slash + 1)...]
        }
        let text = rest.isEmpty ? [UInt8(ascii: ".")] : Array(rest)
        // Safe: the text ends in NUL.
        let found = unsafe text.withCString { text in
            unsafe cguest_open_inside(directory.number, text, flags, isPath ? 1 : 0)
        }
        return try Descriptor(found, step)
    }

    /// The directory in which `path` is, and the name there. Throws EINVAL for the root.
    func parent(of path: [UInt8]) throws(GuestFailure) -> (directory: Descriptor, name: [UInt8]) {
        guard !path.isEmpty else { throw GuestFailure(EINVAL, "change its root") }
        guard let slash = path.lastIndex(of: UInt8(ascii: "/")) else { return (root, path) }
        let directory = try open(Array(path[..<slash]), flags: O_DIRECTORY, isPath: true, "find its directory")
        return (directory, Array(path[(slash + 1)...]))
    }
}
