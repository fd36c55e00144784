import ByteFormat
import CCrypto
import HostTools
import TestImages

@testable import Encryption

/// A LUKS1 header with its key material, made without any other program: for what those refuse to write.
struct Container {
    var bytes: [UInt8]

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// A container whose `slots` open with the passphrases that they hold, by the index of the slot.
    ///
    /// The master key and all salts follow from `seed`. Not for XTS with 192 bits, which libcrypto does not have.
    init(
        cipherMode: String = "xts-plain64", keyBytes: Int = 64, hash: HashAlgorithm = .sha256,
        slots: [Int: String] = [0: "abc"], iterations: UInt32 = 5, seed: UInt64 = 1
    ) throws {
        var random = SeededRandom(seed: seed)
        let masterKey = WipedBytes(copying: random.bytes(keyBytes))
        let sectors = (keyBytes * 4000 + 511) / 512
        let distance = (sectors + 7) / 8 * 8
        let specification = try CipherSpecification(name: "aes", mode: cipherMode, keyBytes: UInt32(keyBytes))
        bytes = Array(repeating: 0, count: (8 + 8 * distance) * 512)

        put(LUKS1Header.magic + [0, 1], at: 0)
        put(Array("aes".utf8), at: 8)
        put(Array(cipherMode.utf8), at: 40)
        put(Array(hash.rawValue.utf8), at: 72)
        put(UInt32(8 + 8 * distance), at: 104)
        put(UInt32(keyBytes), at: 108)
        let digestSalt = random.bytes(32)
        put(try hash.derive(20, from: masterKey, salt: digestSalt, iterations: iterations).array, at: 112)
        put(digestSalt, at: 132)
        put(iterations, at: 164)
        put(Array("01234567-89ab-cdef-0123-456789abcdef".utf8), at: 168)
        for slot in 0..<8 {
            let start = 208 + slot * 48
            put(UInt32(slots[slot] == nil ? 0x0000_dead : 0x00ac_71f3), at: start)
            put(UInt32(8 + slot * distance), at: start + 40)
            put(UInt32(4000), at: start + 44)
            guard let passphrase = slots[slot] else { continue }
            let salt = random.bytes(32)
            put(iterations, at: start + 4)
            put(salt, at: start + 8)
            let key = try hash.derive(
                keyBytes, from: WipedBytes(copying: Array(passphrase.utf8)), salt: salt, iterations: iterations)
            // The last stripe makes up for what the others, which are random, merge to.
            var split = random.bytes(keyBytes * 3999) + Array(repeating: 0, count: keyBytes)
            let merged = try AntiForensic.merge(
                WipedBytes(copying: split), keySize: keyBytes, stripes: 4000, hash: hash)
            for index in 0..<keyBytes { split[keyBytes * 3999 + index] = merged[index] ^ masterKey[index] }
            split += Array(repeating: 0, count: sectors * 512 - split.count)
            put(try encrypt(split, specification, key.array), at: (8 + slot * distance) * 512)
        }
    }

    /// The header as it is.
    func header() throws -> LUKS1Header {
        var reader = ByteReader(bytes)
        return try LUKS1Header(parsing: &reader)
    }

    /// The cipher that `passphrase` opens.
    func unlock(_ passphrase: String) throws -> SectorCipher {
        try header().unlock(with: Secret(Array(passphrase.utf8))) { offset, count in
            Array(bytes[Int(offset)..<Int(offset) + count])
        }
    }

    mutating func put(_ value: UInt32, at position: Int) {
        put([24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }, at: position)
    }

    mutating func put(_ value: [UInt8], at position: Int) {
        bytes.replaceSubrange(position..<position + value.count, with: value)
    }
}

/// Encrypts sectors from number 0 on with libcrypto, each with an initial vector of `plain64`.
func encrypt(_ bytes: [UInt8], _ specification: CipherSpecification, _ key: [UInt8]) throws -> [UInt8] {
    let name = "AES-\(specification.keyBits)-\(specification.mode.rawValue.uppercased())"
    // Every buffer has the length that is given with it, and the key and the vector those of the cipher.
    let cipher = EVP_CIPHER_fetch(nil, name, nil)
    let context = EVP_CIPHER_CTX_new()
    defer {
        EVP_CIPHER_CTX_free(context)
        EVP_CIPHER_free(cipher)
    }
    var encrypted: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 512) {
        let vector = (0..<16).map { $0 < 8 ? UInt8(truncatingIfNeeded: (start / 512) >> ($0 * 8)) : 0 }
        var sector = Array(bytes[start..<start + 512])
        var written: CInt = 0
        let source = sector
        guard EVP_EncryptInit_ex2(context, cipher, key, vector, nil) == 1,
            EVP_CIPHER_CTX_set_padding(context, 0) == 1,
            EVP_EncryptUpdate(context, &sector, &written, source, 512) == 1
        else { throw ToolFailure(description: "libcrypto does not encrypt with \(name)") }
        encrypted += sector
    }
    return encrypted
}

extension WipedBytes {
    /// A copy, to compare.
    var array: [UInt8] { (0..<count).map { self[$0] } }
}

extension SeededRandom {
    /// The next `count` bytes.
    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}

extension SectorCipher {
    /// `bytes` decrypted, the first sector of which is `firstSector`.
    func decrypted(_ bytes: [UInt8], firstSector: UInt64 = 0) throws(EncryptionFault) -> [UInt8] {
        var copy = WipedBytes(copying: bytes)
        var span = copy.mutableBytes
        try decrypt(&span, firstSector: firstSector)
        return copy.array
    }
}
