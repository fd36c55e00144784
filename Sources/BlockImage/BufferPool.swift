import Synchronization

/// Buffers for the reads that are under way, kept between them: a read allocates nothing, and takes no lock. Every method
/// may be called from any thread.
public final class BufferPool: Sendable {
    /// The bytes of each buffer that is kept.
    public let capacity: Int
    /// The addresses of idle buffers, each of which is kept alive here; 0 where there is none.
    private let slots = InlineArray<32, Atomic<UInt>> { _ in Atomic(0) }

    /// A pool of up to 32 idle buffers of `capacity` bytes. By default what the kernel asks a FUSE server for at most:
    /// 256 pages.
    public init(capacity: Int = 1 << 20) {
        self.capacity = capacity
    }

    deinit {
        for index in slots.indices { _ = take(from: index) }
    }

    /// A buffer of at least `count` bytes, to be given back.
    public func take(_ count: Int) -> AlignedBuffer {
        guard count <= capacity else { return AlignedBuffer(capacity: count) }
        // The first that is there was used last, most likely, and lies in a processor's cache.
        for index in slots.indices {
            if let buffer = take(from: index) { return buffer }
        }
        return AlignedBuffer(capacity: capacity)
    }

    /// Keeps a buffer for the next read.
    public func giveBack(_ buffer: AlignedBuffer) {
        guard buffer.capacity == capacity else { return }
        // Safe: the reference is kept, by its address in a slot, until `take` or the end above.
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
