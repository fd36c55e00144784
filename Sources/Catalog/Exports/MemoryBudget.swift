import BlockImage
import Synchronization

/// Memory that clients make a server hold: bounded for all of them together, whatever they ask for and do not read. May be
/// used from any thread.
package final class MemoryBudget: Sendable {
    /// What waits for memory.
    private struct Waiter {
        var id: UInt64
        var bytes: Int
        var body: @Sendable (UInt64) -> Void
    }

    private struct State {
        var taken = 0
        var waiting: [Waiter] = []
        var nextID: UInt64 = 0
    }

    /// The most bytes that are taken from it.
    private let limit: Int
    private let state = Guarded(State())
    /// How many wait, without the lock.
    private let waitingCount = Atomic<Int>(0)

    /// A budget of `limit` bytes.
    package init(limit: Int) {
        self.limit = limit
    }

    /// Whether something waits for memory.
    package var isWaitedFor: Bool { waitingCount.load(ordering: .relaxed) > 0 }

    /// Takes `bytes`; false where there are not so many. Those that wait are passed by.
    package func take(_ bytes: UInt64) -> Bool {
        let count = Int(clamping: bytes)
        return state.withLock { state in
            guard count <= limit - state.taken else { return false }
            state.taken += count
            return true
        }
    }

    /// Gives back what was taken, and calls those that get what they wait for by that.
    package func giveBack(_ bytes: UInt64) {
        guard bytes > 0 else { return }
        let served = state.withLock { state in
            state.taken -= Int(clamping: bytes)
            return serve(&state)
        }
        call(served)
    }

    /// Takes `bytes` once there are so many, after all that wait already, and calls `body` with them: at once, or on the
    /// thread that gives memory back. More than the budget ever has counts as all of it. Answers a number for `withdraw`
    /// where `body` was not called yet.
    @discardableResult
    package func take(_ bytes: UInt64, whenThere body: @escaping @Sendable (TakenMemory) -> Void) -> UInt64? {
        reserve(bytes) { [self] taken in body(TakenMemory(taken: taken, from: self)) }
    }

    /// The same with the bytes as a number, which are to be given back.
    @discardableResult
    package func reserve(_ bytes: UInt64, whenTaken body: @escaping @Sendable (UInt64) -> Void) -> UInt64? {
        let count = min(Int(clamping: bytes), limit)
        let id = state.withLock { state -> UInt64? in
            guard !state.waiting.isEmpty || count > limit - state.taken else {
                state.taken += count
                return nil
            }
            state.nextID += 1
            state.waiting.append(Waiter(id: state.nextID, bytes: count, body: body))
            waitingCount.store(state.waiting.count, ordering: .relaxed)
            return state.nextID
        }
        if id == nil { body(UInt64(count)) }
        return id
    }

    /// What waits under the number `id` waits no more; answers whether it did.
    @discardableResult
    package func withdraw(_ id: UInt64) -> Bool {
        let (didWait, served) = state.withLock { state -> (Bool, [Waiter]) in
            guard let index = state.waiting.firstIndex(where: { $0.id == id }) else { return (false, []) }
            state.waiting.remove(at: index)
            // It may have been the one that the others waited behind.
            return (true, serve(&state))
        }
        call(served)
        return didWait
    }

    /// Takes the memory of those that have waited for longest, as far as there is enough.
    private func serve(_ state: inout State) -> [Waiter] {
        var served = 0
        while served < state.waiting.count, state.waiting[served].bytes <= limit - state.taken {
            state.taken += state.waiting[served].bytes
            served += 1
        }
        let waiters = Array(state.waiting[..<served])
        state.waiting.removeFirst(served)
        waitingCount.store(state.waiting.count, ordering: .relaxed)
        return waiters
    }

    private func call(_ served: [Waiter]) {
        for waiter in served { waiter.body(UInt64(waiter.bytes)) }
    }
}

/// Memory that was taken from a budget, until the last reference is gone.
package final class TakenMemory: Sendable {
    private let budget: MemoryBudget
    private let bytes: UInt64

    /// Takes `bytes` of `budget`; nil where there are not so many.
    package init?(_ bytes: UInt64, of budget: MemoryBudget) {
        guard budget.take(bytes) else { return nil }
        self.budget = budget
        self.bytes = bytes
    }

    /// Has `bytes` that were taken from `budget`.
    fileprivate init(taken bytes: UInt64, from budget: MemoryBudget) {
        self.budget = budget
        self.bytes = bytes
    }

    deinit {
        budget.giveBack(bytes)
    }
}
