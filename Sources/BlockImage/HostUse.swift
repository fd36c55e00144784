/// What a part of an image file is used for.
public enum HostUse: UInt8, CaseIterable, Sendable {
    /// The file has it, and nothing uses it.
    case free
    /// The header, its extensions, the backing file's name.
    case header
    /// The descriptor of a VMDK.
    case descriptor
    /// An L1 table, of the disk or of a snapshot.
    case l1Table
    /// An L2 table.
    case l2Table
    /// The table of a disk that is stored in blocks: the block allocation table of VHD and VHDX, the block map of VDI.
    case blockTable
    /// The refcount table.
    case refcountTable
    /// A refcount block.
    case refcountBlock
    /// The snapshot table.
    case snapshotTable
    /// Bitmaps: their directory, their tables, their bits; those of the sectors of blocks.
    case bitmaps
    /// The LUKS header with its key slots.
    case encryptionHeader
    /// The grain directory.
    case grainDirectory
    /// The redundant grain directory.
    case redundantDirectory
    /// A grain table.
    case grainTable
    /// A grain table of the redundant grain directory.
    case redundantTable
    /// Markers and the footer of a stream.
    case marker
    /// What only writers use: journals, free maps, back maps.
    case bookkeeping
    /// Data of the disk, byte for byte (or encrypted).
    case data
    /// Compressed data of the disk.
    case compressed
    /// Set aside for clusters or grains that read as zeros.
    case preallocated
    /// Data that only internal snapshots have, their machine states among it.
    case snapshotData
    /// Has a refcount, but nothing uses it.
    case leaked
    /// Used by two that cannot share it.
    case overlap

    /// What legends call it.
    public var name: String {
        switch self {
        case .free: "free"
        case .header: "header"
        case .descriptor: "descriptor"
        case .l1Table: "L1 table"
        case .l2Table: "L2 table"
        case .blockTable: "block table"
        case .refcountTable: "refcount table"
        case .refcountBlock: "refcount block"
        case .snapshotTable: "snapshot table"
        case .bitmaps: "bitmaps"
        case .encryptionHeader: "encryption header"
        case .grainDirectory: "grain directory"
        case .redundantDirectory: "redundant grain directory"
        case .grainTable: "grain table"
        case .redundantTable: "redundant grain table"
        case .marker: "marker or footer"
        case .bookkeeping: "writer's bookkeeping"
        case .data: "data"
        case .compressed: "compressed data"
        case .preallocated: "set aside, reads as zeros"
        case .snapshotData: "data of snapshots only"
        case .leaked: "leaked"
        case .overlap: "overlap"
        }
    }
}

/// A part of an image file that stores a part of the disk, or a table that leads there.
public struct StoredRange: Hashable, Sendable {
    /// What the part of the file is used for.
    public var use: HostUse
    /// Where it lies in the file.
    public var offset: HostOffset
    /// How many bytes of the file it takes.
    public var count: UInt64
    /// Where the part of the disk begins; of a refcount block, the part of the file whose refcounts stand in it.
    public var start: UInt64
    /// How many bytes of the disk that are.
    public var covered: UInt64
    /// The index of the internal snapshot whose tables lead here; nil for the disk's own tables.
    public var snapshot: UInt32?

    /// The `count` bytes at `offset` of the file, for the `covered` bytes from `start` on.
    public init(
        _ use: HostUse, at offset: HostOffset, count: UInt64, start: UInt64, covered: UInt64, snapshot: UInt32? = nil
    ) {
        self.use = use
        self.offset = offset
        self.count = count
        self.start = start
        self.covered = covered
        self.snapshot = snapshot
    }
}

/// What records what the parts of a file are used for. For use by one thread.
public protocol HostUseRecorder: AnyObject {
    /// The `count` bytes at `offset` are used for `use`. What is past the file's end is passed over.
    ///
    /// Where they were recorded before, `mayShare` says of the place and its earlier use whether both can be right; if
    /// not, it is an overlap. Answers what the first byte was used for before; nil for nothing, and where that is not
    /// known any more. What is recorded as leaked is so only where nothing uses it.
    @discardableResult
    func record(
        _ use: HostUse, at offset: HostOffset, count: UInt64, mayShare: (HostOffset, HostUse) -> Bool
    ) -> HostUse?

    /// A cluster, a grain or a table stands for this part of the disk.
    func record(_ range: StoredRange)

    /// Something must be known of what was recorded: that it could not all be looked at, and why.
    func note(_ message: ErrorText)
}
