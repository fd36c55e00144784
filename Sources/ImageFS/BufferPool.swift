import BlockImage

/// Buffers for the reads that are under way, kept between them: a read allocates nothing.
final class BufferPool: Sendable {
    /// What the kernel asks for at most: 256 pages.
    private static let capacity = 1 << 20

    private let idle = Guarded<[AlignedBuffer]>([])

    /// A buffer of at least `count` bytes, to be given back.
    func take(_ count: Int) -> AlignedBuffer {
        let kept = count <= Self.capacity ? idle.withLock { $0.popLast() } : nil
        return kept ?? AlignedBuffer(capacity: max(count, Self.capacity))
    }

    /// Keeps a buffer for the next read.
    func giveBack(_ buffer: AlignedBuffer) {
        guard buffer.capacity == Self.capacity else { return }
        idle.withLock { $0.append(buffer) }
    }
}
