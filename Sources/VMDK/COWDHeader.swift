import ByteFormat

/// The header of a copy-on-write disk of ESX, in its first four sectors (Virtual Disk Format 5.0, "ESX Server Sparse
/// Extent Header").
///
///     OFFSET SIZE FIELD
///          0    4 magic "COWD"
///          4    4 version
///          8    4 flags
///         12    4 capacity (numSectors)
///         16    4 grainSize
///         20    4 directoryOffset (gdOffset)
///         24    4 directoryEntryCount (numGDEntries)
///         28    4 freeSector
///         32 1024 parentFileName; cylinders, heads and sectors of a disk without a parent
///       1056    4 parentGeneration
///       1060    4 generation
///       1064   60 name
///       1124  512 description
///       1636    4 savedGeneration
///       1640    8 reserved
///       1648    4 uncleanShutdown
///       1652  396 padding
public struct COWDHeader: Hashable, Sendable {
    /// 1.
    public let version: UInt32
    /// 3 in the files that are known; says nothing about how to read them.
    public let flags: UInt32
    /// The size of the extent in sectors (numSectors).
    public let capacity: UInt32
    /// The size of a grain in sectors: a power of two, at most `SparseHeader.grainSizeLimit`; 1 in the files of ESX.
    public let grainSize: UInt32
    /// The sector of the grain directory, 4 in the files of ESX (gdOffset).
    public let directoryOffset: UInt32
    /// How many entries the grain directory has; those beyond the capacity are not used (numGDEntries).
    public let directoryEntryCount: UInt32
    /// The sector at which the next grain would be written.
    public let freeSector: UInt32
    /// The parent's file name, as the bytes that stand there up to the first NUL; nil where no name stands there, as
    /// in a disk that has no parent.
    public let parentFileName: [UInt8]?
    /// Whether the file was open for writing when its writer ended. Says nothing about how to read it.
    public let uncleanShutdown: Bool

    /// The bytes that the header takes: four sectors.
    public static let size = 2048
    /// How many entries every grain table has.
    static let tableEntryCount = 4096

    /// Reads the header from the first sectors of the file; throws where it is none. The geometry is not checked yet.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        guard try reader.read(bytes: 4).elementsEqual("COWD".utf8) else {
            throw ParseFault(at: 0, "magic: is no VMFSSPARSE extent's, which must be \"COWD\"")
        }
        version = try reader.read(.little)
        flags = try reader.read(.little)
        capacity = try reader.read(.little)
        grainSize = try reader.read(.little)
        directoryOffset = try reader.read(.little)
        directoryEntryCount = try reader.read(.little)
        freeSector = try reader.read(.little)
        let name = try reader.read(bytes: 1024).prefix { $0 != 0 }
        // The geometry of a disk without a parent is three small numbers, whose bytes are no letters.
        let isText = !name.isEmpty && name.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
        parentFileName = isText ? Array(name) : nil
        try reader.skip(1648 - 1056)
        uncleanShutdown = try reader.read(.little, as: UInt32.self) != 0
    }

    /// Why the extent is not read although it may be sound; nil when it is.
    var unsupportedFeature: ParseFault? {
        version == 1 ? nil : ParseFault(at: 4, "version: is \(version), which is not supported; 1 is")
    }

    /// Checks the numbers that all arithmetic on grains rests on.
    func checkGeometry() throws(ParseFault) {
        guard grainSize.nonzeroBitCount == 1, UInt64(grainSize) <= SparseHeader.grainSizeLimit else {
            throw ParseFault(
                at: 16,
                "grainSize: is \(grainSize) sectors, but must be a power of two from 1 to "
                    + "\(SparseHeader.grainSizeLimit)")
        }
        guard usedDirectoryEntryCount <= directoryEntryCount else {
            throw ParseFault(
                at: 24,
                "numGDEntries: is \(directoryEntryCount), but \(capacity) sectors take a grain directory of "
                    + "\(usedDirectoryEntryCount) entries")
        }
    }

    /// How many entries of the grain directory the capacity takes, at most 2^20. Only for a checked grain size.
    var usedDirectoryEntryCount: UInt64 {
        // At most 2^12 * 2^21 = 2^33.
        let sectors = UInt64(grainSize) * UInt64(Self.tableEntryCount)
        return (UInt64(capacity) + sectors - 1) / sectors
    }
}
