import BlockImage
import ByteFormat

/// One of the two copies of the region table (MS-VHDX 2.2.3).
///
///     OFFSET SIZE FIELD
///          0    4 signature "regi"
///          4    4 checksum: CRC-32C of the 64 KiB, with zeros in this field
///          8    4 entryCount
///         12    4 reserved
///         16      entries
struct RegionTable: Hashable {
    var regions: [Region]

    /// The bytes that it takes.
    static let size = 64 << 10
    /// Where the two lie.
    static let offsets: [UInt64] = [192 << 10, 256 << 10]
    /// The most entries that fit.
    static let entryLimit = (size - 16) / Region.size

    /// The table of `regions`.
    init(_ regions: [Region]) {
        self.regions = regions
    }

    /// Reads the table from its 64 KiB. Throws where it is none, or its check sum is wrong. Nothing else is checked yet.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        try reader.checkSignature("regi")
        try reader.checkSum(of: Self.size)
        let count: UInt32 = try reader.read(.little)
        guard count <= Self.entryLimit else {
            throw ParseFault(at: 8, "entry count: is \(count), but must be at most \(Self.entryLimit)")
        }
        try reader.skip(4)
        regions = []
        for _ in 0..<count { regions.append(try Region(parsing: &reader)) }
    }

    /// Where in the table the region `index` has its entry.
    static func position(of index: Int) -> Int { 16 + index * Region.size }

    /// Checks that the regions can lie where they are said to, and that both that are needed are there once.
    func check() throws(ParseFault) {
        for (index, region) in regions.enumerated() {
            let position = Self.position(of: index)
            if let fault = region.placeFault {
                throw ParseFault(at: position + fault.position, "region \(region.name): \(fault.message)")
            }
            if regions[..<index].contains(where: { $0.id == region.id }) {
                throw ParseFault(at: position, "region \(region.name): is there twice")
            }
        }
        for id in [KnownIdentifier.tableRegion, KnownIdentifier.metadataRegion] where self[id] == nil {
            throw ParseFault(at: 8, "region \(KnownIdentifier.name(of: id) ?? ""): is missing")
        }
    }

    /// The first region without which the file must not be read, and that is not known; nil where there is none.
    var unsupportedRegion: ParseFault? {
        regions.enumerated().first { $1.isRequired && KnownIdentifier.name(of: $1.id) == nil }.map { index, region in
            ParseFault(
                at: Self.position(of: index), "region \(region.id): is required to read the disk, and not known")
        }
    }

    /// The region `id`.
    subscript(id: ImageIdentity) -> Region? { regions.first { $0.id == id } }

    /// Its bytes.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: Self.size)
        writer.write(bytes: "regi".utf8)
        writer.write(UInt32(0), .little)
        writer.write(UInt32(regions.count), .little)
        writer.write(UInt32(0), .little)
        for region in regions {
            writer.write(bytes: region.id.guidBytes)
            writer.write(region.offset, .little)
            writer.write(region.length, .little)
            writer.write(region.flags, .little)
        }
        writer.pad(to: Self.size)
        return withChecksum(writer.bytes)
    }
}

/// A part of the file with a purpose (MS-VHDX 2.2.3.2).
///
///     OFFSET SIZE FIELD
///          0   16 id
///         16    8 offset
///         24    4 length
///         28    4 flags; bit 0: required
struct Region: Hashable {
    var id: ImageIdentity
    var offset: UInt64
    var length: UInt32
    var flags: UInt32

    static let size = 32
    static let required = BitField<UInt32>(0)

    /// The region `id`, without which the file must not be read.
    init(_ id: ImageIdentity, at offset: UInt64, length: UInt32) {
        self.id = id
        self.offset = offset
        self.length = length
        flags = Self.required.mask
    }

    init(parsing reader: inout ByteReader) throws(ParseFault) {
        id = try reader.readIdentity()
        offset = try reader.read(.little)
        length = try reader.read(.little)
        flags = try reader.read(.little)
    }

    /// Whether the file must not be read by what does not know the region.
    var isRequired: Bool { Self.required.isSet(in: flags) }
    /// What people call it.
    var name: String { KnownIdentifier.name(of: id) ?? "\(id)" }
    /// Where it ends; for one whose place was checked.
    var end: UInt64 { offset + UInt64(length) }

    /// Why it cannot lie there, at which byte of its entry; nil where it can.
    var placeFault: ParseFault? {
        guard offset % mebibyte == 0, (mebibyte...offsetLimit).contains(offset) else {
            return ParseFault(
                at: 16, "its offset is \(hexadecimal(offset)), but must be a multiple of 1 MiB, and at least that")
        }
        guard UInt64(length) % mebibyte == 0, length > 0 else {
            return ParseFault(at: 24, "its length is \(length), but must be a multiple of 1 MiB, and at least that")
        }
        return nil
    }
}
