import BlockImage
import ByteFormat

/// The table at the start of the metadata region (MS-VHDX 2.6.1).
///
///     OFFSET SIZE FIELD
///          0    8 signature "metadata"
///          8    2 reserved
///         10    2 entryCount
///         12   20 reserved
///         32      entries
struct MetadataTable: Hashable {
    var items: [MetadataItem]

    /// The bytes that it takes.
    static let size = 64 << 10
    /// The most entries that fit.
    static let entryLimit = (size - 32) / MetadataItem.size

    /// The table of `items`.
    init(_ items: [MetadataItem]) {
        self.items = items
    }

    /// Reads the table from its 64 KiB. Throws where it is none. Nothing else is checked yet.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        try reader.checkSignature("metadata")
        try reader.skip(2)
        let count: UInt16 = try reader.read(.little)
        guard count <= Self.entryLimit else {
            throw ParseFault(at: 10, "entry count: is \(count), but must be at most \(Self.entryLimit)")
        }
        try reader.skip(20)
        items = []
        for _ in 0..<count { items.append(try MetadataItem(parsing: &reader)) }
    }

    /// Where in the table the item `index` has its entry.
    static func position(of index: Int) -> Int { 32 + index * MetadataItem.size }

    /// Checks that the items lie in a region of `length` bytes, and none of the system's is there twice.
    func check(regionLength length: UInt32) throws(ParseFault) {
        for (index, item) in items.enumerated() {
            let position = Self.position(of: index)
            if let fault = item.placeFault(regionLength: length) {
                throw ParseFault(at: position + 16, "item \(item.name): \(fault)")
            }
            if items[..<index].contains(where: { $0.id == item.id && $0.isUser == item.isUser }) {
                throw ParseFault(at: position, "item \(item.name): is there twice")
            }
        }
    }

    /// The first item without which the disk must not be read, and that is not known; nil where there is none.
    var unsupportedItem: ParseFault? {
        let unknown = items.enumerated().first {
            $1.isRequired && ($1.isUser || KnownIdentifier.name(of: $1.id) == nil)
        }
        return unknown.map { index, item in
            ParseFault(
                at: Self.position(of: index),
                "item \(item.id)\(item.isUser ? " of the user" : ""): is required to read the disk, and not known")
        }
    }

    /// The item `id` of the system's.
    subscript(id: ImageIdentity) -> MetadataItem? { items.first { $0.id == id && !$0.isUser } }

    /// Its bytes.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: Self.size)
        writer.write(bytes: "metadata".utf8)
        writer.write(UInt16(0), .little)
        writer.write(UInt16(items.count), .little)
        writer.pad(to: 32)
        for item in items {
            writer.write(bytes: item.id.guidBytes)
            writer.write(item.offset, .little)
            writer.write(item.length, .little)
            writer.write(item.flags, .little)
            writer.write(UInt32(0), .little)
        }
        writer.pad(to: Self.size)
        return writer.bytes
    }
}

/// An entry of the metadata table (MS-VHDX 2.6.1.2).
///
///     OFFSET SIZE FIELD
///          0   16 id
///         16    4 offset, from the start of the region
///         20    4 length
///         24    4 flags; bit 0: of the user, bit 1: of the disk and not of the file, bit 2: required
///         28    4 reserved
struct MetadataItem: Hashable {
    var id: ImageIdentity
    var offset: UInt32
    var length: UInt32
    var flags: UInt32

    static let size = 32
    /// The most bytes of an item.
    static let lengthLimit: UInt32 = 1 << 20
    static let user = BitField<UInt32>(0)
    static let virtualDisk = BitField<UInt32>(1)
    static let required = BitField<UInt32>(2)

    /// An item of the system's that readers must know; `isOfDisk`: it is about the disk, and not about the file.
    init(_ id: ImageIdentity, at offset: UInt32, length: UInt32, isOfDisk: Bool) {
        self.id = id
        self.offset = offset
        self.length = length
        flags = Self.required.mask | (isOfDisk ? Self.virtualDisk.mask : 0)
    }

    init(parsing reader: inout ByteReader) throws(ParseFault) {
        id = try reader.readIdentity()
        offset = try reader.read(.little)
        length = try reader.read(.little)
        flags = try reader.read(.little)
        try reader.skip(4)
    }

    /// Whether it is not one of the system's.
    var isUser: Bool { Self.user.isSet(in: flags) }
    /// Whether the disk must not be read by what does not know it.
    var isRequired: Bool { Self.required.isSet(in: flags) }
    /// What people call it.
    var name: String { (isUser ? nil : KnownIdentifier.name(of: id)) ?? "\(id)" }

    /// Why it cannot lie there in a region of `length` bytes; nil where it can, and where it is empty.
    func placeFault(regionLength: UInt32) -> String? {
        if length == 0 { return nil }
        guard offset >= MetadataTable.size, length <= Self.lengthLimit,
            UInt64(offset) + UInt64(length) <= UInt64(regionLength)
        else {
            return
                "has \(length) bytes at \(hexadecimal(offset)), but must have at most 1 MiB between 0x10000 and the end of the "
                + "region at \(hexadecimal(regionLength))"
        }
        return nil
    }
}
