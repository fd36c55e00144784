import BlockImage

/// What a delta came to.
package struct DeltaResult: Hashable, Sendable {
    /// How many bytes of the disk the delta holds, as data or as zeros; whole granules of its format, but at the disk's
    /// end.
    package var changed: UInt64 = 0
    /// How many of them are stored. The others are marked as zeros.
    package var stored: UInt64 = 0
}

/// What of a disk an image over another one has to hold, so that both together are the disk. May be used from any thread.
///
/// Everything else the image takes from what is under it. Memory is bounded, whatever the disks are.
package struct DiskDelta: Sendable {
    /// What tells which parts of the disk have changed.
    package enum Evidence: Sendable {
        /// The disk that the image will lie over: all that differs. What is zeros behind the end of that needs no place.
        case base(Image)
        /// A dirty bitmap of the disk: all that it marks, whether it differs or not, and nothing else.
        case bitmap(any DirtyRangeReader)
    }

    /// So much is found before it is copied, that it is still in the host's cache when it is read again.
    private static let batchSize: UInt64 = 64 << 20

    private let disk: Image
    private let evidence: Evidence

    /// What of `disk` has changed, as `evidence` has it.
    package init(of disk: Image, _ evidence: Evidence) {
        self.disk = disk
        self.evidence = evidence
    }

    /// Hands what has changed to `writer`, of an image that has a backing image, in order; zeros as such. `progress` hears
    /// up to which byte of the disk that is done. The writer is not finished by this.
    ///
    /// Throws what reading, encoding and writing throw.
    package func run(into writer: any ImageWriter, progress: (UInt64) throws -> Void = { _ in }) throws -> DeltaResult {
        let granule = max(writer.granularity, writer.encoder?.unitSize ?? 1)
        var parts = WholeGranules(of: UInt64(granule), diskSize: disk.virtualSize)
        var result = DeltaResult()
        func copy(progress: (UInt64) throws -> Void = { _ in }) throws {
            var copy = DiskCopy(of: disk, parts: parts.take())
            copy.writesZeros = true
            result.stored += try copy.run(into: writer, progress: progress).bytesStored
        }
        switch evidence {
        case .base(let base):
            let sectorSize = min(granule, DiskComparison.largestSector)
            // The disk of an image is whole sectors of 512 bytes: what `base` has in the rest of the last must not be seen.
            let size = (disk.virtualSize + 511) / 512 * 512
            let comparison = DiskComparison(base, disk, sectorSize: sectorSize, size: size)
            try comparison.forEachStretch { stretch in
                for range in stretch.ranges {
                    parts.add(range.start * UInt64(sectorSize), count: range.count * UInt64(sectorSize))
                }
                if parts.size >= Self.batchSize { try copy() }
                try progress(stretch.end)
            }
            try copy()
        case .bitmap(var ranges):
            while let range = try ranges.next() {
                parts.add(range.start.rawValue, count: range.count)
                if parts.size >= Self.batchSize { try copy(progress: progress) }
            }
            try copy(progress: progress)
        }
        result.changed = parts.total
        return result
    }
}

/// Parts of a disk, made larger until they begin and end with granules.
private struct WholeGranules {
    private let granule: UInt64
    private let diskSize: UInt64
    private var parts: [Range<UInt64>] = []
    /// Where the last of all parts ends.
    private var end: UInt64 = 0
    /// How many bytes all parts have, those that were taken among them.
    private(set) var total: UInt64 = 0
    /// How many bytes the parts have that were not taken yet.
    private(set) var size: UInt64 = 0

    init(of granule: UInt64, diskSize: UInt64) {
        self.granule = granule
        self.diskSize = diskSize
    }

    /// Adds the `count` bytes at `start`, which begin in the last granule that there is, or behind it.
    mutating func add(_ start: UInt64, count: UInt64) {
        // No overflow: disks have fewer than 2^63 bytes.
        let last = min(start + count, diskSize) - 1
        let part = max(start / granule * granule, end)..<max(min((last / granule + 1) * granule, diskSize), end)
        guard !part.isEmpty else { return }
        if let before = parts.last, before.upperBound == part.lowerBound {
            parts[parts.count - 1] = before.lowerBound..<part.upperBound
        } else {
            parts.append(part)
        }
        end = part.upperBound
        size += UInt64(part.count)
        total += UInt64(part.count)
    }

    /// The parts since it was asked last, in order.
    mutating func take() -> [Range<UInt64>] {
        defer { (parts, size) = ([], 0) }
        return parts
    }
}
