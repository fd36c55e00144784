import BlockImage
import Synchronization

/// Buffers for the reads that are under way, kept between them: a read allocates nothing, and takes no lock.
final class BufferPool: Sendable {
    /// What the kernel asks for at most: 256 pages.
    private static let capacity = 1 << 20

    /// The addresses of idle buffers, each of which is kept alive here; 0 where there is none.
    private let slots = InlineArray<32, Atomic<UInt>> { _ in Atomic(0) }

    deinit {
        for index in slots.indices { _ = take(from: index) }
    }

    /// A buffer of at least `count` bytes, to be given back.
    func take(_ count: Int) -> AlignedBuffer {
        guard count <= Self.capacity else { return AlignedBuffer(capacity: count) }
        // The first that is there was used last, most likely, and lies in a processor's cache.
        for index in slots.indices {
            if let buffer = take(from: index) { return buffer }
        }
        return AlignedBuffer(capacity: Self.capacity)
    }

    /// Keeps a buffer for the next read.
    func giveBack(_ buffer: AlignedBuffer) {
        guard buffer.capacity == Self.capacity else { return }
        // Safe: the reference is kept, by its address in a slot, until `take` or the end below.
        let kept = unsafe Unmanaged.passRetained(buffer)
        let address = unsafe UInt(bitPattern: kept.toOpaque())
        for index in slots.indices where slots[index].load(ordering: .relaxed) == 0 {
            let (isKept, _) = slots[index].compareExchange(expected: 0, desired: address, ordering: .releasing)
            if isKept { return }
        }
        unsafe kept.release()
    }

    private func take(from index: Int) -> AlignedBuffer? {
        guard slots[index].load(ordering: .relaxed) != 0 else { return nil }
        let address = slots[index].exchange(0, ordering: .acquiring)
        guard let pointer = unsafe UnsafeRawPointer(bitPattern: address) else { return nil }
        // Safe: who takes an address out of its slot owns the reference that `giveBack` kept.
        return unsafe Unmanaged<AlignedBuffer>.fromOpaque(pointer).takeRetainedValue()
    }
}
