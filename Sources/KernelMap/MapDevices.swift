import BlockImage
import CLinux
import Glibc
import SystemPackage

/// The files of a map, opened anew for the kernel by what they are open as, and by no name: through mounts that nothing
/// else sees, which are read-only and keep no access times.
final class MapDevices {
    private(set) var descriptors: [CInt] = []

    /// Throws where one of `files` cannot be opened so, or is not what it was when it was opened.
    init(_ files: [any HostFile]) throws(ImageError) {
        descriptors.reserveCapacity(files.count)
        for file in files {
            guard let descriptor = file.descriptor else {
                throw ImageError(.unsupported, path: file.path, "is no file of its own")
            }
            let opened = clinux_open_untouched(descriptor)
            guard opened >= 0 else {
                let number = errno
                throw ImageError(
                    .system(errno: number), path: file.path,
                    "open for the kernel, with O_DIRECT and without access times: \(Errno(rawValue: number).description)"
                )
            }
            descriptors.append(opened)
            guard Self.isSame(opened, file), file.isUnchanged else {
                throw ImageError(.system(errno: ESTALE), path: file.path, "has changed since it was opened")
            }
        }
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
    }

    /// Whether `descriptor` is open on `file`, which has its size still: that is so by the way it was opened, and is not taken
    /// on trust.
    private static func isSame(_ descriptor: CInt, _ file: any HostFile) -> Bool {
        var status = stat()
        // Safe: fstat fills the structure that it is given.
        guard unsafe fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return false }
        let identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        return identity == file.identity && UInt64(clamping: status.st_size) == file.size
    }
}
