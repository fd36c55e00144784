import BlockImage

/// The look-ups that counting disks of one image may take together: its snapshots, partitions, and the images of its
/// chain. A hostile file of 1 MiB can have 12,000 snapshots that share one L1 table, each with as many runs as a disk may
/// have. Every method may be called from any thread.
final class SharedLookUps: Sendable {
    private let left: Guarded<UInt64>

    /// For the disks of an image whose files have `hostSize` bytes together: as many as four disks may take. Where each
    /// cluster and table is stored once, a disk takes one look-up for hundreds of bytes at most.
    convenience init(hostSize: UInt64) {
        self.init(4 * WalkBudget.lookUpLimit(hostSize: min(hostSize, .max / 4)))
    }

    /// So many.
    init(_ count: UInt64) {
        left = Guarded(count)
    }

    /// Counts how `disk` is stored, in at most `limit` of the look-ups that are left. Several threads at once may take
    /// some more than there are.
    func measure(_ disk: Image, atMost limit: Int) -> MeasuredAllocation {
        let left = left.withLock { $0 }
        guard left > 0 else {
            var measured = MeasuredAllocation()
            measured.error = ImageError(
                .unsupported, about: .disk, "not counted: the other disks of the image are stored in too many runs")
            return measured
        }
        let measured = disk.measure(walkLimit: min(limit, Int(clamping: left)))
        self.left.withLock { $0 -= min($0, UInt64(clamping: measured.lookUps)) }
        return measured
    }
}
