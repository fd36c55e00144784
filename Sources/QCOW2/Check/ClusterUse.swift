import BlockImage
import ByteFormat

/// What uses host clusters.
enum ClusterUser: Hashable {
    case header
    /// The active L1 table, or that of the snapshot with this index.
    case l1Table(snapshot: Int?)
    /// The L2 table of the disk from here on.
    case l2Table(GuestOffset, isActive: Bool)
    /// A cluster of the disk.
    case data(GuestOffset, isActive: Bool)
    /// A cluster of the disk, compressed.
    case compressed(GuestOffset, isActive: Bool)
    case snapshotTable
    case refcountTable
    /// The refcount block of the entry with this index of the refcount table.
    case refcountBlock(Int)
    case encryptionHeader
    case bitmapDirectory
    /// The table of the bitmap with this index.
    case bitmapTable(Int)
    /// A cluster of bits of the bitmap with this index.
    case bitmapData(Int)

    /// What it is to others who may use the same clusters.
    var roles: UseCounts.Roles {
        switch self {
        case .l2Table: .l2Table
        case .data, .compressed: .data
        case .header, .l1Table, .snapshotTable, .refcountTable, .refcountBlock, .encryptionHeader, .bitmapDirectory,
            .bitmapTable, .bitmapData:
            .exclusive
        }
    }

    /// What it is, for messages.
    var text: String {
        switch self {
        case .header: "the header"
        case .l1Table(snapshot: nil): "the active L1 table"
        case .l1Table(let index?): "the L1 table of snapshot \(index)"
        case .l2Table(let guest, let isActive): "the L2 table for guest offset \(guest)\(Self.mark(isActive))"
        case .data(let guest, let isActive): "the data of guest offset \(guest)\(Self.mark(isActive))"
        case .compressed(let guest, let isActive):
            "the compressed data of guest offset \(guest)\(Self.mark(isActive))"
        case .snapshotTable: "the snapshot table"
        case .refcountTable: "the refcount table"
        case .refcountBlock(let index): "refcount block \(index)"
        case .encryptionHeader: "the LUKS header"
        case .bitmapDirectory: "the bitmap directory"
        case .bitmapTable(let index): "the table of bitmap \(index)"
        case .bitmapData(let index): "the bits of bitmap \(index)"
        }
    }

    private static func mark(_ isActive: Bool) -> String { isActive ? "" : " in a snapshot" }
}

/// An L2 table, and how often L1 tables name it.
struct L2TableUse {
    /// Where it begins, as the L1 entries say.
    var offset: UInt64
    /// How many entries of the active L1 table name it.
    var activeTimes: UInt64
    /// How many entries of the snapshots' L1 tables name it.
    var snapshotTimes: UInt64
    /// The index of the first such entry, of the active L1 table where one of that names it.
    var l1Index: UInt32

    /// How many entries name it in all.
    var times: UInt64 { activeTimes + snapshotTimes }
}

/// What receives the parts of an image while they are walked over.
protocol UseSink {
    /// These host clusters are used by `user`, `times` times.
    mutating func use(_ clusters: ClosedRange<UInt64>, times: UInt64, by user: ClusterUser)
    /// The `size` bytes at `offset` that `user` claims do not lie in the file.
    mutating func outOfFile(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser)
    /// The file ends inside the `size` bytes at `offset` that `user` claims.
    mutating func cut(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser)
    /// The entries of an L2 table come next.
    mutating func begin(_ table: L2TableUse) throws(ImageError)
    /// An L2 entry that is not 0, before what it uses.
    mutating func entry(_ entry: L2EntryPlace) throws(ImageError)
    /// An entry of the table of the bitmap with this index contradicts the format.
    mutating func bitmapEntry(_ index: Int, at offset: UInt64, times: UInt64, _ fault: String)
}

/// An L2 entry as it is walked over.
struct L2EntryPlace {
    var entry: L2Entry
    var bitmap: SubclusterBitmap
    /// What the entry is of.
    var kind: L2EntryKind
    /// Where it stands in the file.
    var location: UInt64
    /// The guest offset of its cluster.
    var guest: GuestOffset
    /// How often the tables that hold it count: all, and the active ones.
    var times: UInt64
    var activeTimes: UInt64
}

/// The kinds of L2 entries, whatever else is wrong with them.
enum L2EntryKind {
    case unallocated, plainZero, allocatedZero, normal, compressed

    /// The kind of `entry`, as QEMU distinguishes them.
    init(_ entry: L2Entry, _ format: L2Format) {
        let hasOffset = L2Entry.offset.isSet(in: entry.rawValue)
        if L2Entry.compressed.isSet(in: entry.rawValue) {
            self = .compressed
        } else if L2Entry.zero.isSet(in: entry.rawValue), !format.isExtended {
            self = hasOffset ? .allocatedZero : .plainZero
        } else if hasOffset {
            self = .normal
        } else {
            // The first cluster of a data file lies at offset 0.
            self = format.hasDataFile && L2Entry.copied.isSet(in: entry.rawValue) ? .normal : .unallocated
        }
    }
}
