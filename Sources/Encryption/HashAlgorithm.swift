import CCrypto

/// Hash functions, by the names that LUKS headers and OpenSSL have for them.
public enum HashAlgorithm: String, Hashable, Sendable, CaseIterable {
    /// MD5 and SHA-1, of which two contents of one digest can be made; the SHA-2 family; and RIPEMD-160.
    case md5, sha1, sha224, sha256, sha384, sha512, ripemd160

    /// The hash function that a header calls `name` in `field`, which stands at `position`.
    init(named name: String, in field: String, at position: Int) throws(EncryptionFault) {
        guard let known = HashAlgorithm(rawValue: name) else {
            throw EncryptionFault(.unsupported, at: position, "\(field): the hash '\(name)' is not supported")
        }
        self = known
    }

    /// The bytes of a digest.
    public var size: Int {
        switch self {
        case .md5: 16
        case .sha1, .ripemd160: 20
        case .sha224: 28
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    /// How often PBKDF2 hashes for `iterations` iterations that give `count` bytes: it begins anew for every digest.
    func work(iterations: UInt32, count: Int) -> UInt64 {
        UInt64(iterations) * UInt64((count + size - 1) / size)
    }

    /// RFC 8018, PBKDF2 with the HMAC of this hash: `count` bytes of key from `secret`.
    func derive(
        _ count: Int, from secret: borrowing WipedBytes, salt: [UInt8], iterations: UInt32
    ) throws(EncryptionFault) -> WipedBytes {
        guard let iterations = CInt(exactly: iterations), let secretCount = CInt(exactly: secret.count) else {
            throw .refused("a passphrase or a number of iterations of 2 GiB and more")
        }
        let digest = try MessageDigest(self)
        var key = WipedBytes(zeros: count)
        // Safe: every buffer is given with its own length, and no call outlives them.
        let done = unsafe key.withUnsafeMutableBytes { target in
            unsafe secret.bytes.withUnsafeBytes { secret in
                unsafe PKCS5_PBKDF2_HMAC(
                    secret.baseAddress?.assumingMemoryBound(to: CChar.self), secretCount, salt, CInt(salt.count),
                    iterations, digest.raw, CInt(target.count),
                    target.baseAddress?.assumingMemoryBound(to: UInt8.self))
            }
        }
        guard done == 1 else { throw .refused("PBKDF2 with \(rawValue)") }
        return key
    }
}

/// libcrypto's implementation of a hash function.
@safe
final class MessageDigest: @unchecked Sendable {
    // Safe to send: libcrypto counts references atomically, and nothing changes the object.
    let raw: OpaquePointer

    init(_ algorithm: HashAlgorithm) throws(EncryptionFault) {
        // Safe: the name is a C string for the length of the call; freed in deinit only.
        guard let found = unsafe EVP_MD_fetch(nil, algorithm.rawValue, nil) else {
            throw EncryptionFault(.unsupported, "the hash '\(algorithm.rawValue)' is not supported by this libcrypto")
        }
        unsafe raw = found
    }

    deinit {
        unsafe EVP_MD_free(raw)
    }
}

/// Hashes again and again without allocating.
@safe
struct DigestContext: ~Copyable {
    private let function: MessageDigest
    private let context: OpaquePointer
    /// The bytes of a digest.
    let size: Int

    init(_ algorithm: HashAlgorithm) throws(EncryptionFault) {
        let found = try MessageDigest(algorithm)
        // Safe: freed in deinit only, and used by this value's owner only.
        guard let made = unsafe EVP_MD_CTX_new() else { throw .refused("a hash context") }
        unsafe context = made
        function = found
        size = algorithm.size
    }

    deinit {
        unsafe EVP_MD_CTX_free(context)
    }

    /// Hashes `prefix` and then `bytes` into `digest`, which must have the size of a digest.
    mutating func hash(
        _ prefix: [UInt8], _ bytes: RawSpan, into digest: inout WipedBytes
    ) throws(EncryptionFault) {
        precondition(digest.count == size)
        // Safe: the inputs are given with their lengths, and the size of `digest` was checked.
        let done = unsafe digest.withUnsafeMutableBytes { target in
            unsafe bytes.withUnsafeBytes { source in
                unsafe EVP_DigestInit_ex2(context, function.raw, nil) == 1
                    && EVP_DigestUpdate(context, prefix, prefix.count) == 1
                    && EVP_DigestUpdate(context, source.baseAddress, source.count) == 1
                    && EVP_DigestFinal_ex(context, target.baseAddress?.assumingMemoryBound(to: UInt8.self), nil) == 1
            }
        }
        guard done else { throw .refused("to hash") }
    }
}
