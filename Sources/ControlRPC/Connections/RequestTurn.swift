import BlockImage
import Catalog

/// One request of a message while it is worked on, and the memory that it has until it is answered. May be used from any
/// thread.
final class RequestTurn: Sendable {
    private struct State {
        var isOver = false
        var memory: [(budget: MemoryBudget, memory: TakenMemory)] = []
        var waiting: (budget: MemoryBudget, id: UInt64)?
    }

    let request: PreparedRequest
    let running: RunningRequest
    /// The images that it reads.
    let images: [String]
    /// The most bytes of its answer.
    let limit: Int
    private let state = Guarded(State())

    init(_ request: PreparedRequest, _ running: RunningRequest, for images: [String], limit: Int) {
        self.request = request
        self.running = running
        self.images = images
        self.limit = limit
    }

    /// Takes `bytes` of `budget`; false where there are not so many.
    func take(_ bytes: UInt64, of budget: MemoryBudget) -> Bool {
        guard let memory = TakenMemory(bytes, of: budget) else { return false }
        hold(memory, of: budget)
        return true
    }

    /// Takes `bytes` of `budget` once there are so many, and calls `body`, unless the request is over by then.
    func wait(for bytes: UInt64, of budget: MemoryBudget, _ body: @escaping @Sendable () -> Void) {
        let id = budget.take(bytes) { [self] (memory: TakenMemory) in
            if hold(memory, of: budget) { body() }
        }
        guard let id else { return }
        let isOver = state.withLock { state in
            state.waiting = (budget, id)
            return state.isOver
        }
        if isOver { budget.withdraw(id) }
    }

    @discardableResult
    private func hold(_ memory: TakenMemory, of budget: MemoryBudget) -> Bool {
        state.withLock { state in
            // What comes too late is given back when the last reference is gone, and that is not this one.
            if !state.isOver { state.memory.append((budget, memory)) }
            return !state.isOver
        }
    }

    /// The memory that is of the budgets which `isWanted` tells; the request has it no more.
    func release(where isWanted: (MemoryBudget) -> Bool) -> [TakenMemory] {
        state.withLock { state in
            let wanted = state.memory.filter { isWanted($0.budget) }.map(\.memory)
            state.memory.removeAll { isWanted($0.budget) }
            return wanted
        }
    }

    /// The request is answered: gives back its memory, and waits for none.
    func end() {
        let (memory, waiting) = state.withLock { state in
            state.isOver = true
            defer { (state.memory, state.waiting) = ([], nil) }
            return (state.memory, state.waiting)
        }
        if let waiting { waiting.budget.withdraw(waiting.id) }
        withExtendedLifetime(memory) {}
    }
}
