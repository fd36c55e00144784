import BlockImage
import Glibc
import HostStorage
import SystemPackage

extension FileDescriptor {
    /// A file at `path` to write to, emptied where it is there. Throws what the system says, and where it is one of `sources`.
    static func replacing(_ path: String, but sources: Set<FileIdentity>) throws(ImageError) -> FileDescriptor {
        let file = try hostCall(path) {
            try FileDescriptor.open(
                FilePath(text: path), .writeOnly, options: [.create, .closeOnExec],
                permissions: [.ownerReadWrite, .groupReadWrite, .otherReadWrite])
        }
        do throws(ImageError) {
            let status = try hostCall(path) { try FileStatus(file) }
            guard !sources.contains(status.identity) else {
                throw ImageError(.system(errno: EINVAL), path: path, "is the image that is read")
            }
            if case .regular = status.kind, ftruncate(file.rawValue, 0) != 0 {
                throw ImageError(.system(errno: errno), path: path, "\(Errno(rawValue: errno))")
            }
        } catch {
            try? file.close()
            throw error
        }
        return file
    }

    /// Appends `bytes` to the file, which errors call `path`.
    func write(_ bytes: RawSpan, path: String) throws(ImageError) {
        // Safe: the bytes are used in this call only.
        try hostCall(path) { _ = try unsafe bytes.withUnsafeBytes { try unsafe writeAll($0) } }
    }

    /// Waits until what was written is on the disk; a pipe or a device like /dev/null has none.
    func finish(path: String) throws(ImageError) {
        guard fsync(rawValue) != 0, errno != EINVAL, errno != EROFS else { return }
        let fault = Errno(rawValue: errno)
        try hostCall(path) { throw fault }
    }
}

/// Does `work`, with what the system says about the file `path` as an error of it.
private func hostCall<Result>(_ path: String, _ work: () throws -> Result) throws(ImageError) -> Result {
    do {
        return try work()
    } catch {
        let number = (error as? Errno) ?? .ioError
        throw ImageError(.system(errno: number.rawValue), path: path, "\(number)")
    }
}
