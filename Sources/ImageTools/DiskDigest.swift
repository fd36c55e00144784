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
        try digests([algorithm], path: path, progress: progress).digests[0]
    }

    /// The digests by each of `algorithms`, made while the disk is read once, and what could not be read and was taken for
    /// zeros: see `ignoresReadErrors`. What is zeros as a whole is not hashed again.
    package func digests(
        _ algorithms: [HashAlgorithm], path: String, progress: (UInt64) -> Void = { _ in }
    ) throws -> (digests: [[UInt8]], lost: LostRanges) {
        do {
            let states = try algorithms.map { try DigestState($0) }
            var zeros: [[UInt8]]?
            var isZeros = false
            var done: UInt64 = 0
            let lost = try read { piece in
                if case .zeros(count) = piece {
                    isZeros = true
                    zeros = ZeroDigests.known(algorithms, size: count)
                    if zeros != nil { return progress(count) }
                }
                try piece.forEachBuffer { bytes in
                    // Zeros are one piece, however many they are.
                    try ReadScope.checkWanted()
                    for state in states { try state.update(bytes) }
                    done += UInt64(bytes.byteCount)
                    progress(done)
                }
            }
            if let zeros { return (zeros, lost) }
            let digests = try states.map { try $0.finish() }
            if isZeros { ZeroDigests.note(digests, by: algorithms, size: count) }
            return (digests, lost)
        } catch let fault as EncryptionFault {
            throw ImageError(.unsupported, path: path, "\(fault.message)")
        }
    }
}

/// A digest that is one of several. Used by one thread.
private final class DigestState {
    private var digest: ContentDigest?

    init(_ algorithm: HashAlgorithm) throws(EncryptionFault) {
        digest = try ContentDigest(algorithm)
    }

    func update(_ bytes: RawSpan) throws(EncryptionFault) {
        try digest?.update(bytes)
    }

    /// The digest, once.
    func finish() throws(EncryptionFault) -> [UInt8] {
        try digest.take()?.finish() ?? []
    }
}

/// The digests of zeros that were made before, since many disks are empty. May be used from any thread.
private enum ZeroDigests {
    private struct Key: Hashable {
        var algorithm: HashAlgorithm
        var size: UInt64
    }

    /// The most that are kept.
    private static let limit = 256
    private static let digests = Guarded<[Key: [UInt8]]>([:])

    /// Those of `size` zeros by each of `algorithms`; nil where one is not known.
    static func known(_ algorithms: [HashAlgorithm], size: UInt64) -> [[UInt8]]? {
        digests.withLock { digests in
            let found = algorithms.compactMap { digests[Key(algorithm: $0, size: size)] }
            return found.count == algorithms.count ? found : nil
        }
    }

    /// Keeps `found`.
    static func note(_ found: [[UInt8]], by algorithms: [HashAlgorithm], size: UInt64) {
        digests.withLock { digests in
            for (algorithm, digest) in zip(algorithms, found) where digests.count < limit {
                digests[Key(algorithm: algorithm, size: size)] = digest
            }
        }
    }
}
