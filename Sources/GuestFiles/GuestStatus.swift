import BlockImage

/// What a file of a guest is.
public enum GuestFileKind: Hashable, Sendable {
    case regular, directory, link, fifo, socket
    /// A device, by its numbers.
    case characterDevice(major: UInt32, minor: UInt32)
    /// The same of a block device.
    case blockDevice(major: UInt32, minor: UInt32)
}

/// What is known of a file of a guest.
public struct GuestStatus: Hashable, Sendable {
    /// What it is.
    public var kind: GuestFileKind
    /// The twelve bits of who may read, write and execute it, with set-user-ID, set-group-ID and sticky.
    public var permissions: UInt16
    public var userID: UInt32
    public var groupID: UInt32
    /// Its bytes; of a link those of its target.
    public var size: UInt64
    /// The bytes that it takes on the disk.
    public var allocatedSize: UInt64
    /// How many names it has.
    public var linkCount: UInt32
    public var modified: FileTime
    public var accessed: FileTime?
    public var changed: FileTime?
    /// When it was made; nil where the file system does not say.
    public var born: FileTime?

    /// A file with these.
    public init(
        kind: GuestFileKind, permissions: UInt16, userID: UInt32 = 0, groupID: UInt32 = 0, size: UInt64,
        allocatedSize: UInt64, linkCount: UInt32 = 1, modified: FileTime, accessed: FileTime? = nil,
        changed: FileTime? = nil, born: FileTime? = nil
    ) {
        (self.kind, self.permissions, self.userID, self.groupID) = (kind, permissions, userID, groupID)
        (self.size, self.allocatedSize, self.linkCount) = (size, allocatedSize, linkCount)
        (self.modified, self.accessed, self.changed, self.born) = (modified, accessed, changed, born)
    }
}

/// One name in a directory of a guest.
public struct GuestEntry: Hashable, Sendable {
    /// The bytes of the name: 1 to 255 in most file systems, without a slash and NUL. A reader refuses others as damage.
    public var name: [UInt8]
    public var file: GuestFileID
    /// Whether it is a directory, where the directory says so; nil: only the file itself does.
    public var isDirectory: Bool?

    /// The file `file`, called `name`.
    public init(name: [UInt8], file: GuestFileID, isDirectory: Bool? = nil) {
        (self.name, self.file, self.isDirectory) = (name, file, isDirectory)
    }
}

/// An extended attribute of a file.
public struct GuestAttribute: Hashable, Sendable {
    public var name: [UInt8]
    public var value: [UInt8]

    /// The attribute `name`.
    public init(name: [UInt8], value: [UInt8]) {
        (self.name, self.value) = (name, value)
    }
}

/// What a file system says of itself.
public struct GuestFileSystemInfo: Hashable, Sendable {
    /// What mount(8) calls it: ext2, ext3, ext4, vfat, exfat, iso9660.
    public var type: String
    /// Nil where it has none.
    public var label: String?
    /// As blkid(8) writes it.
    public var uuid: String?

    /// The file system `type`.
    public init(type: String, label: String?, uuid: String?) {
        (self.type, self.label, self.uuid) = (type, label, uuid)
    }
}

/// How much a file system holds, as statfs(2) has it.
public struct GuestUsage: Hashable, Sendable {
    /// The bytes of one block.
    public var blockSize: UInt64
    public var blocks: UInt64
    public var freeBlocks: UInt64
    /// The blocks that are free for ordinary users.
    public var availableBlocks: UInt64
    /// Nil where files need no inodes.
    public var files: UInt64?
    public var freeFiles: UInt64?

    /// The bytes of `count` blocks; of more than 2^64 - 1 that many.
    public func size(of count: UInt64) -> UInt64 {
        let (size, overflow) = count.multipliedReportingOverflow(by: blockSize)
        return overflow ? .max : size
    }

    /// So much.
    public init(
        blockSize: UInt64, blocks: UInt64, freeBlocks: UInt64, availableBlocks: UInt64, files: UInt64? = nil,
        freeFiles: UInt64? = nil
    ) {
        (self.blockSize, self.blocks, self.freeBlocks) = (blockSize, blocks, freeBlocks)
        (self.availableBlocks, self.files, self.freeFiles) = (availableBlocks, files, freeFiles)
    }
}
