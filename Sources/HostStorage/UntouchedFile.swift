import BlockImage
import CLinux
import Glibc
import SystemPackage

extension HostFile {
    /// Has `body` use a descriptor of the same file, opened by no name, for the kernel to read it in the place of this
    /// process: what is opened through it cannot be written to, and reading it does not change when the file was last
    /// accessed. It is closed afterwards.
    ///
    /// Throws why the kernel cannot read the file so: it is no regular file, has another size than when it was opened, or
    /// was written to; its file system has no O_DIRECT, or the disk has larger sectors than 512 bytes: loop devices over a
    /// file of a mount take that size for granted. Or the system does not allow it.
    public func withUntouchedDescriptor<Result>(
        _ body: (CInt) throws(ImageError) -> Result
    ) throws(ImageError) -> Result {
        guard let descriptor else { throw ImageError(.unsupported, path: path, "is no file of its own") }
        let opened = clinux_open_untouched(descriptor)
        guard opened >= 0 else {
            throw ImageError.system(
                Errno(rawValue: errno), path: path,
                "read without access times, and with O_DIRECT in sectors of 512 bytes")
        }
        defer { close(opened) }
        // It is the same by the way it was opened; that is not taken on trust.
        guard let status = try? FileStatus(FileDescriptor(rawValue: opened)), status.kind == .regular,
            status.identity == identity, status.size == size, isUnchanged
        else {
            throw ImageError(.unsupported, path: path, "is no regular file, or has changed since it was opened")
        }
        return try body(opened)
    }
}
