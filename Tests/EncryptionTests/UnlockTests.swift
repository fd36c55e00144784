import ByteFormat
import HostTools
import TestImages
import Testing

@testable import Encryption

@Suite struct UnlockTests {
    static let wrongKey = EncryptionFault(.wrongKey, "the passphrase fits none of the active key slots")

    /// What unlocking ends with, where it does not succeed.
    static func failure(of container: Container, _ passphrase: String) throws -> EncryptionFault? {
        do {
            _ = try container.unlock(passphrase)
            return nil
        } catch UnlockFailure<Never>.encryption(let fault) {
            return fault
        }
    }

    @Test(
        arguments: [
            ("xts-plain64", 64, .md5), ("xts-plain64", 64, .sha1), ("xts-plain64", 64, .sha224),
            ("xts-plain64", 64, .sha256), ("xts-plain64", 64, .sha384), ("xts-plain64", 64, .sha512),
            ("xts-plain64", 64, .ripemd160), ("xts-plain64", 32, .sha256), ("cbc-plain64", 16, .sha256),
            ("cbc-plain64", 24, .sha1), ("cbc-plain64", 32, .sha512), ("ecb", 24, .sha256),
            ("ctr-plain64", 32, .sha256),
        ] as [(String, Int, HashAlgorithm)])
    func `what libcrypto encrypts is unlocked and decrypted`(mode: String, keyBytes: Int, hash: HashAlgorithm) throws {
        let seed: UInt64 = 7
        let container = try Container(cipherMode: mode, keyBytes: keyBytes, hash: hash, seed: seed)
        // The master key is the first that is drawn.
        var random = SeededRandom(seed: seed)
        let masterKey = random.bytes(keyBytes)
        let specification = try CipherSpecification(name: "aes", mode: mode, keyBytes: UInt32(keyBytes))
        let encrypted = try encrypt(KnownAnswerTests.data, specification, masterKey)
        #expect(try container.unlock("abc").decrypted(encrypted) == KnownAnswerTests.data)
        #expect(try Self.failure(of: container, "abd") == Self.wrongKey)
    }

    @Test func `a key slot that takes too long is not tried`() throws {
        let container = try Container(slots: [0: "abc", 2: "def"])
        func failure(_ limit: UInt64, _ passphrase: String) throws -> EncryptionFault? {
            do {
                _ = try container.header().unlock(with: Secret(Array(passphrase.utf8)), workLimit: limit) {
                    offset, count throws(Never) in
                    Array(container.bytes[Int(offset)..<Int(offset) + count])
                }
                return nil
            } catch UnlockFailure<Never>.encryption(let fault) {
                return fault
            }
        }
        // 2 · 5 HMACs for the key of 64 bytes, and 5 for the digest.
        #expect(try failure(14, "abc")?.code == .tooSlow)
        #expect(try failure(15, "abc") == nil)
        let fault = try failure(29, "def")
        #expect(fault?.code == .tooSlow && fault?.message.contains("30 HMACs") == true, "\(fault?.message ?? "")")
        #expect(try failure(30, "def") == nil)
    }

    @Test func `any active key slot opens`() throws {
        var container = try Container(slots: [1: "one", 3: "three", 7: ""])
        let probe = KnownAnswerTests.data
        let expected = try container.unlock("one").decrypted(probe)
        #expect(try container.unlock("three").decrypted(probe) == expected)
        #expect(try container.unlock("").decrypted(probe) == expected)
        #expect(try Self.failure(of: container, "two") == Self.wrongKey)
        container.put(0x0000_dead, at: 208 + 48 * 3)
        #expect(try Self.failure(of: container, "three") == Self.wrongKey)
        for slot in 0..<8 { container.put(0x0000_dead, at: 208 + 48 * slot) }
        #expect(try Self.failure(of: container, "one") == Self.wrongKey)
    }

    @Test(arguments: [112, 131, 132, 163, 216, 247, 4096, 4096 + 255_999])
    func `a damaged digest, salt or key material fits no passphrase`(position: Int) throws {
        var container = try Container()
        container.bytes[position] ^= 1
        #expect(try Self.failure(of: container, "abc") == Self.wrongKey)
    }

    @Test func `the header is checked before any key material is read`() throws {
        var container = try Container()
        container.put(0, at: 164)
        let header = try container.header()
        do {
            _ = try header.unlock(with: Secret([])) { _, _ throws(ParseFault) in throw ParseFault(at: 1, "read") }
            Issue.record("unlocked")
        } catch {
            #expect(
                error == .encryption(EncryptionFault(.corrupt, at: 164, "mk-digest-iter: is 0, but must be at least 1"))
            )
        }
    }

    @Test func `a failure to read key material is passed on`() throws {
        let header = try Container().header()
        do {
            _ = try header.unlock(with: Secret([])) { offset, count throws(ParseFault) in
                throw ParseFault(at: Int(offset), "\(count)")
            }
            Issue.record("unlocked")
        } catch {
            #expect(error == .reading(ParseFault(at: 4096, "256000")))
        }
    }

    @Test func `key material that is cut is corrupt`() throws {
        let header = try Container(cipherMode: "cbc-plain64", keyBytes: 24).header()
        do {
            _ = try header.unlock(with: Secret([])) { _, count in Array(repeating: 0, count: count - 1) }
            Issue.record("unlocked")
        } catch {
            // 24 · 4000 bytes are 187.5 sectors.
            let message = "key-slot-1: key material: has 96255 bytes, but must have 96256"
            #expect(error == .encryption(EncryptionFault(.corrupt, at: 248, message)))
        }
    }
}
