import ByteFormat
import Compression

/// The header of a GUID Partition Table: UEFI Specification 2.10, section 5.3.2 "GPT Header".
///
///     OFFSET SIZE FIELD
///          0    8 Signature "EFI PART"
///          8    4 Revision
///         12    4 HeaderSize
///         16    4 HeaderCRC32
///         20    4 Reserved
///         24    8 MyLBA
///         32    8 AlternateLBA
///         40    8 FirstUsableLBA
///         48    8 LastUsableLBA
///         56   16 DiskGUID
///         72    8 PartitionEntryLBA
///         80    4 NumberOfPartitionEntries
///         84    4 SizeOfPartitionEntry
///         88    4 PartitionEntryArrayCRC32
///         92      reserved, zeros, to the end of the sector
///
/// All integers are little-endian.
struct GPTHeader: Hashable, Sendable {
    static let signature = Array("EFI PART".utf8)
    /// The bytes of the fields above: the least that HeaderSize may be.
    static let size: UInt32 = 92
    /// The most bytes that the entries may take: 32,768 of the usual 128 bytes. Linux reads no larger table either.
    static let arrayLimit: UInt64 = 4 << 20

    /// 0x00010000: 1.0, the only one there is.
    var revision: UInt32
    /// The bytes of the header that HeaderCRC32 protects.
    var headerSize: UInt32
    /// Of the header, with this field as zeros.
    var checkSum: UInt32
    /// The sector that this header is in.
    var myLBA: UInt64
    /// The sector that the other header is in.
    var alternateLBA: UInt64
    /// The first sector that a partition may have.
    var firstUsableLBA: UInt64
    /// The last sector that a partition may have.
    var lastUsableLBA: UInt64
    /// The identifier of the disk.
    var diskGUID: GUID
    /// Where the entries begin.
    var entryLBA: UInt64
    /// How many entries there are, used or not.
    var entryCount: UInt32
    /// The bytes of one entry: 128 times a power of two.
    var entrySize: UInt32
    /// Of all entries (PartitionEntryArrayCRC32).
    var arrayCheckSum: UInt32

    /// Parses a header. Throws where it does not begin with the signature.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        guard try reader.read(bytes: 8) == Self.signature else {
            throw ParseFault(at: 0, "there is no header: the sector does not begin with 'EFI PART'")
        }
        revision = try reader.read(.little)
        headerSize = try reader.read(.little)
        checkSum = try reader.read(.little)
        try reader.skip(4)
        myLBA = try reader.read(.little)
        alternateLBA = try reader.read(.little)
        firstUsableLBA = try reader.read(.little)
        lastUsableLBA = try reader.read(.little)
        diskGUID = try GUID(parsing: &reader)
        entryLBA = try reader.read(.little)
        entryCount = try reader.read(.little)
        entrySize = try reader.read(.little)
        arrayCheckSum = try reader.read(.little)
    }

    /// The bytes of all entries; at most 2^64 - 2^33 + 1, so that it cannot overflow.
    var arraySize: UInt64 { UInt64(entryCount) * UInt64(entrySize) }

    /// Checks what makes the header of the sector `lba`, whose bytes are `sector`, one to go by, on a disk of
    /// `sectorCount` sectors. Its revision is not among it: no reader looks at it.
    func check(_ sector: [UInt8], at lba: UInt64, sectorCount: UInt64) throws(ParseFault) {
        guard headerSize >= Self.size, headerSize <= UInt64(sector.count) else {
            throw ParseFault(
                at: 12, "the header's size is \(headerSize), but must be \(Self.size) to \(sector.count)")
        }
        var protected = Array(sector.prefix(Int(headerSize)))
        protected.replaceSubrange(16..<20, with: [0, 0, 0, 0])
        try Self.compare(CRC32(of: protected).value, with: checkSum, at: 16, of: "the header")
        guard myLBA == lba else { throw ParseFault(at: 24, "the header says that it lies at LBA \(myLBA)") }
        guard firstUsableLBA <= lastUsableLBA, firstUsableLBA < sectorCount else {
            throw ParseFault(
                at: 40,
                "the usable sectors are LBA \(firstUsableLBA) to \(lastUsableLBA), "
                    + "but the disk has \(sectorCount) sectors")
        }
        guard entrySize >= 128, entrySize <= 4096, entrySize & (entrySize - 1) == 0 else {
            throw ParseFault(at: 84, "the size of an entry is \(entrySize), but must be 128, 256, … or 4096")
        }
        guard entryCount > 0, arraySize <= Self.arrayLimit else {
            throw ParseFault(
                at: 80,
                "there are \(entryCount) entries of \(entrySize) bytes, "
                    + "but must be at least one, and at most \(Self.arrayLimit) bytes")
        }
    }

    /// Throws where `found`, computed of `what`, is not the check sum that the header has at `position`.
    static func compare(_ found: UInt32, with expected: UInt32, at position: Int, of what: String) throws(ParseFault) {
        guard found == expected else {
            throw ParseFault(
                at: position,
                "the check sum of \(what) is 0x\(hexDigits(found, 8)), "
                    + "but must be 0x\(hexDigits(expected, 8))")
        }
    }
}

/// An entry of a GPT: UEFI Specification 2.10, section 5.3.3 "GPT Partition Entry Array".
///
///     OFFSET SIZE FIELD
///          0   16 PartitionTypeGUID
///         16   16 UniquePartitionGUID
///         32    8 StartingLBA
///         40    8 EndingLBA
///         48    8 Attributes
///         56   72 PartitionName: UTF-16, up to the first zero
struct GPTEntry: Hashable, Sendable {
    /// What it is for; zeros: the entry is not used.
    var type: GUID
    /// Which partition it is.
    var unique: GUID
    /// The first sector.
    var firstLBA: UInt64
    /// The last sector, which is part of it.
    var lastLBA: UInt64
    /// The bits of its attributes; `Partition.Entry` says what they mean.
    var attributes: UInt64
    /// What its maker called it.
    var name: String

    init(parsing reader: inout ByteReader) throws(ParseFault) {
        type = try GUID(parsing: &reader)
        unique = try GUID(parsing: &reader)
        firstLBA = try reader.read(.little)
        lastLBA = try reader.read(.little)
        attributes = try reader.read(.little)
        var units: [UInt16] = []
        for _ in 0..<36 { units.append(try reader.read(.little)) }
        name = String(decoding: units.prefix { $0 != 0 }, as: UTF16.self)
    }
}
