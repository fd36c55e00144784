import CCrypto

/// What one thread needs to decrypt sectors: ciphers with their keys set. Used by one thread at a time.
///
/// libcrypto wipes the expanded keys when its contexts are freed.
@safe
final class SectorContext: @unchecked Sendable {
    // Safe to send: it is either in a pool or with one borrower.

    /// The words of memory for a sector's worth of initial vectors: 32 blocks of two words.
    private static let wordCount = SectorCipher.sectorSize / 8

    private let specification: CipherSpecification
    /// Decrypts the data.
    private let data: OpaquePointer
    /// Encrypts sector numbers, for ESSIV.
    private let vectors: OpaquePointer?
    /// Encrypts initial vectors, for XTS.
    private let tweaks: OpaquePointer?
    /// The initial vector; for XTS, the tweaks of all blocks.
    private let words: UnsafeMutablePointer<UInt64>

    /// nil where libcrypto refuses the cipher or has no memory.
    init?(_ specification: CipherSpecification, key: borrowing WipedBytes, vectorKey: borrowing WipedBytes) {
        let isXTS = specification.mode == .xts
        let bits = specification.keyBits
        let dataKey = key.bytes.extracting(first: bits / 8)
        // Safe: keys are given to ciphers of their length; what is made here is freed below or in deinit only.
        let data = unsafe Self.make(bits, isXTS ? .ecb : specification.mode, dataKey, encrypts: false)
        let tweaks = unsafe isXTS ? Self.make(bits, .ecb, key.bytes.extracting(last: bits / 8), encrypts: true) : nil
        let hasVectors = vectorKey.count > 0
        let vectors = unsafe hasVectors ? Self.make(vectorKey.count * 8, .ecb, vectorKey.bytes, encrypts: true) : nil
        guard let data = unsafe data, unsafe (tweaks != nil) == isXTS, unsafe (vectors != nil) == hasVectors else {
            unsafe EVP_CIPHER_CTX_free(data)
            unsafe EVP_CIPHER_CTX_free(tweaks)
            unsafe EVP_CIPHER_CTX_free(vectors)
            return nil
        }
        self.specification = specification
        unsafe self.data = data
        unsafe self.tweaks = tweaks
        unsafe self.vectors = vectors
        unsafe words = .allocate(capacity: Self.wordCount)
        unsafe words.initialize(repeating: 0, count: Self.wordCount)
    }

    deinit {
        // Safe: each was made in init, and is freed here alone; libcrypto takes nil for nothing.
        unsafe EVP_CIPHER_CTX_free(data)
        unsafe EVP_CIPHER_CTX_free(tweaks)
        unsafe EVP_CIPHER_CTX_free(vectors)
        unsafe OPENSSL_cleanse(words, SectorCipher.sectorSize)
        unsafe words.deallocate()
    }

    /// Decrypts whole sectors in place, and answers whether libcrypto did so.
    func decrypt(_ sectors: UnsafeMutableRawBufferPointer, firstSector: UInt64) -> Bool {
        guard var sector = sectors.baseAddress else { return true }
        for index in 0..<sectors.count / SectorCipher.sectorSize {
            guard setVector(firstSector &+ UInt64(index)) else { return false }
            // Safe: `sector` stays below the end, as there are as many whole sectors as the loop counts.
            guard unsafe specification.mode == .xts ? decryptXTS(sector) : decrypt(sector) else { return false }
            unsafe sector += SectorCipher.sectorSize
        }
        return true
    }

    /// Puts the initial vector of the sector `number` into the first two words.
    private func setVector(_ number: UInt64) -> Bool {
        let stored = specification.initialVector == .plain ? number & 0xffff_ffff : number
        // Safe: there are 64 words.
        unsafe words[0] = stored.littleEndian
        unsafe words[1] = 0
        guard let vectors = unsafe vectors else { return true }
        return unsafe Self.update(vectors, words, 16, EVP_EncryptUpdate)
    }

    private func decrypt(_ sector: UnsafeMutableRawPointer) -> Bool {
        // Safe: the initial vector has 16 bytes.
        let vector = unsafe UnsafeRawPointer(words).assumingMemoryBound(to: UInt8.self)
        guard unsafe specification.mode == .ecb || EVP_DecryptInit_ex2(data, nil, nil, vector, nil) == 1 else {
            return false
        }
        return unsafe Self.update(data, sector, SectorCipher.sectorSize, EVP_DecryptUpdate)
    }

    /// IEEE 1619: every block is masked before and after the cipher with a tweak, which is the encrypted initial
    /// vector for the first block, and twice the one before, in GF(2^128), for the others.
    ///
    /// libcrypto's XTS has no keys of 192 bits, which QEMU writes; and as it wants to be begun anew for every sector,
    /// it is slower than this: 2 where this does 3 GB/s.
    private func decryptXTS(_ sector: UnsafeMutableRawPointer) -> Bool {
        guard let tweaks = unsafe tweaks, unsafe Self.update(tweaks, words, 16, EVP_EncryptUpdate) else { return false }
        // Safe: two words for each of the sector's 32 blocks are all 64 words.
        for index in stride(from: 2, to: Self.wordCount, by: 2) {
            let (low, high) = unsafe (UInt64(littleEndian: words[index - 2]), UInt64(littleEndian: words[index - 1]))
            unsafe words[index] = ((low << 1) ^ (high >> 63 == 1 ? 0x87 : 0)).littleEndian
            unsafe words[index + 1] = ((high << 1) | (low >> 63)).littleEndian
        }
        unsafe mask(sector)
        guard unsafe Self.update(data, sector, SectorCipher.sectorSize, EVP_DecryptUpdate) else { return false }
        unsafe mask(sector)
        return true
    }

    private func mask(_ sector: UnsafeMutableRawPointer) {
        for index in 0..<Self.wordCount {
            // Safe: 64 words of 8 bytes are the 512 of the sector, and any bit pattern is a valid integer.
            let word = unsafe sector.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) ^ words[index]
            unsafe sector.storeBytes(of: word, toByteOffset: index * 8, as: UInt64.self)
        }
    }

    private typealias Update = (
        OpaquePointer?, UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<CInt>?, UnsafePointer<UInt8>?, CInt
    ) -> CInt

    /// Runs `count` bytes through a cipher, in place.
    private static func update(
        _ context: OpaquePointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ run: Update
    ) -> Bool {
        var written: CInt = 0
        // Safe: without padding, whole blocks give as many bytes as they are, and libcrypto works in place.
        let target = unsafe bytes.assumingMemoryBound(to: UInt8.self)
        return unsafe run(context, target, &written, target, CInt(count)) == 1 && Int(written) == count
    }

    /// AES with its key set; nil where libcrypto refuses.
    private static func make(
        _ bits: Int, _ mode: CipherSpecification.Mode, _ key: RawSpan, encrypts: Bool
    ) -> OpaquePointer? {
        let name = "AES-\(bits)-\(mode.rawValue.uppercased())"
        // Safe: the name is a C string for the length of the call; a context keeps its own reference to the cipher.
        guard let cipher = unsafe EVP_CIPHER_fetch(nil, name, nil) else { return nil }
        defer { unsafe EVP_CIPHER_free(cipher) }
        guard unsafe Int(EVP_CIPHER_get_key_length(cipher)) == key.byteCount,
            let context = unsafe EVP_CIPHER_CTX_new()
        else { return nil }
        // Safe: the key has the length that the cipher asks for, as was just checked.
        let done = unsafe key.withUnsafeBytes { key in
            unsafe EVP_CipherInit_ex2(
                context, cipher, key.baseAddress?.assumingMemoryBound(to: UInt8.self), nil, encrypts ? 1 : 0, nil)
        }
        guard done == 1, unsafe EVP_CIPHER_CTX_set_padding(context, 0) == 1 else {
            unsafe EVP_CIPHER_CTX_free(context)
            return nil
        }
        return unsafe context
    }
}
