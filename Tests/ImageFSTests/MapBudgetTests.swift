import Synchronization
import Testing

@testable import ImageFS

@Suite("The number of maps of a mount is bounded")
struct MapBudgetTests {
    private final class Map: Sendable {}
    private final class User: Sendable {}
    private enum NoMap: Error { case ever }

    /// What has maps made and keeps them, as images do.
    private final class Keeper: Sendable {
        let budget = MapBudget(limit: 3)
        private let kept = Mutex<[String: Map]>([:])
        var names: [String] { kept.withLock { $0.keys.sorted() } }

        /// Answers whether a map was made.
        func make(_ name: String) -> Bool {
            let result = budget.map(
                dropped: { [weak self] in self?.drop(name) }, making: { Result<Map, NoMap>.success(Map()) })
            guard case .success(let map)? = result else { return false }
            kept.withLock { $0[name] = map }
            return true
        }

        func drop(_ name: String) {
            let map = kept.withLock { $0.removeValue(forKey: name) }
            withExtendedLifetime(map) {}
        }

        func use(_ name: String, by user: User) {
            if let map = kept.withLock({ $0[name] }) { budget.use(map, by: user) }
        }
    }

    @Test("The one that was used least recently goes")
    func leastRecent() {
        let keeper = Keeper()
        for name in ["a", "b", "c"] { #expect(keeper.make(name)) }
        keeper.use("a", by: User())
        #expect(keeper.make("d") && keeper.names == ["a", "c", "d"])
        #expect(keeper.make("e") && keeper.names == ["a", "d", "e"])
    }

    @Test("Those that are open stay, and where all are, no other is made")
    func open() {
        let keeper = Keeper()
        var users = [User(), User(), User()]
        for (name, user) in zip(["a", "b", "c"], users) {
            #expect(keeper.make(name))
            keeper.use(name, by: user)
        }
        #expect(!keeper.make("d") && keeper.names == ["a", "b", "c"])
        // What is let go of while it is open is one still.
        keeper.drop("a")
        #expect(!keeper.make("d"))
        // Nothing has them open any more.
        users = []
        #expect(keeper.make("d") && keeper.make("e") && keeper.names == ["c", "d", "e"])
    }

    @Test("One that cannot be made takes no place")
    func failed() {
        let keeper = Keeper()
        for _ in 0..<9 {
            let result = keeper.budget.map(dropped: {}, making: { Result<Map, NoMap>.failure(.ever) })
            if case .failure? = result {} else { Issue.record("there was no place") }
        }
        #expect(keeper.make("a") && keeper.make("b") && keeper.make("c") && keeper.names.count == 3)
    }
}
