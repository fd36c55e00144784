import ByteFormat

/// The VTOC of Solaris on x86 in the second sector of its MBR partition, which divides that into slices. Linux numbers these
/// as if they were logical partitions (block/partitions/msdos.c).
///
///     OFFSET SIZE FIELD
///          0   12 v_bootinfo
///         12    4 v_sanity: 0x600ddeee
///         16    4 v_version: 1
///         20    8 v_volume
///         28    2 v_sectorsz
///         30    2 v_nparts
///         32   40 reserved
///         72   12 for each slice
///
/// All integers are little-endian.
struct SolarisLabel: Hashable, Sendable {
    /// One of its slices.
    ///
    ///     OFFSET SIZE FIELD
    ///          0    2 p_tag
    ///          2    2 p_flag (not used)
    ///          4    4 p_start, counted from the partition
    ///          8    4 p_size; 0: the slice is not used
    struct Slice: Hashable, Sendable {
        /// What it is for.
        var tag: UInt16
        var firstSector: UInt32
        var sectorCount: UInt32

        init(parsing reader: inout ByteReader) throws(ParseFault) {
            tag = try reader.read(.little)
            try reader.skip(2)
            firstSector = try reader.read(.little)
            sectorCount = try reader.read(.little)
        }
    }

    /// The types of MBR partitions that may have one: the older is that of Linux's swap space as well.
    static let partitionTypes: Set<UInt8> = [0x82, 0xbf]
    /// The tag of the slice that is the whole.
    static let wholeTag: UInt16 = 5

    var slices: [Slice] = []

    /// The label in `bytes`, a sector; nil where there is none.
    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        do throws(ParseFault) {
            try reader.skip(12)
            let (sanity, version): (UInt32, UInt32) = (try reader.read(.little), try reader.read(.little))
            guard sanity == 0x600d_deee, version == 1 else { return nil }
            try reader.skip(10)
            let count: UInt16 = try reader.read(.little)
            try reader.skip(40)
            // Old ones have 8, whatever they say.
            for _ in 0..<(count > 8 ? 16 : 8) { slices.append(try Slice(parsing: &reader)) }
        } catch {
            return nil
        }
    }
}
