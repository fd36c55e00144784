/// The number of a file or directory within one mount. The kernel names everything by it.
public struct Inode: RawRepresentable, Hashable, Sendable {
    /// The number as the kernel sees it; 0 is never a file.
    public let rawValue: UInt64

    /// Wraps a number.
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// The directory at the mountpoint.
    public static let root = Inode(rawValue: 1)
}

/// What a file system chose to name one open file or directory: it comes back with every read, and with the close.
public struct FileHandle: RawRepresentable, Hashable, Sendable {
    /// Any number; the kernel only carries it.
    public let rawValue: UInt64

    /// Wraps a number.
    public init(rawValue: UInt64) {
        self.rawValue = rawValue
    }
}

/// The kinds of file that a mount can show.
public enum FileKind: Hashable, Sendable {
    /// A directory.
    case directory
    /// A file of bytes.
    case regularFile
    /// A link to another path.
    case symbolicLink
    /// A named pipe, which the kernel has itself.
    case fifo
    /// A name of a socket.
    case socket
    /// A device, which the kernel opens by its number where the mount lets it: see `Attributes.device`.
    case characterDevice
    /// The same of a block device.
    case blockDevice
}

/// A moment, counted from 1970-01-01T00:00:00Z.
public struct Timestamp: Hashable, Sendable {
    /// Whole seconds; negative before 1970.
    public var seconds: Int64
    /// Nanoseconds after `seconds`, 0 to 999,999,999.
    public var nanoseconds: Int

    /// A moment `seconds` and `nanoseconds` after the start of 1970.
    public init(seconds: Int64, nanoseconds: Int = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }
}

/// What the kernel knows a device by.
public struct DeviceNumber: Hashable, Sendable {
    /// The driver; Linux has twelve bits.
    public var major: UInt32
    /// Which of its devices; twenty bits.
    public var minor: UInt32

    /// The device of these numbers; without, that of none.
    public init(major: UInt32 = 0, minor: UInt32 = 0) {
        (self.major, self.minor) = (major, minor)
    }
}

/// What `stat` reports about a file.
public struct Attributes: Hashable, Sendable {
    /// The file's number.
    public var inode: Inode
    /// File, directory or link.
    public var kind: FileKind
    /// The twelve permission bits, such as 0o444.
    public var permissions: UInt16
    /// Bytes of content; at most `Int64.max`.
    public var size: UInt64
    /// Allocated units of 512 bytes. `cp` and `tar` look for holes only if this is less than `size` has.
    public var blocks: UInt64
    /// The preferred size of a read, in bytes.
    public var blockSize: UInt32
    /// Number of names; for a directory 2 and one for each directory in it.
    public var linkCount: UInt32
    /// The owner.
    public var userID: UInt32
    /// The owner's group.
    public var groupID: UInt32
    /// Which device it is, where it is one.
    public var device: DeviceNumber
    /// When it was last read.
    public var accessed: Timestamp
    /// When its content last changed.
    public var modified: Timestamp
    /// When its attributes last changed.
    public var changed: Timestamp

    /// Attributes with one time for all three, and sizes to be set afterwards where 0 is wrong.
    public init(inode: Inode, kind: FileKind, permissions: UInt16, time: Timestamp) {
        self.inode = inode
        self.kind = kind
        self.permissions = permissions
        size = 0
        blocks = 0
        blockSize = 4096
        linkCount = kind == .directory ? 2 : 1
        userID = 0
        groupID = 0
        device = DeviceNumber()
        accessed = time
        modified = time
        changed = time
    }
}

/// How the kernel shall treat one open file.
public struct OpenOptions: Sendable {
    /// Keep what the page cache holds from earlier opens: right when the content cannot have changed.
    public var keepCache: Bool
    /// Send every read and write here, past the page cache. Where the kernel does not let such files be mapped into memory, this
    /// one can not be, or only for reading: see `KernelCache.mapsDirectFiles`.
    public var directIO: Bool
    /// Let writes past the page cache be under way at the same time: right for a file whose size stays.
    public var writesInParallel: Bool
    /// Read this file instead, and ask for nothing but where holes are, and its attributes. It must have all that the
    /// file of the mount has, and nothing more: the kernel goes by its size. The other options mean nothing then. While an
    /// inode is open through a backing file, no open without it succeeds (EIO), and the other way round.
    public var backing: BackingFile?

    /// Without arguments: cached while open, and read afresh at the next open.
    public init(
        keepCache: Bool = false, directIO: Bool = false, writesInParallel: Bool = false, backing: BackingFile? = nil
    ) {
        self.keepCache = keepCache
        self.directIO = directIO
        self.writesInParallel = writesInParallel
        self.backing = backing
    }
}

/// What a seek looks for.
public enum SeekTarget: Hashable, Sendable {
    /// The first byte that is stored, at or after the offset.
    case data
    /// The first byte that is not stored, at or after the offset; the end of the file counts as one.
    case hole
}

/// How bytes are to become zeros.
public struct ZeroingWay: Hashable, Sendable {
    /// Whether their space stays theirs (FALLOC_FL_ZERO_RANGE), or is given back (FALLOC_FL_PUNCH_HOLE).
    public var keepsSpace: Bool
    /// Whether the file stays as long as it is where the bytes reach past its end; else it would grow.
    public var keepsSize: Bool
}

/// What `df` reports about the mount, or of what is shown in it.
public struct Statistics: Hashable, Sendable {
    /// Bytes in a block.
    public var blockSize: UInt64
    /// Blocks in all.
    public var blocks: UInt64
    /// Blocks that are free, and those of them that are so for ordinary users.
    public var freeBlocks: UInt64 = 0
    public var availableBlocks: UInt64 = 0
    /// Number of files.
    public var files: UInt64
    /// How many more there may be.
    public var freeFiles: UInt64 = 0
    /// The longest name, in bytes: NAME_MAX, as on the file systems of the host.
    public static let maximumNameSize = 255

    /// Statistics of a full file system.
    public init(blockSize: UInt64, blocks: UInt64, files: UInt64) {
        self.blockSize = blockSize
        self.blocks = blocks
        self.files = files
    }
}
