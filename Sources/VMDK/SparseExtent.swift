import BlockImage

/// A file that holds an extent in grains, whichever of the three kinds it is of (`Magic`), ready to be read.
///
/// Immutable but for its findings; every method may be called from any thread.
struct SparseExtent: Sendable {
    /// How many bytes of the extent are stored in one way, and in which.
    typealias Run = (count: UInt64, storage: Extent.Storage)

    /// How grains are found.
    enum Map: Sendable {
        /// Through the grain directory.
        case tables(GrainTables)
        /// By their markers, as the grain directory is missing.
        case recovered(RecoveredGrains)
        /// There are none: the extent has no sectors.
        case nothing
    }

    /// Which kind of file it is.
    let magic: Magic
    /// The file.
    let file: any HostFile
    /// The size of the extent in bytes, at most 2^63 - 512.
    let capacity: UInt64
    /// The size of a grain in bytes, at most 2^30.
    let grainSize: UInt64
    /// How compressed grains are read; nil where they lie in the file as they are.
    let compression: CompressedGrains?
    /// What was found when it was opened, and does not keep it from being read.
    let notes: [VMDKNote]
    /// What came up since then.
    let findings: ReadFindings
    let map: Map

    /// How the extent is stored from its byte `offset` on: at least one byte, at most `limit`, which must both lie
    /// inside it.
    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> Run {
        switch map {
        case .tables(let tables): return try tables.run(at: offset, limit: limit)
        case .recovered(let grains): return try grains.run(at: offset, limit: limit)
        case .nothing: return (limit, .unallocated)
        }
    }

    /// Appends the `count` bytes from the extent's byte `offset` on, which lie in one compressed grain, whose marker is
    /// at `host` of the file: for what `run` answered as compressed.
    func decode(
        _ count: Int, at offset: UInt64, storedAt host: HostOffset, into output: inout OutputRawSpan
    ) throws(ImageError) {
        guard let compression else { preconditionFailure("the grains of this extent are not compressed") }
        try compression.decode(
            count, skipping: Int(offset % grainSize), ofGrain: offset / grainSize, at: host, into: &output)
    }
}
