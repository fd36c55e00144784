import CCrypto

/// The digest of bytes that come piece by piece. Used by one thread at a time.
@safe
public struct ContentDigest: ~Copyable {
    private let context: OpaquePointer
    private let size: Int

    /// The digest by `algorithm` of nothing yet. Throws where this libcrypto refuses the algorithm.
    public init(_ algorithm: HashAlgorithm) throws(EncryptionFault) {
        // The context keeps its own reference to the function.
        let function = try MessageDigest(algorithm)
        // Safe: freed here where it is of no use, else in deinit only; used by this value's owner only.
        guard let made = unsafe EVP_MD_CTX_new() else { throw .refused("a hash context") }
        guard unsafe EVP_DigestInit_ex2(made, function.raw, nil) == 1 else {
            unsafe EVP_MD_CTX_free(made)
            throw .refused("to hash")
        }
        unsafe context = made
        size = algorithm.size
    }

    deinit {
        unsafe EVP_MD_CTX_free(context)
    }

    /// Goes on with `bytes`.
    public mutating func update(_ bytes: RawSpan) throws(EncryptionFault) {
        // Safe: the bytes are given with their count.
        let done = unsafe bytes.withUnsafeBytes { unsafe EVP_DigestUpdate(context, $0.baseAddress, $0.count) }
        guard done == 1 else { throw .refused("to hash") }
    }

    /// The digest of all that came.
    public consuming func finish() throws(EncryptionFault) -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: size)
        // Safe: the array has the size of a digest of this function.
        guard unsafe EVP_DigestFinal_ex(context, &digest, nil) == 1 else { throw .refused("to hash") }
        return digest
    }
}
