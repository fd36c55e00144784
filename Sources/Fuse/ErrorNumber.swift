import Glibc

/// The system's number for an error (`errno`), such as `ENOENT`. Prints as the system's text for it.
package struct ErrorNumber: Error, RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number; positive.
    package let rawValue: CInt

    /// Wraps a number from `errno.h`.
    package init(rawValue: CInt) {
        self.rawValue = rawValue
    }

    /// ENOENT: No such file or directory.
    package static let noEntry = ErrorNumber(rawValue: ENOENT)
    /// EIO: Input/output error.
    package static let inputOutput = ErrorNumber(rawValue: EIO)
    /// ENXIO: what a seek answers at or past the end of the file, or when no data follows.
    package static let noSuchAddress = ErrorNumber(rawValue: ENXIO)
    /// EACCES: Permission denied.
    package static let accessDenied = ErrorNumber(rawValue: EACCES)
    /// ENOTDIR: Not a directory.
    package static let notDirectory = ErrorNumber(rawValue: ENOTDIR)
    /// EISDIR: Is a directory.
    package static let isDirectory = ErrorNumber(rawValue: EISDIR)
    /// EINVAL: Invalid argument.
    package static let invalidArgument = ErrorNumber(rawValue: EINVAL)
    /// EROFS: Read-only file system.
    package static let readOnlyFileSystem = ErrorNumber(rawValue: EROFS)
    /// ENOTSUP: Operation not supported.
    package static let notSupported = ErrorNumber(rawValue: ENOTSUP)
    /// ENOMEM: Cannot allocate memory.
    package static let outOfMemory = ErrorNumber(rawValue: ENOMEM)
    /// EBADF: Bad file descriptor.
    package static let badHandle = ErrorNumber(rawValue: EBADF)
    /// ESTALE: Stale file handle. To an open by name, the kernel looks the name up again, once.
    package static let stale = ErrorNumber(rawValue: ESTALE)
    /// ENAMETOOLONG: File name too long.
    package static let nameTooLong = ErrorNumber(rawValue: ENAMETOOLONG)
    /// ENODATA: No data available; there is no such extended attribute.
    package static let noData = ErrorNumber(rawValue: ENODATA)
    /// ERANGE: Numerical result out of range; the caller's buffer is too small.
    package static let outOfRange = ErrorNumber(rawValue: ERANGE)
    /// E2BIG: Argument list too long; an extended attribute is larger than Linux lets it be.
    package static let tooBig = ErrorNumber(rawValue: E2BIG)
    /// EPROTO: Protocol error.
    package static let protocolError = ErrorNumber(rawValue: EPROTO)

    /// The system's text, such as "No such file or directory".
    package var description: String {
        // Safe: strerror returns a valid C string, in memory of the calling thread or constant; it is copied at once.
        unsafe String(cString: strerror(rawValue))
    }
}
