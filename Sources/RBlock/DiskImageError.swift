import BlockImage
import Glibc

/// What is wrong with an image, or with what was asked of it.
public struct DiskImageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The few stable kinds of trouble.
    public enum Code: Hashable, Sendable {
        /// The bytes contradict the format.
        case corrupt
        /// The image needs something that is not done here.
        case unsupported
        /// A file ends before what the image says it holds.
        case truncated
        /// The image names a file that it may not have opened.
        case denied
        /// Something outside the disk, or a disk that the image does not hold, was asked for.
        case outOfRange
        /// A file of the image was written to since it was opened.
        case changed
        /// The operating system said no; errno(3).
        case system(CInt)
    }

    /// What kind of trouble it is.
    public let code: Code
    /// The file that it is about, or the disk.
    public let path: String
    /// The byte of the file that it is about, where there is one.
    public let offset: UInt64?
    /// All of it in one line: `path: at 0x…: what is wrong`.
    public let description: String

    init(_ error: ImageError) {
        code =
            switch error.code {
            case .corrupt: .corrupt
            case .unsupported: .unsupported
            case .truncated: .truncated
            case .denied: .denied
            case .outOfRange: .outOfRange
            case .system(ESTALE): .changed
            case .system(let errno): .system(errno)
            }
        path = error.path
        offset = error.offset?.rawValue
        // Hints are about the options of the command.
        var error = error
        error.hint = nil
        description = error.description
    }
}
