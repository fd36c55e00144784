import Glibc

/// The system's number for an error (`errno`), such as `ENOENT`. Prints as the system's text for it.
public struct ErrorNumber: Error, RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// The number; positive.
    public let rawValue: CInt

    /// Wraps a number from `errno.h`.
    public init(rawValue: CInt) {
        self.rawValue = rawValue
    }

    /// ENOENT: No such file or directory.
    public static let noEntry = ErrorNumber(rawValue: ENOENT)
    /// EIO: Input/output error.
    public static let inputOutput = ErrorNumber(rawValue: EIO)
    /// ENXIO: what a seek answers at or past the end of the file, or when no data follows.
    public static let noSuchAddress = ErrorNumber(rawValue: ENXIO)
    /// EACCES: Permission denied.
    public static let accessDenied = ErrorNumber(rawValue: EACCES)
    /// ENOTDIR: Not a directory.
    public static let notDirectory = ErrorNumber(rawValue: ENOTDIR)
    /// EISDIR: Is a directory.
    public static let isDirectory = ErrorNumber(rawValue: EISDIR)
    /// EINVAL: Invalid argument.
    public static let invalidArgument = ErrorNumber(rawValue: EINVAL)
    /// EROFS: Read-only file system.
    public static let readOnlyFileSystem = ErrorNumber(rawValue: EROFS)
    /// ENOTSUP: Operation not supported.
    public static let notSupported = ErrorNumber(rawValue: ENOTSUP)
    /// ENOMEM: Cannot allocate memory.
    public static let outOfMemory = ErrorNumber(rawValue: ENOMEM)
    /// EBADF: Bad file descriptor.
    public static let badHandle = ErrorNumber(rawValue: EBADF)
    /// ESTALE: Stale file handle. To an open by name, the kernel looks the name up again, once.
    public static let stale = ErrorNumber(rawValue: ESTALE)
    /// ENAMETOOLONG: File name too long.
    public static let nameTooLong = ErrorNumber(rawValue: ENAMETOOLONG)
    /// ENODATA: No data available; there is no such extended attribute.
    public static let noData = ErrorNumber(rawValue: ENODATA)
    /// ERANGE: Numerical result out of range; the caller's buffer is too small.
    public static let outOfRange = ErrorNumber(rawValue: ERANGE)
    /// E2BIG: Argument list too long; an extended attribute is larger than Linux lets it be.
    public static let tooBig = ErrorNumber(rawValue: E2BIG)
    /// EPROTO: Protocol error.
    public static let protocolError = ErrorNumber(rawValue: EPROTO)

    /// The system's text, such as "No such file or directory".
    public var description: String {
        // Safe: strerror returns a valid C string, in memory of the calling thread or constant; it is copied at once.
        unsafe String(cString: strerror(rawValue))
    }
}
