import BlockImage
import ByteFormat

/// What a differencing disk says of its parent (MS-VHDX 2.6.2.6): names and values, both texts in UTF-16.
///
///     OFFSET SIZE FIELD
///          0   16 type
///         16    2 reserved
///         18    2 keyValueCount
///         20      entries of 12 bytes: offsets of the key and the value in the item (4 each), their lengths in bytes (2 each)
public struct ParentLocator: Hashable, Sendable {
    /// A key and its value.
    public struct Entry: Hashable, Sendable {
        /// What the value is: "parent_linkage".
        public var key: String
        /// The value.
        public var value: String
        /// Where in the item the entry stands.
        var position: Int
    }

    /// The type: that of VHDX.
    public let type: ImageIdentity
    /// What is said.
    public let entries: [Entry]

    /// The most entries that are read: there are five keys.
    static let entryLimit = 64

    /// Reads the item. Throws where it is of another type, or damaged.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        type = try reader.readIdentity()
        guard type == KnownIdentifier.vhdxLocator else {
            throw ParseFault(at: 0, "type: is \(type), but must be \(KnownIdentifier.vhdxLocator), that of VHDX")
        }
        try reader.skip(2)
        let count: UInt16 = try reader.read(.little)
        guard count <= Self.entryLimit else {
            throw ParseFault(at: 18, "count: is \(count) entries, but must be at most \(Self.entryLimit)")
        }
        var entries: [Entry] = []
        for index in 0..<Int(count) {
            let position = reader.position
            let (keyOffset, valueOffset): (UInt32, UInt32) = (try reader.read(.little), try reader.read(.little))
            let (keyLength, valueLength): (UInt16, UInt16) = (try reader.read(.little), try reader.read(.little))
            guard let key = Self.text(keyLength, at: keyOffset, of: bytes),
                let value = Self.text(valueLength, at: valueOffset, of: bytes)
            else {
                throw ParseFault(
                    at: position,
                    "entry \(index): its key or its value is no text in UTF-16 within the \(bytes.count) bytes")
            }
            entries.append(Entry(key: key, value: value, position: position))
        }
        self.entries = entries
    }

    private static func text(_ length: UInt16, at offset: UInt32, of bytes: [UInt8]) -> String? {
        let (start, count) = (Int(offset), Int(length))
        guard count % 2 == 0, start <= bytes.count, count <= bytes.count - start else { return nil }
        let units = stride(from: start, to: start + count, by: 2).map { UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8 }
        return String(decoding: units, as: UTF16.self)
    }

    /// The value of `key`.
    public func value(of key: String) -> String? { entries.first { $0.key == key }?.value }

    /// Where in the item the entry of `key` stands.
    func position(of key: String) -> Int? { entries.first { $0.key == key }?.position }

    /// The identity that the parent had when the disk was made; nil where none is said.
    public var parentID: ImageIdentity? { value(of: "parent_linkage").flatMap { ImageIdentity(text: $0) } }

    /// Another one that the parent may have; nil for none.
    var otherParentID: ImageIdentity? {
        value(of: "parent_linkage2").flatMap { ImageIdentity(text: $0) }.flatMap { $0.isZero ? nil : $0 }
    }

    /// The path of the parent for people: the first that is said.
    public var path: String? { paths.first }

    /// All of its paths, those that hold longest first.
    private var paths: [String] {
        ["relative_path", "absolute_win32_path", "volume_path"].compactMap { value(of: $0) }.filter { !$0.isEmpty }
    }

    /// What the parent is looked for by.
    var sought: SoughtName { SoughtName(windowsPaths: paths, in: "parent locator") }
}
