import BlockImage
import CLinux
import Glibc
import SystemPackage

/// What stat(2) says of a file.
public struct FileStatus: Hashable, Sendable {
    /// What a directory entry or an inode can be.
    public enum Kind: Hashable, Sendable {
        /// A file with bytes of its own.
        case regular
        /// A folder.
        case folder
        /// A block device: this one, as st_rdev has it.
        case blockDevice(UInt64)
        /// A character device, FIFO, socket or link, named for messages.
        case other(String)
    }

    /// What it is.
    public var kind: Kind
    /// Its size in bytes.
    public var size: UInt64
    /// The bytes it takes on the host's file system.
    public var allocatedSize: UInt64
    /// Which file it is.
    public var identity: FileIdentity
    /// When its content last changed.
    public var modified: FileTime
    /// Whether its permissions let no user write to it. The system lets root, all the same.
    public var isReadOnly: Bool
    /// The nine bits of who may read, write and execute it.
    public var permissions: UInt16

    /// Whether all its times are that of now, or of a moment before: the kernel keeps what a file system said of a file.
    public var isDatedNow: Bool

    /// Of the open file.
    public init(_ handle: FileDescriptor) throws(Errno) {
        var status = stat()
        // Safe: fstat fills the structure that it is given.
        guard unsafe fstat(handle.rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
        self.init(status)
    }

    /// Of what the path leads to now; of a link itself where `followingLinks` is false.
    public init(at location: FilePath, followingLinks: Bool = true) throws(Errno) {
        var status = stat()
        let flags = followingLinks ? 0 : AT_SYMLINK_NOFOLLOW
        // Safe: fstatat reads a NUL-terminated string and fills the structure that it is given.
        guard unsafe location.withPlatformString({ unsafe fstatat(AT_FDCWD, $0, &status, flags) }) == 0 else {
            throw Errno(rawValue: errno)
        }
        self.init(status)
    }

    /// Of what `path` names below the folder that is open as `folder`. Throws ELOOP where a link is on the way, or is what it names.
    public init(of path: FilePath, below folder: FileDescriptor) throws(Errno) {
        // Safe: the C function only reads the NUL-terminated string.
        let found = unsafe path.withPlatformString { unsafe clinux_find_beneath(folder.rawValue, $0) }
        guard found >= 0 else { throw Errno(rawValue: errno) }
        let handle = FileDescriptor(rawValue: found)
        defer { try? handle.close() }
        try self.init(handle)
    }

    private init(_ status: stat) {
        kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .folder
            case S_IFBLK: .blockDevice(UInt64(status.st_rdev))
            case S_IFCHR: .other("a character device")
            case S_IFIFO: .other("a FIFO")
            case S_IFSOCK: .other("a socket")
            default: .other("no regular file")
            }
        size = UInt64(clamping: status.st_size)
        // Some file systems tell nonsense, and no file takes more than its offsets reach.
        allocatedSize = min(UInt64(clamping: status.st_blocks), UInt64(Int64.max) / 512) * 512
        identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        isReadOnly = status.st_mode & 0o222 == 0
        permissions = UInt16(status.st_mode & 0o777)
        modified = FileTime(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int(status.st_mtim.tv_nsec))
        let times = [status.st_atim, status.st_ctim].map {
            FileTime(seconds: Int64($0.tv_sec), nanoseconds: Int($0.tv_nsec))
        }
        let (age, overflow) = FileTime.now.seconds.subtractingReportingOverflow(modified.seconds)
        isDatedNow = times.allSatisfy { [modified] in $0 == modified } && !overflow && (-1...3).contains(age)
    }
}

extension FileStatus.Kind {
    /// What it is, for messages.
    public var text: String {
        switch self {
        case .regular: "a regular file"
        case .folder: "a folder"
        case .blockDevice: "a block device"
        case .other(let text): text
        }
    }

    /// What to do with bytes that come one after the other, where a file is needed.
    static let adviceForStreams = "images are read at any offset; write its bytes to a file, and name that"

    /// That no image can be this, at `path`.
    public func refusal(at path: FilePath) -> ImageError {
        let isStream = self == .other("a FIFO") || self == .other("a socket")
        return ImageError(
            .denied, path: path.text, "is \(text), and an image must be a regular file or a block device",
            hint: isStream ? Self.adviceForStreams : nil)
    }
}

extension FileTime {
    /// The host's clock, by which its file systems date changes.
    public static var now: FileTime {
        var time = timespec()
        // Safe: clock_gettime fills the structure that it is given.
        unsafe _ = clock_gettime(CLOCK_REALTIME, &time)
        return FileTime(seconds: Int64(time.tv_sec), nanoseconds: time.tv_nsec)
    }
}

/// How much of a file system of the host is in use, as statvfs(3) says.
public struct FileSystemUse: Hashable, Sendable {
    /// The bytes in use.
    public var usedSize: UInt64

    /// Of the file system that `location` is on; nil where that is not known.
    public init?(at location: FilePath) {
        var status = statvfs()
        // Safe: statvfs reads a NUL-terminated string and fills the structure that it is given.
        guard unsafe location.withPlatformString({ unsafe statvfs($0, &status) }) == 0 else { return nil }
        let blocks = UInt64(status.f_blocks) - min(UInt64(status.f_bfree), UInt64(status.f_blocks))
        let (size, isTooLarge) = blocks.multipliedReportingOverflow(by: UInt64(status.f_frsize))
        usedSize = isTooLarge ? .max : size
    }
}
