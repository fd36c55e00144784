import BlockImage
import Catalog
import Foundation
import Synchronization
import Testing

struct `Memory that clients share` {
    /// What was called, in order, and the memory that it got.
    private final class Calls: Sendable {
        private let calls = Guarded<[(number: Int, memory: TakenMemory)]>([])

        var numbers: [Int] { calls.withLock { $0.map(\.number) } }

        func note(_ number: Int) -> @Sendable (TakenMemory) -> Void {
            { memory in self.calls.withLock { $0.append((number, memory)) } }
        }

        func giveBack() {
            let held = calls.withLock { calls in
                defer { calls = [] }
                return calls
            }
            withExtendedLifetime(held) {}
        }
    }

    @Test func `is taken as far as it goes`() {
        let budget = MemoryBudget(limit: 8)
        #expect(budget.take(5) && !budget.take(4) && budget.take(3) && !budget.take(1))
        budget.giveBack(8)
        #expect(budget.take(8) && !budget.take(.max))
    }

    @Test func `goes to those that wait in their order, and only once there is enough`() {
        let (budget, calls) = (MemoryBudget(limit: 8), Calls())
        #expect(budget.take(3))
        // Less than half is taken, and the next one needs all: it is not called before that is there.
        budget.take(8, whenThere: calls.note(1))
        budget.take(1, whenThere: calls.note(2))
        #expect(calls.numbers.isEmpty && budget.isWaitedFor)
        budget.giveBack(2)
        #expect(calls.numbers.isEmpty)
        budget.giveBack(1)
        #expect(calls.numbers == [1])
        calls.giveBack()
        #expect(calls.numbers == [2] && !budget.isWaitedFor)
        // More than there ever is counts as all.
        calls.giveBack()
        budget.take(100, whenThere: calls.note(3))
        #expect(calls.numbers == [3])
    }

    @Test func `is waited for no more by what was withdrawn`() throws {
        let (budget, calls) = (MemoryBudget(limit: 8), Calls())
        #expect(budget.take(4))
        let large = try #require(budget.take(8, whenThere: calls.note(1)))
        budget.take(4, whenThere: calls.note(2))
        #expect(budget.withdraw(large) && !budget.withdraw(large))
        #expect(calls.numbers == [2])
    }

    @Test func `is given to each of many threads`() {
        let budget = MemoryBudget(limit: 100)
        let group = DispatchGroup()
        let done = Atomic(0)
        for thread in 0..<8 {
            for turn in 0..<500 {
                group.enter()
                DispatchQueue.global().async {
                    budget.take(UInt64(1 + (thread * 31 + turn * 7) % 100)) { memory in
                        DispatchQueue.global().async {
                            _ = withExtendedLifetime(memory) { done.add(1, ordering: .relaxed) }
                            group.leave()
                        }
                    }
                }
            }
        }
        #expect(group.wait(timeout: .now() + 60) == .success)
        #expect(done.load(ordering: .relaxed) == 4000)
        // All of it was given back, the last of it perhaps a moment later.
        var isWhole = false
        for _ in 0..<1000 where !isWhole {
            isWhole = budget.take(100)
            if !isWhole { usleep(1000) }
        }
        #expect(isWhole)
    }
}
