import BlockImage
public import Encryption

extension DiskStream {
    /// The digest of the bytes by `algorithm`, as if they lay in a file; `progress` hears how many are done.
    ///
    /// Hashing is done on the caller's thread, since it goes from the first byte to the last; reading ahead of it is not.
    /// Throws what reading throws, and `unsupported` where libcrypto refuses the algorithm; the error is about `path`.
    public func digest(
        _ algorithm: HashAlgorithm, path: String, progress: (UInt64) -> Void = { _ in }
    ) throws -> [UInt8] {
        do {
            var digest = try ContentDigest(algorithm)
            var done: UInt64 = 0
            try read { piece in
                try piece.forEachBuffer { bytes in
                    try digest.update(bytes)
                    done += UInt64(bytes.byteCount)
                    progress(done)
                }
            }
            return try digest.finish()
        } catch let fault as EncryptionFault {
            throw ImageError(.unsupported, path: path, fault.message)
        }
    }
}
