import ByteFormat

/// The disklabel of a BSD in the second sector of its MBR partition (FreeBSD: of a slice), which divides that into the
/// partitions a, b and so on. Linux numbers these as if they were logical partitions (block/partitions/msdos.c).
///
///     OFFSET SIZE FIELD
///          0    4 d_magic: 0x82564557
///          4  134 the drive, and check sums
///        138    2 d_npartitions
///        140    8 d_bbsize, d_sbsize
///        148   16 for each partition
///
/// All integers are little-endian.
struct BSDLabel: Hashable, Sendable {
    /// One of its partitions.
    ///
    ///     OFFSET SIZE FIELD
    ///          0    4 p_size
    ///          4    4 p_offset
    ///          8    4 p_fsize (not used)
    ///         12    1 p_fstype
    ///         13    3 p_frag, p_cpg (not used)
    struct Entry: Hashable, Sendable {
        var sectorCount: UInt32
        var firstSector: UInt32
        /// What is in it; 0: the entry is not used, as that for the whole.
        var type: UInt8

        init(parsing reader: inout ByteReader) throws(ParseFault) {
            sectorCount = try reader.read(.little)
            firstSector = try reader.read(.little)
            try reader.skip(4)
            type = try reader.read(.little)
            try reader.skip(3)
        }
    }

    /// The types of MBR partitions that have one: of FreeBSD, OpenBSD and NetBSD.
    static let partitionTypes: Set<UInt8> = [freeBSD, 0xa6, 0xa9]
    static let freeBSD: UInt8 = 0xa5
    /// The most entries that Linux reads.
    private static let entryLimit = 16
    private static let magic: UInt32 = 0x8256_4557

    var entries: [Entry] = []
    /// Where the third entry begins, whether the label counts it or not.
    private var thirdStart: UInt32 = 0

    /// The label in `bytes`, a sector; nil where there is none.
    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        do throws(ParseFault) {
            guard try reader.read(.little, as: UInt32.self) == Self.magic else { return nil }
            try reader.skip(134)
            let count = min(Int(try reader.read(.little, as: UInt16.self)), Self.entryLimit)
            try reader.skip(8)
            for index in 0..<max(count, 3) {
                let entry = try Entry(parsing: &reader)
                if index == 2 { thirdStart = entry.firstSector }
                if index < count { entries.append(entry) }
            }
        } catch {
            return nil
        }
    }

    /// What the entries' sectors count from in a partition of `type` at the sector `start`. FreeBSD since version 10
    /// counts from the partition, which the third entry shows, that for the whole; all others count from the disk's start.
    func base(type: UInt8, start: UInt64) -> UInt64 {
        type == Self.freeBSD && thirdStart == 0 ? start : 0
    }
}
