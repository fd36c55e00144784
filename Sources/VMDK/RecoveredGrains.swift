import BlockImage

/// A grain that was found by its marker. 8 bytes, as there may be millions.
struct RecoveredGrain: Comparable, Sendable {
    /// Which grain of the extent it is.
    let index: UInt32
    /// The sector of the file at which its marker is.
    let sector: UInt32

    /// By index; among those of one index the one that was written last is the last.
    static func < (left: Self, right: Self) -> Bool { (left.index, left.sector) < (right.index, right.sector) }
}

/// The grains of a streamOptimized extent whose grain directory is missing, as their markers say.
struct RecoveredGrains: Sendable {
    /// Where the stream breaks off.
    struct Break: Sendable {
        /// The byte of the file.
        let offset: HostOffset
        /// What is there: "ends" or "is damaged".
        let manner: String
        /// The first grain that may have come after the break.
        let firstLostGrain: UInt64
    }

    /// How compressed grains are read.
    let compression: CompressedGrains
    /// The grains that are there, in order, each once.
    let grains: [RecoveredGrain]
    /// Where the stream breaks off; nil where nothing can be missing: a grain that is not there was never written.
    let end: Break?

    /// The extent's grains `found`, in the order in which they lie in the stream.
    ///
    /// A grain that was written twice is what was written last. Where the stream breaks off, all that follows its last
    /// grain may be lost; if its grains are not in order, any that was not found may be.
    init(
        _ found: consuming [RecoveredGrain], compression: CompressedGrains, breakingAt offset: HostOffset?,
        manner: String
    ) {
        var grains = found
        let isOrdered = zip(grains, grains.dropFirst()).allSatisfy { $0.index < $1.index }
        if !isOrdered {
            grains.sort()
            var count = 0
            for grain in grains {
                if count > 0, grains[count - 1].index == grain.index { count -= 1 }
                grains[count] = grain
                count += 1
            }
            grains.removeLast(grains.count - count)
        }
        let firstLost = isOrdered ? grains.last.map { UInt64($0.index) + 1 } ?? 0 : 0
        // Behind the last grain of the disk none can be lost. Both are held to 2^32 and 2^22.
        let isWhole = firstLost * compression.grainSize >= compression.capacity
        end = isWhole ? nil : offset.map { Break(offset: $0, manner: manner, firstLostGrain: firstLost) }
        self.grains = grains
        self.compression = compression
    }

    /// How the extent is stored from its byte `offset` on: at least one byte, at most `limit`, which must both lie
    /// inside it. Throws `truncated` for a grain that may be lost.
    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> SparseExtent.Run {
        let grainSize = compression.grainSize
        let index = offset / grainSize
        let next = firstPosition(from: index)
        if next < grains.count, grains[next].index == index {
            let storage = compression.storage(atSector: UInt64(grains[next].sector))
            return (min(limit, grainSize - offset % grainSize), storage)
        }
        var gapEnd = next < grains.count ? UInt64(grains[next].index) : nil
        if let end {
            guard index < end.firstLostGrain else {
                throw ImageError(
                    .truncated, path: compression.file.path, offset: end.offset,
                    "grain \(index): is not in the stream, which \(end.manner) at \(end.offset) and has no footer, "
                        + "so that it may be lost")
            }
            gapEnd = min(gapEnd ?? .max, end.firstLostGrain)
        }
        // At most 2^32 grains of 2^22 bytes.
        return (gapEnd.map { min(limit, $0 * grainSize - offset) } ?? limit, .unallocated)
    }

    /// The position of the first grain that is not before `index`, by bisection.
    func firstPosition(from index: UInt64) -> Int {
        var position = 0
        var end = grains.count
        while position < end {
            let middle = position + (end - position) / 2
            if grains[middle].index < index { position = middle + 1 } else { end = middle }
        }
        return position
    }
}
