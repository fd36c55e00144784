import BlockImage
import Synchronization

/// Memory that clients make a server hold: bounded for all of them together, whatever they ask for and do not read. May be
/// used from any thread.
public final class MemoryBudget: Sendable {
    /// The most bytes that are taken from it.
    private let limit: Int
    private let taken = Atomic<Int>(0)
    private let waiting = Guarded<[@Sendable () -> Void]>([])
    private let waitingCount = Atomic<Int>(0)

    /// A budget of `limit` bytes.
    public init(limit: Int) {
        self.limit = limit
    }

    /// Whether something waits for memory.
    public var isWaitedFor: Bool { waitingCount.load(ordering: .relaxed) > 0 }

    /// Takes `bytes`; false where there are not so many.
    public func take(_ bytes: UInt64) -> Bool {
        let count = Int(clamping: bytes)
        guard taken.add(count, ordering: .relaxed).newValue > limit else { return true }
        taken.subtract(count, ordering: .relaxed)
        return false
    }

    /// Gives back what was taken.
    public func giveBack(_ bytes: UInt64) {
        guard bytes > 0 else { return }
        taken.subtract(Int(clamping: bytes), ordering: .sequentiallyConsistent)
        callNext()
    }

    /// Has `body`, which was refused, be called when some is given back, so that it tries again.
    public func whenGivenBack(_ body: @escaping @Sendable () -> Void) {
        waiting.withLock { $0.append(body) }
        waitingCount.add(1, ordering: .sequentiallyConsistent)
        // It may have been given back just before.
        if taken.load(ordering: .sequentiallyConsistent) <= limit / 2 { callNext() }
    }

    /// Calls the one that has waited for longest.
    public func callNext() {
        guard waitingCount.load(ordering: .sequentiallyConsistent) > 0 else { return }
        let next = waiting.withLock { waiting -> (@Sendable () -> Void)? in
            guard !waiting.isEmpty else { return nil }
            waitingCount.subtract(1, ordering: .relaxed)
            return waiting.removeFirst()
        }
        next?()
    }
}

/// Memory that was taken from a budget, until the last reference is gone.
public final class TakenMemory: Sendable {
    private let budget: MemoryBudget
    private let bytes: UInt64

    /// Takes `bytes` of `budget`; nil where there are not so many.
    public init?(_ bytes: UInt64, of budget: MemoryBudget) {
        guard budget.take(bytes) else { return nil }
        self.budget = budget
        self.bytes = bytes
    }

    deinit {
        budget.giveBack(bytes)
    }
}
