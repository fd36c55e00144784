import ByteFormat

/// Sector 0 of a disk with an MBR, and the first sector of each part of an extended partition (EBR): UEFI
/// Specification 2.10, section 5.2.1 "Legacy Master Boot Record".
///
///     OFFSET SIZE FIELD
///          0  440 BootCode
///        440    4 UniqueMBRDiskSignature (in an MBR)
///        444    2 unknown
///        446   64 PartitionRecord: four entries
///        510    2 Signature: 0x55 0xaa
///
/// All integers are little-endian.
struct BootRecord: Hashable, Sendable {
    /// One of the four entries.
    ///
    ///     OFFSET SIZE FIELD
    ///          0    1 BootIndicator
    ///          1    3 StartingCHS (not used: the LBA says it)
    ///          4    1 OSType
    ///          5    3 EndingCHS (not used)
    ///          8    4 StartingLBA
    ///         12    4 SizeInLBA
    struct Entry: Hashable, Sendable {
        /// The types of containers of logical partitions: by CHS, by LBA, and what old versions of Linux made.
        static let extendedTypes: Set<UInt8> = [0x05, 0x0f, 0x85]
        /// The type of the entry that keeps tools that know no GPT from a disk with one.
        static let protectiveType: UInt8 = 0xee

        /// 0x80: to boot from it; 0x00: not. Anything else is no entry.
        var bootIndicator: UInt8
        /// What the partition is for (OSType).
        var type: UInt8
        /// The first sector, counted from what the record's place says.
        var firstSector: UInt32
        /// How many sectors it has; 0: the entry is not used.
        var sectorCount: UInt32

        init(parsing reader: inout ByteReader) throws(ParseFault) {
            bootIndicator = try reader.read(.little)
            try reader.skip(3)
            type = try reader.read(.little)
            try reader.skip(3)
            firstSector = try reader.read(.little)
            sectorCount = try reader.read(.little)
        }

        /// Whether it names something, as Linux sees it: whatever its type, it has sectors.
        var isUsed: Bool { sectorCount > 0 }
        var isExtended: Bool { isUsed && Self.extendedTypes.contains(type) }
        /// A protective entry counts whatever its size: tools have written all kinds.
        var isProtective: Bool { type == Self.protectiveType }
        var isActive: Bool { bootIndicator & 0x80 != 0 }
    }

    /// The bytes of a record, whatever the disk's sectors have.
    static let size = 512

    /// The identifier of the disk; 0: none.
    var diskSignature: UInt32
    /// Always four.
    var entries: [Entry]

    /// Parses a record. Throws where it does not end with the signature.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        try reader.skip(440)
        diskSignature = try reader.read(.little)
        try reader.skip(2)
        entries = []
        for _ in 0..<4 { entries.append(try Entry(parsing: &reader)) }
        let signature: UInt16 = try reader.read(.big)
        guard signature == 0x55aa else {
            throw ParseFault(at: 510, "the signature is 0x\(hexDigits(signature, 4)), but must be 0x55aa")
        }
    }

    /// Whether every entry begins with a boot indicator. Linux takes nothing else for an MBR.
    var hasBootIndicators: Bool { entries.allSatisfy { $0.bootIndicator & 0x7f == 0 } }

    /// The record in `bytes`; nil where there is none.
    init?(_ bytes: [UInt8]) {
        var reader = ByteReader(bytes)
        do { try self.init(parsing: &reader) } catch { return nil }
    }
}
