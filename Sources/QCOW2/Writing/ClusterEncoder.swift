import BlockImage
import Compression
import FormatCore

/// Compresses the clusters of a new image.
struct ClusterEncoder: UnitEncoder {
    /// How it compresses.
    let type: CompressionType
    /// How hard it tries: one of `type.levels`.
    let level: Int
    /// The bytes of the disk that are encoded as one: a cluster, a grain: a cluster.
    let unitSize: Int

    /// The most bytes that `encode` appends.
    var encodedLimit: Int { unitSize }

    /// Appends the encoded form of `unit`, which has `unitSize` bytes, to `output`, which has space for as many; answers
    /// false, with nothing appended, where it would take no fewer bytes than `unit` itself.
    func encode(_ unit: RawSpan, into output: inout OutputRawSpan) throws(ImageError) -> Bool {
        switch type {
        case .zlib: Deflate.compress(unit, level: level, limit: unitSize - 1, into: &output)
        case .zstd: Zstandard.compress(unit, level: level, limit: unitSize - 1, into: &output)
        }
    }
}

extension CompressionType {
    /// The levels that there are: the first is the fastest, the last makes the least of what it is given.
    var levels: ClosedRange<Int> {
        switch self {
        case .zlib: Deflate.levels
        case .zstd: Zstandard.levels
        }
    }

    /// The fastest level that makes no more of clusters of 64 KiB than QEMU does.
    var defaultLevel: Int {
        switch self {
        case .zlib: 4
        case .zstd: 3
        }
    }
}
