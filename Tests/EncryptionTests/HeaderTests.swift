import ByteFormat
import HostTools
import TestImages
import Testing

@testable import Encryption

@Suite struct HeaderTests {
    /// AES-256-XTS with SHA-256: each key slot takes 500 sectors, and they lie 504 apart from sector 8 on.
    static let made = Result { try Container(slots: [0: "abc", 2: "def"]) }

    static func container() throws -> Container { try made.get() }

    static func fault(of container: Container) throws -> EncryptionFault? {
        do throws(EncryptionFault) {
            var reader = ByteReader(container.bytes)
            try LUKS1Header(parsing: &reader).check()
            return nil
        } catch {
            return error
        }
    }

    @Test func `every field is read from its place`() throws {
        let header = try Self.container().header()
        try header.check()
        #expect(header.cipherName == "aes")
        #expect(header.cipherMode == "xts-plain64")
        #expect(header.hashSpec == "sha256")
        #expect(header.payloadOffset == 8 + 8 * 504)
        #expect(header.keyBytes == 64)
        #expect(header.masterKeyDigest.count == 20)
        #expect(header.masterKeyDigestSalt.count == 32)
        #expect(header.masterKeyDigestIterations == 5)
        #expect(header.uuid == "01234567-89ab-cdef-0123-456789abcdef")
        #expect(header.keySlots.map(\.isActive) == [true, false, true, false, false, false, false, false])
        #expect(header.keySlots.map(\.iterations) == [5, 0, 5, 0, 0, 0, 0, 0])
        #expect(header.keySlots.map(\.keyMaterialOffset) == (0..<8).map { 8 + 504 * $0 })
        #expect(header.keySlots.allSatisfy { $0.stripes == 4000 && $0.salt.count == 32 })
    }

    @Test(
        arguments: [
            (4, "\u{be}\u{ba}", .corrupt, 0, "magic: is no LUKS header's, which must be \"LUKS\\xba\\xbe\""),
            (6, "\u{0}\u{2}", .unsupported, 6, "version: is 2, and LUKS2 is not supported; LUKS1 is"),
            (6, "\u{0}\u{0}", .unsupported, 6, "version: is 0, and LUKS0 is not supported; LUKS1 is"),
            (
                8, "serpent\0", .unsupported, 8,
                "cipher-name: the cipher 'serpent' is not supported; 'aes' is"
            ),
            (
                8, "twofish\0", .unsupported, 8,
                "cipher-name: the cipher 'twofish' is not supported; 'aes' is"
            ),
            (8, "cast5\0", .unsupported, 8, "cipher-name: the cipher 'cast5' is not supported; 'aes' is"),
            (8, "\u{1b}[2J\0", .corrupt, 8, "cipher-name: is no printable ASCII that ends with a NUL"),
            (
                8, String(repeating: "a", count: 32), .corrupt, 8,
                "cipher-name: is no printable ASCII that ends with a NUL"
            ),
            (
                40, "lrw-plain64\0", .unsupported, 40,
                "cipher-mode: the mode 'lrw-plain64' is not supported; ecb, cbc, ctr and xts are"
            ),
            (
                40, "\0", .unsupported, 40,
                "cipher-mode: the mode '' is not supported; ecb, cbc, ctr and xts are"
            ),
            (
                40, "xts-benbi\0", .unsupported, 40,
                "cipher-mode: the IV generator 'benbi' is not supported; plain, plain64 and essiv are"
            ),
            (
                40, "xts\0", .unsupported, 40,
                "cipher-mode: the IV generator '' is not supported; plain, plain64 and essiv are"
            ),
            (
                40, "xts-essiv\0", .unsupported, 40,
                "cipher-mode: the IV generator 'essiv' is not supported; plain, plain64 and essiv are"
            ),
            (
                40, "xts-essiv:sha1\0", .unsupported, 40,
                "cipher-mode: essiv with sha1, whose 20 bytes are no AES key"
            ),
            (
                40, "xts-essiv:tiger\0", .unsupported, 40,
                "cipher-mode: the hash 'tiger' is not supported"
            ),
            (72, "whirlpool\0", .unsupported, 72, "hash-spec: the hash 'whirlpool' is not supported"),
            (72, "SHA256\0", .unsupported, 72, "hash-spec: the hash 'SHA256' is not supported"),
            (
                72, "sha256\u{7f}\0", .corrupt, 72,
                "hash-spec: is no printable ASCII that ends with a NUL"
            ),
        ] as [(Int, String, EncryptionFault.Code, Int, String)])
    func `a text that is changed is refused by name`(
        position: Int, text: String, code: EncryptionFault.Code, at: Int, message: String
    ) throws {
        var container = try Self.container()
        container.put(text.unicodeScalars.map { UInt8($0.value) }, at: position)
        #expect(try Self.fault(of: container) == EncryptionFault(code, at: at, message))
    }

    @Test(
        arguments: [
            (108, 0, .corrupt, 108, "key-bytes: is 0, but must be 32, 48 or 64 for aes-xts"),
            (108, 16, .corrupt, 108, "key-bytes: is 16, but must be 32, 48 or 64 for aes-xts"),
            (108, 0xffff_ffff, .corrupt, 108, "key-bytes: is 4294967295, but must be 32, 48 or 64 for aes-xts"),
            (164, 0, .corrupt, 164, "mk-digest-iter: is 0, but must be at least 1"),
            (
                164, 0xffff_ffff, .unsupported, 212,
                "key-slot-1: iterations: is 5, and mk-digest-iter 4294967295: all key slots up to this cost 4294967305"
                    + " HMACs, but at most 134217728 are done"
            ),
            (208, 0, .corrupt, 208, "key-slot-1: active: is 0x0, but must be 0xac71f3 (used) or 0xdead (not used)"),
            (
                256, 0xffff_ffff, .corrupt, 256,
                "key-slot-2: active: is 0xffffffff, but must be 0xac71f3 (used) or 0xdead (not used)"
            ),
            (212, 0, .corrupt, 212, "key-slot-1: iterations: is 0, but must be at least 1"),
            (
                212, 0xffff_ffff, .unsupported, 212,
                "key-slot-1: iterations: is 4294967295, and mk-digest-iter 5: all key slots up to this cost 8589934595"
                    + " HMACs, but at most 134217728 are done"
            ),
            // 2 · 5 for the first slot, 5 for the check behind each, 2 · this: the first number that is too much.
            (
                308, 0x03ff_fff7, .unsupported, 308,
                "key-slot-3: iterations: is 67108855, and mk-digest-iter 5: all key slots up to this cost 134217730"
                    + " HMACs, but at most 134217728 are done"
            ),
            (248, 1, .corrupt, 248, "key-slot-1: key-material-offset: is 1, inside the header; must be 2 or more"),
            (
                248, 13, .corrupt, 296,
                "key-slot-2: key-material-offset: is 512, 499 sectors from that of key slot 1, but each takes 500"
            ),
            (
                584, 0xffff_ffff, .corrupt, 584,
                "key-slot-8: key-material-offset: is 4294967295, but 500 sectors must end by the payload at 4040"
            ),
            (252, 3999, .corrupt, 252, "key-slot-1: stripes: is 3999, but must be 4000"),
            (588, 0xffff_ffff, .corrupt, 588, "key-slot-8: stripes: is 4294967295, but must be 4000"),
            (
                104, 4035, .corrupt, 584,
                "key-slot-8: key-material-offset: is 3536, but 500 sectors must end by the payload at 4035"
            ),
        ] as [(Int, UInt32, EncryptionFault.Code, Int, String)])
    func `a number that is changed is refused with its place`(
        position: Int, value: UInt32, code: EncryptionFault.Code, at: Int, message: String
    ) throws {
        var container = try Self.container()
        container.put(value, at: position)
        #expect(try Self.fault(of: container) == EncryptionFault(code, at: at, message))
    }

    @Test(
        arguments: [
            // A header apart from its data; key material where the format allows it first; what unused slots leave.
            (104, 0), (104, 4036), (248, 2), (248, 12), (260, 0xffff_ffff), (308, 0x03ff_fff6),
        ] as [(Int, UInt32)])
    func `a number that does not matter, or just does, is accepted`(position: Int, value: UInt32) throws {
        var container = try Self.container()
        container.put(value, at: position)
        #expect(try Self.fault(of: container) == nil)
    }

    @Test(arguments: [0, 5, 6, 7, 39, 107, 591])
    func `a header that is cut is corrupt`(count: Int) throws {
        var container = try Self.container()
        container.bytes = Array(container.bytes[..<count])
        #expect(try Self.fault(of: container)?.code == .corrupt)
    }

    @Test func `positions count from the header, wherever it stands`() throws {
        var container = try Self.container()
        container.put(0, at: 256)
        var reader = ByteReader(Array(repeating: 0, count: 100) + container.bytes, at: 100)
        do {
            _ = try LUKS1Header(parsing: &reader)
            Issue.record("accepted")
        } catch {
            #expect(error.position == 256)
        }
    }

    @Test func `a name that is no text shows as none`() throws {
        var container = try Self.container()
        container.put([0x1b], at: 170)
        #expect(try container.header().uuid == "")
    }

    @Test(arguments: 0..<16)
    func `a header with some bytes changed is read or refused, and never traps`(seed: UInt64) throws {
        let sound = try Self.container()
        var random = SeededRandom(seed: seed)
        var unlocked = 0
        for _ in 0..<2000 {
            let header = Container(bytes: Self.mutated(Array(sound.bytes[..<LUKS1Header.size]), &random))
            // What the work limit admits may take its time; what is fast is unlocked to the end, now and then.
            guard try Self.fault(of: header) == nil, unlocked < 2, try header.header() != sound.header(),
                try header.header().keySlots.allSatisfy({ !$0.isActive || $0.iterations < 1000 }),
                try header.header().masterKeyDigestIterations < 1000
            else { continue }
            unlocked += 1
            do {
                _ = try header.header().unlock(with: Secret(Array("abc".utf8))) { offset, count throws(ParseFault) in
                    var reader = ByteReader(sound.bytes, at: Int(offset))
                    return try reader.read(bytes: count)
                }
            } catch UnlockFailure<ParseFault>.encryption(let fault) {
                #expect(fault.code == .wrongKey)
            } catch UnlockFailure<ParseFault>.reading {
                // The key material was moved behind the end.
            }
        }
    }

    private static func mutated(_ bytes: [UInt8], _ random: inout SeededRandom) -> [UInt8] {
        var container = Container(bytes: bytes)
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let position = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<3, using: &random) {
            case 0: container.bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: container.bytes[position] = .random(in: 0...255, using: &random)
            default:
                let values: [UInt32] = [
                    0, 1, 2, 16, 24, 32, 64, 4000, 0xdead, 0xac_71f3, 0x7fff_ffff, 0xffff_ffff,
                ]
                container.put(values.randomElement(using: &random) ?? 0, at: position / 4 * 4)
            }
        }
        return container.bytes
    }
}
