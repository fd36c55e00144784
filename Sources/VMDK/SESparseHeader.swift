import BlockImage
import ByteFormat

/// The constant header of a space-efficient sparse extent of ESXi, in its first sector. VMware has not published the
/// format: names and meanings are those of QEMU's block/vmdk.c, and, as there, only what is known is read.
///
///     OFFSET SIZE FIELD
///          0    8 magic 0x00000000cafebabe
///          8    8 version
///         16    8 capacity
///         24    8 grainSize
///         32    8 grainTableSize
///         40    8 flags
///         48   32 reserved
///         80   16 offset and size of the volatile header
///         96   16 offset and size of the journal's header
///        112   16 offset and size of the journal
///        128   16 offset and size of the grain directory
///        144   16 offset and size of the grain tables
///        160   16 offset and size of the free bitmap
///        176   16 offset and size of the back map
///        192   16 offset and size of the grains
///        208  304 padding
public struct SESparseHeader: Hashable, Sendable {
    /// A part of the file, in sectors.
    public struct Area: Hashable, Sendable {
        /// Its first sector.
        public let offset: UInt64
        /// How many sectors it has; the file may end before they do, where they are not used yet.
        public let size: UInt64

        fileprivate init(_ reader: inout ByteReader) throws(ParseFault) {
            offset = try reader.read(.little)
            size = try reader.read(.little)
        }

        /// Whether it ends within `sectorLimit`.
        fileprivate var isSmall: Bool { offset <= sectorLimit && size <= sectorLimit - offset }
    }

    /// 0x0000000200000001: 2.1.
    public let version: UInt64
    /// The size of the extent in sectors.
    public let capacity: UInt64
    /// The size of a grain in sectors: 8.
    public let grainSize: UInt64
    /// The size of a grain table in sectors: 64.
    public let grainTableSize: UInt64
    /// 0.
    public let flags: UInt64
    /// The volatile header.
    public let volatileHeader: Area
    /// The grain directory.
    public let directory: Area
    /// The grain tables, which the entries of the grain directory count.
    public let tables: Area
    /// The grains, which the entries of the grain tables count.
    public let grains: Area
    /// The first byte that is not 0 where all are reserved.
    private let reservedFault: Int?

    /// The bytes that the header takes: one sector.
    public static let size = 512
    /// The only version that is known.
    static let knownVersion: UInt64 = 0x0000_0002_0000_0001
    /// The only size of a grain that is known, in sectors.
    static let grainSize: UInt64 = 8
    /// The only size of a grain table that is known, in sectors.
    static let tableSize: UInt64 = 64
    /// The entries of 8 bytes in such a table: 4,096. Each covers a grain, so that a table covers 16 MiB.
    static let tableEntryCount = 4096

    /// Reads the header from the first sector of the file; throws where it is none. Nothing else is checked yet.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        guard try reader.read(.little, as: UInt64.self) == 0xcafe_babe else {
            throw ParseFault(at: 0, "magic: is no SESPARSE extent's, which must be 0x00000000cafebabe")
        }
        version = try reader.read(.little)
        capacity = try reader.read(.little)
        grainSize = try reader.read(.little)
        grainTableSize = try reader.read(.little)
        flags = try reader.read(.little)
        let reserved = try reader.read(bytes: 32).firstIndex { $0 != 0 }.map { 48 + $0 }
        volatileHeader = try Area(&reader)
        // The journal counts only where the volatile header says that it must be replayed.
        try reader.skip(32)
        directory = try Area(&reader)
        tables = try Area(&reader)
        // The free bitmap and the back map serve who writes.
        try reader.skip(32)
        grains = try Area(&reader)
        let padding = try reader.read(bytes: 304).firstIndex { $0 != 0 }.map { 208 + $0 }
        reservedFault = reserved ?? padding
    }

    /// The first feature in use that is not read, in the order of the fields; nil when everything is.
    var unsupportedFeature: ParseFault? {
        if version != Self.knownVersion {
            return ParseFault(
                at: 8,
                "version: is \(hexadecimal(version)), which is not supported; \(hexadecimal(Self.knownVersion)) is")
        }
        if grainSize != Self.grainSize {
            return ParseFault(
                at: 24, "grain size: is \(grainSize) sectors, which is not supported; \(Self.grainSize) are")
        }
        if grainTableSize != Self.tableSize {
            return ParseFault(
                at: 32,
                "grain table size: is \(grainTableSize) sectors, which is not supported; \(Self.tableSize) are")
        }
        if flags != 0 {
            return ParseFault(at: 40, "flags: \(hexadecimal(flags)) are features that are not known")
        }
        if let reservedFault {
            return ParseFault(at: reservedFault, "reserved: is in use, for a feature that is not known")
        }
        return nil
    }

    /// Checks the numbers that all arithmetic on grains rests on. Only for a header all of whose features are read.
    func checkGeometry() throws(ParseFault) {
        guard capacity <= sectorLimit else {
            throw ParseFault(at: 16, "capacity: is \(capacity) sectors, but must be at most \(sectorLimit)")
        }
        guard directoryEntryCount <= SparseHeader.directoryEntryLimit else {
            throw ParseFault(
                at: 16,
                "capacity: is \(capacity) sectors, which takes a grain directory of \(directoryEntryCount) entries, "
                    + "but it must have at most \(SparseHeader.directoryEntryLimit)")
        }
        for (position, name, area) in [
            (80, "volatile header", volatileHeader), (128, "grain directory", directory), (144, "grain tables", tables),
            (192, "grains", grains),
        ] where !area.isSmall {
            throw ParseFault(
                at: position,
                "\(name): \(area.size) sectors from sector \(area.offset) on, which must end at sector \(sectorLimit)")
        }
        // 64 entries of 8 bytes in a sector; the limit above makes it at most 2^19 sectors.
        guard directory.size >= (directoryEntryCount + 63) / 64 else {
            throw ParseFault(
                at: 136,
                "grain directory: has \(directory.size) sectors, but \(capacity) sectors of disk take one of "
                    + "\(directoryEntryCount) entries")
        }
    }

    /// How many entries of the grain directory the capacity takes. Only for a capacity up to `sectorLimit`.
    var directoryEntryCount: UInt64 {
        let sectors = Self.grainSize * UInt64(Self.tableEntryCount)
        return (capacity + sectors - 1) / sectors
    }

    /// Where the entries lead to. Only for a checked geometry.
    var areas: SESparseAreas {
        SESparseAreas(
            tablesOffset: tables.offset, tablesSize: tables.size, grainsOffset: grains.offset, grainsSize: grains.size)
    }
}

/// The header of an seSparse extent that changes while the disk is written.
///
///     OFFSET SIZE FIELD
///          0    8 magic 0x00000000cafecafe
///          8    8 number of the next free grain table
///         16    8 number of the next transaction
///         24    8 replayJournal
///         32  480 padding
struct SESparseVolatileHeader {
    /// Not 0 where the extent was not closed: what its journal has must be written to its places first.
    let replayJournal: UInt64
    /// The first byte of the padding that is not 0.
    private let reservedFault: Int?

    /// The bytes that the header takes: one sector.
    static let size = 512

    /// Reads the header; throws where it is none.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        let magic = try reader.read(.little, as: UInt64.self)
        guard magic == 0xcafe_cafe else {
            throw ParseFault(
                at: 0, "volatile header: its magic is \(hexadecimal(magic)), but must be 0x00000000cafecafe")
        }
        try reader.skip(16)
        replayJournal = try reader.read(.little)
        reservedFault = try reader.read(bytes: 480).firstIndex { $0 != 0 }.map { 32 + $0 }
    }

    /// Why the extent is not read; nil when it is.
    var unsupportedFeature: ParseFault? {
        if replayJournal != 0 {
            return ParseFault(
                at: 24,
                "volatile header: the extent is dirty: its journal is to be replayed first, which is not supported")
        }
        return reservedFault.map {
            ParseFault(at: $0, "volatile header: reserved: is in use, for a feature that is not known")
        }
    }
}
