import BlockImage

/// Decrypts sectors of 512 bytes. Every method may be called from any thread, by several at once.
public final class SectorCipher: Sendable {
    /// The bytes that are encrypted with one initial vector.
    public static let sectorSize = 512
    /// The most contexts that are kept for the next readers; one is about a KiB.
    private static let poolLimit = 16

    private let specification: CipherSpecification
    private let key: WipedBytes
    /// The key of the cipher that encrypts initial vectors; empty where none are.
    private let vectorKey: WipedBytes
    private let pool = Guarded<[SectorContext]>([])

    /// A cipher with `key`, which must have the size that `specification` asks for.
    init(_ specification: CipherSpecification, key: consuming WipedBytes) throws(EncryptionFault) {
        precondition(key.count == specification.keySize)
        self.specification = specification
        if case .essiv(let hash) = specification.initialVector {
            var digest = WipedBytes(zeros: hash.size)
            var context = try DigestContext(hash)
            try context.hash([], key.bytes, into: &digest)
            vectorKey = digest
        } else {
            vectorKey = WipedBytes(zeros: 0)
        }
        self.key = key
        // Made now, so that a cipher that libcrypto refuses is refused here and not at the first read.
        giveBack(try makeContext())
    }

    /// Decrypts `bytes` in place: whole sectors, of which the first has the number `firstSector`.
    ///
    /// Throws when they are not whole sectors; nothing is changed then.
    public func decrypt(_ bytes: inout MutableRawSpan, firstSector: UInt64) throws(EncryptionFault) {
        guard bytes.byteCount % Self.sectorSize == 0 else {
            throw EncryptionFault(
                .corrupt, "\(bytes.byteCount) bytes cannot be decrypted: encrypted data comes in sectors of 512 bytes")
        }
        let context = try take()
        defer { giveBack(context) }
        // Safe: the pointer is used in this call only, and the length was checked above.
        let done = unsafe bytes.withUnsafeMutableBytes { sectors in
            unsafe context.decrypt(sectors, firstSector: firstSector)
        }
        guard done else { throw .refused("to decrypt") }
    }

    private func take() throws(EncryptionFault) -> SectorContext {
        if let context = pool.withLock({ $0.popLast() }) { return context }
        return try makeContext()
    }

    private func makeContext() throws(EncryptionFault) -> SectorContext {
        guard let context = SectorContext(specification, key: key, vectorKey: vectorKey) else {
            throw .refused("AES-\(specification.keyBits)-\(specification.mode.rawValue.uppercased())")
        }
        return context
    }

    private func giveBack(_ context: SectorContext) {
        pool.withLock { if $0.count < Self.poolLimit { $0.append(context) } }
    }
}

/// The encryption of QCOW2 that is older than LUKS: crypt_method 1. Its passphrase *is* the key, which cannot be checked.
public enum LegacyAES {
    /// AES-128-CBC whose IVs are the guest's sector numbers.
    ///
    /// The specification says "256 bit AES", but QEMU has always used the first 16 bytes of the passphrase, filled up
    /// with zeros, as a key of 128 bits. A wrong passphrase gives wrong bytes and no fault.
    public static func cipher(for secret: Secret) throws(EncryptionFault) -> SectorCipher {
        var key = WipedBytes(zeros: 16)
        for index in 0..<min(key.count, secret.bytes.count) { key[index] = secret.bytes[index] }
        return try SectorCipher(CipherSpecification(mode: .cbc, keyBits: 128, initialVector: .plain64), key: key)
    }
}
