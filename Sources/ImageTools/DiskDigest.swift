import BlockImage
import Encryption

extension DiskStream {
    /// The digest of the bytes by `algorithm`, as if they lay in a file; `progress` hears how many are done.
    ///
    /// Hashing is done on the caller's thread, since it goes from the first byte to the last; reading ahead of it is not.
    /// Throws what reading throws, and `unsupported` where libcrypto refuses the algorithm; the error is about `path`.
    package func digest(
        _ algorithm: HashAlgorithm, path: String, progress: (UInt64) -> Void = { _ in }
    ) throws -> [UInt8] {
        try digestAndLost(algorithm, path: path, progress: progress).digest
    }

    /// The same, and what could not be read and was taken for zeros: see `ignoresReadErrors`.
    package func digestAndLost(
        _ algorithm: HashAlgorithm, path: String, progress: (UInt64) -> Void = { _ in }
    ) throws -> (digest: [UInt8], lost: LostRanges) {
        do {
            var digest = try ContentDigest(algorithm)
            var done: UInt64 = 0
            let lost = try read { piece in
                try piece.forEachBuffer { bytes in
                    // Zeros are one piece, however many they are.
                    try ReadScope.checkWanted()
                    try digest.update(bytes)
                    done += UInt64(bytes.byteCount)
                    progress(done)
                }
            }
            return (try digest.finish(), lost)
        } catch let fault as EncryptionFault {
            throw ImageError(.unsupported, path: path, "\(fault.message)")
        }
    }
}
