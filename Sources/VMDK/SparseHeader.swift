import ByteFormat

/// The header of a hosted sparse extent, in its first sector (Virtual Disk Format 5.0, "Hosted Sparse Extent Header").
///
///     OFFSET SIZE FIELD
///          0    4 magic "KDMV"
///          4    4 version
///          8    4 flags
///         12    8 capacity
///         20    8 grainSize
///         28    8 descriptorOffset
///         36    8 descriptorSize
///         44    4 grainTableEntryCount (numGTEsPerGT)
///         48    8 redundantDirectoryOffset (rgdOffset)
///         56    8 directoryOffset (gdOffset)
///         64    8 overhead (overHead)
///         72    1 uncleanShutdown
///         73    4 the newline check: 0A 20 0D 0A
///         77    2 compressAlgorithm
///         79  433 padding
public struct SparseHeader: Hashable, Sendable {
    /// 1; 2 where grain table entries may say "zeros"; 3 for changed-block tracking and for long streams.
    public let version: UInt32
    /// The features in use: the low 16 bits may be ignored by who does not know them, the high 16 may not.
    public let flags: UInt32
    /// The size of the extent in sectors; need not be a multiple of the grain.
    public let capacity: UInt64
    /// The size of a grain in sectors: a power of two, at most `grainSizeLimit`.
    public let grainSize: UInt64
    /// The sector of the embedded descriptor; 0 when there is none.
    public let descriptorOffset: UInt64
    /// How many sectors the embedded descriptor has.
    public let descriptorSize: UInt64
    /// How many entries a grain table has, 512 in VMware's own files (numGTEsPerGT).
    public let grainTableEntryCount: UInt32
    /// The sector of the redundant grain directory; means nothing unless `hasRedundantDirectory` (rgdOffset).
    public let redundantDirectoryOffset: UInt64
    /// The sector of the grain directory (gdOffset).
    public let directoryOffset: UInt64
    /// How many sectors of metadata lie before the first grain (overHead).
    public let overhead: UInt64
    /// Whether the file was open for writing when its writer ended. Says nothing about how to read it.
    public let uncleanShutdown: Bool
    /// 0 for plain grains, 1 for deflate.
    public let compressAlgorithm: UInt16

    /// The bytes that the header takes: one sector.
    public static let size = 512
    /// The largest grain that is read, in sectors: 2^21, which are 1 GiB, as in QEMU. VMware writes 128.
    public static let grainSizeLimit: UInt64 = 1 << 21
    /// The largest compressed grain that is read, in sectors: 8,192, which are 4 MiB. Reading it takes memory of three
    /// times that, as the stream may have twice the grain's size. VMware, VirtualBox and QEMU write 128.
    public static let compressedGrainSizeLimit: UInt64 = 8192
    /// The most entries that a grain table may have: 4,096, so that it fits a page of the table cache. QEMU reads 512.
    public static let grainTableEntryLimit: UInt32 = 4096
    /// The most entries that a grain directory may have, as in QEMU: 32 Mi of them, of 512 grains each, reach the
    /// 8 TiB of a disk with the smallest grain; as each takes 4 bytes, the directory has at most 128 MiB.
    public static let directoryEntryLimit: UInt64 = 32 << 20
    /// The value of gdOffset that says: the grain directory is found through the footer at the end of the file.
    static let directoryAtEnd = UInt64.max

    private static let magic = Array("KDMV".utf8)
    private static let newlines: [UInt8] = [0x0a, 0x20, 0x0d, 0x0a]

    static let newlineCheckFlag = BitField<UInt32>(0)
    static let redundantDirectoryFlag = BitField<UInt32>(1)
    static let zeroedGrainFlag = BitField<UInt32>(2)
    static let compressedGrainsFlag = BitField<UInt32>(16)
    static let markersFlag = BitField<UInt32>(17)
    static let unknownIncompatibleFlags = BitField<UInt32>(18...31)

    /// Whether the file has a second grain directory with grain tables of its own.
    public var hasRedundantDirectory: Bool { Self.redundantDirectoryFlag.isSet(in: flags) }
    /// Whether a grain table entry of 1 says that the grain is zeros.
    public var hasZeroedGrains: Bool { Self.zeroedGrainFlag.isSet(in: flags) }
    /// Whether grains are compressed, as in streamOptimized disks.
    public var isCompressed: Bool { Self.compressedGrainsFlag.isSet(in: flags) }
    /// Whether every grain and every piece of metadata has a marker before it.
    var hasMarkers: Bool { Self.markersFlag.isSet(in: flags) }
    /// Whether the grain directory is found through the footer only.
    var hasDirectoryAtEnd: Bool { directoryOffset == Self.directoryAtEnd }
}

extension SparseHeader {
    /// Reads the header from the first sector of the file; the geometry is not checked yet.
    ///
    /// Throws where the sector is none, and where a transfer in text mode changed its line ends.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        guard try reader.read(bytes: 4).elementsEqual(Self.magic) else {
            throw ParseFault(at: 0, "magic: is no sparse extent's, which must be \"KDMV\"")
        }
        version = try reader.read(.little)
        flags = try reader.read(.little)
        capacity = try reader.read(.little)
        grainSize = try reader.read(.little)
        descriptorOffset = try reader.read(.little)
        descriptorSize = try reader.read(.little)
        grainTableEntryCount = try reader.read(.little)
        redundantDirectoryOffset = try reader.read(.little)
        directoryOffset = try reader.read(.little)
        overhead = try reader.read(.little)
        uncleanShutdown = try reader.read(.little, as: UInt8.self) != 0
        let newlines = try reader.read(bytes: 4)
        compressAlgorithm = try reader.read(.little)
        // Only versions that are known say where the check lies.
        if version <= 3, Self.newlineCheckFlag.isSet(in: flags), newlines != Self.newlines {
            let found = newlines.map { String($0, radix: 16) }.joined(separator: " ")
            throw ParseFault(
                at: 73,
                "newline check: is \(found), but must be a 20 d a: "
                    + "the file was transferred in text mode, or damaged otherwise"
            )
        }
    }

    /// The sector that it takes.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: Self.size)
        writer.write(bytes: Self.magic)
        writer.write(version, .little)
        writer.write(flags, .little)
        writer.write(capacity, .little)
        writer.write(grainSize, .little)
        writer.write(descriptorOffset, .little)
        writer.write(descriptorSize, .little)
        writer.write(grainTableEntryCount, .little)
        writer.write(redundantDirectoryOffset, .little)
        writer.write(directoryOffset, .little)
        writer.write(overhead, .little)
        writer.write(UInt8(uncleanShutdown ? 1 : 0), .little)
        writer.write(bytes: Self.newlines)
        writer.write(compressAlgorithm, .little)
        writer.pad(to: Self.size)
        return writer.bytes
    }
}

extension SparseHeader {
    /// The first feature in use that is not read, in the order of the fields; nil when everything is.
    var unsupportedFeature: ParseFault? {
        if version > 3 {
            return ParseFault(at: 4, "version: is \(version), which is not supported; 1 to 3 are")
        }
        if Self.unknownIncompatibleFlags.isSet(in: flags) {
            let bits = Self.unknownIncompatibleFlags.masked(in: flags)
            return ParseFault(at: 8, "flags: 0x\(String(bits, radix: 16)) are incompatible features that are not known")
        }
        if isCompressed && !hasMarkers {
            // Nothing says how long such a grain is, and other readers do not agree on where its data begins.
            return ParseFault(
                at: 8, "flags: bit 16, compressed grains, is not supported without bit 17, markers before them")
        }
        if hasMarkers && !isCompressed {
            return ParseFault(at: 8, "flags: bit 17, grains with markers, is not supported without bit 16, compression")
        }
        if isCompressed && grainSize > Self.compressedGrainSizeLimit {
            return ParseFault(
                at: 20,
                "grainSize: is \(grainSize) sectors, which is not supported where grains are compressed; "
                    + "up to \(Self.compressedGrainSizeLimit) are")
        }
        if compressAlgorithm != (isCompressed ? 1 : 0) {
            return ParseFault(
                at: 77,
                "compressAlgorithm: is \(compressAlgorithm), which is not supported where flags "
                    + (isCompressed ? "has bit 16, compressed grains; 1, deflate, is" : "has not bit 16; 0 is"))
        }
        return nil
    }

    /// Checks the numbers that all arithmetic on grains rests on.
    func checkGeometry() throws(ParseFault) {
        guard version >= 1 else { throw ParseFault(at: 4, "version: is 0, but must be 1 to 3") }
        guard capacity <= sectorLimit else {
            throw ParseFault(at: 12, "capacity: is \(capacity) sectors, but must be at most \(sectorLimit)")
        }
        guard grainSize.nonzeroBitCount == 1, grainSize <= Self.grainSizeLimit else {
            throw ParseFault(
                at: 20,
                "grainSize: is \(grainSize) sectors, but must be a power of two from 1 to \(Self.grainSizeLimit)")
        }
        guard (1...Self.grainTableEntryLimit).contains(grainTableEntryCount) else {
            throw ParseFault(
                at: 44,
                "numGTEsPerGT: is \(grainTableEntryCount), but must be from 1 to \(Self.grainTableEntryLimit)")
        }
        guard directoryEntryCount <= Self.directoryEntryLimit else {
            throw ParseFault(
                at: 12,
                "capacity: is \(capacity) sectors, which takes a grain directory of \(directoryEntryCount) entries, "
                    + "but it must have at most \(Self.directoryEntryLimit)")
        }
    }

    /// How many entries the grain directory has: one for each grain table, the last perhaps not used to its end.
    ///
    /// Only for a checked geometry: capacity < 2^54 and the sectors of a grain table are at most 2^12 * 2^21 = 2^33.
    var directoryEntryCount: UInt64 {
        let sectors = grainSize * UInt64(grainTableEntryCount)
        return (capacity + sectors - 1) / sectors
    }
}
