import ByteFormat

/// The header of LUKS version 1: "LUKS1 On-Disk Format Specification", 1.2.3, "The partition header" (phdr).
///
///     OFFSET SIZE FIELD
///          0    6 magic "LUKS\xba\xbe"      112   20 mk-digest
///          6    2 version                   132   32 mk-digest-salt
///          8   32 cipher-name               164    4 mk-digest-iter
///         40   32 cipher-mode               168   40 uuid
///         72   32 hash-spec                 208  384 key-slot-1 … key-slot-8, of 48 bytes each
///        104    4 payload-offset            592
///        108    4 key-bytes
///
/// All integers are big-endian; the texts end with a NUL.
public struct LUKS1Header: Hashable, Sendable {
    /// The first six bytes of every LUKS header, of version 2 too.
    public static let magic: [UInt8] = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]
    /// The bytes of the header.
    public static let size = 592
    /// How many key slots there are, used or not.
    public static let keySlotCount = 8

    /// The name of the block cipher, such as "aes".
    public var cipherName: String
    /// The mode and the IV generator, such as "xts-plain64" and "cbc-essiv:sha256".
    public var cipherMode: String
    /// The name of the hash function of PBKDF2 and of the key splitter.
    public var hashSpec: String
    /// Where the encrypted data begins, in sectors from the header's start. QCOW2 has its own idea of that.
    public var payloadOffset: UInt32
    /// The bytes of the master key.
    public var keyBytes: UInt32
    /// 20 bytes of PBKDF2 of the master key, to recognize it by.
    public var masterKeyDigest: [UInt8]
    /// The salt of that, 32 bytes.
    public var masterKeyDigestSalt: [UInt8]
    /// The iterations of that.
    public var masterKeyDigestIterations: UInt32
    /// The name of this encryption, for people; nothing depends on it. Empty where it is no printable text.
    public var uuid: String
    /// The eight key slots.
    public var keySlots: [KeySlot]

    /// A place for the master key, encrypted with a passphrase of its own.
    ///
    ///     OFFSET SIZE FIELD
    ///          0    4 active: 0x00AC71F3, or 0x0000DEAD where it is not used
    ///          4    4 iterations
    ///          8   32 salt
    ///         40    4 key-material-offset
    ///         44    4 stripes
    public struct KeySlot: Hashable, Sendable {
        /// The bytes of a key slot in the header.
        public static let size = 48

        /// Whether the slot holds a key.
        public var isActive: Bool
        /// The iterations of PBKDF2 that make the slot's key from the passphrase.
        public var iterations: UInt32
        /// The salt of that, 32 bytes.
        public var salt: [UInt8]
        /// Where the encrypted key material begins, in sectors from the header's start.
        public var keyMaterialOffset: UInt32
        /// Into how many parts of its own size the master key was split.
        public var stripes: UInt32

        fileprivate init(_ number: Int, parsing reader: inout ByteReader) throws(ParseFault) {
            let start = reader.position
            let active: UInt32 = try reader.read(.big)
            guard active == 0x00ac_71f3 || active == 0x0000_dead else {
                throw ParseFault(
                    at: start,
                    "key-slot-\(number): active: is 0x\(String(active, radix: 16)), but must be 0xac71f3 (used) or 0xdead (not used)"
                )
            }
            isActive = active == 0x00ac_71f3
            iterations = try reader.read(.big)
            salt = try reader.read(bytes: 32)
            keyMaterialOffset = try reader.read(.big)
            stripes = try reader.read(.big)
        }
    }

    /// Parses the header from its first byte on. What it asks for may still be wrong or not supported: see `check()`.
    public init(parsing reader: inout ByteReader) throws(EncryptionFault) {
        let start = reader.position
        let version: UInt16
        do throws(ParseFault) {
            version = try Self.version(parsing: &reader)
        } catch {
            throw EncryptionFault(.corrupt, at: error.position - start, error.message)
        }
        guard version == 1 else {
            throw EncryptionFault(
                .unsupported, at: 6, "version: is \(version), and LUKS\(version) is not supported; LUKS1 is")
        }
        do throws(ParseFault) {
            try self.init(behindVersion: &reader)
        } catch {
            throw EncryptionFault(.corrupt, at: error.position - start, error.message)
        }
    }

    private static func version(parsing reader: inout ByteReader) throws(ParseFault) -> UInt16 {
        let start = reader.position
        guard try reader.read(bytes: 6) == magic else {
            throw ParseFault(at: start, "magic: is no LUKS header's, which must be \"LUKS\\xba\\xbe\"")
        }
        return try reader.read(.big)
    }

    private init(behindVersion reader: inout ByteReader) throws(ParseFault) {
        cipherName = try Self.text("cipher-name", 32, parsing: &reader)
        cipherMode = try Self.text("cipher-mode", 32, parsing: &reader)
        hashSpec = try Self.text("hash-spec", 32, parsing: &reader)
        payloadOffset = try reader.read(.big)
        keyBytes = try reader.read(.big)
        masterKeyDigest = try reader.read(bytes: 20)
        masterKeyDigestSalt = try reader.read(bytes: 32)
        masterKeyDigestIterations = try reader.read(.big)
        uuid = Self.printable(try reader.read(bytes: 40)) ?? ""
        keySlots = []
        for number in 1...Self.keySlotCount { keySlots.append(try KeySlot(number, parsing: &reader)) }
    }

    private static func text(
        _ field: String, _ count: Int, parsing reader: inout ByteReader
    ) throws(ParseFault) -> String {
        let start = reader.position
        guard let text = printable(try reader.read(bytes: count)) else {
            throw ParseFault(at: start, "\(field): is no printable ASCII that ends with a NUL")
        }
        return text
    }

    /// The text before the first NUL; nil where there is none, or where it could do more to a terminal than be shown.
    private static func printable(_ bytes: [UInt8]) -> String? {
        guard let end = bytes.firstIndex(of: 0), bytes[..<end].allSatisfy({ (0x20...0x7e).contains($0) }) else {
            return nil
        }
        return String(decoding: bytes[..<end], as: UTF8.self)
    }
}
