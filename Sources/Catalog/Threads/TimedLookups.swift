import BlockImage
import Dispatch

/// Look-ups of a folder that may never come to an end, as a link into a folder of a dead network file system: each that
/// takes long is left to a thread of its own, so that who lists the folder goes on without it. Every method may be called
/// from any thread.
final class TimedLookups<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    /// How many milliseconds every other one is waited for after one was given up.
    private static var laterPatience: Int { 50 }
    /// The most that may be stuck, each with a thread.
    private static var limit: Int { 8 }

    private let patience: Int
    private let stuck = Guarded<Set<Key>>([])

    /// Look-ups of which the first is waited for so many milliseconds.
    init(patience: Int) {
        self.patience = patience
    }

    /// The look-ups that one thread does.
    private final class Round: Sendable {
        struct State {
            var values: [Value] = []
            var isGivenUp = false
        }

        let state = Guarded(State())
        let progress = DispatchSemaphore(value: 0)
    }

    /// What `lookUp` says of each of `keys`, but for those that it is still about, now or since an earlier call.
    func values(of keys: [Key], _ lookUp: @escaping @Sendable (Key) -> Value) -> [Key: Value] {
        guard !keys.isEmpty else { return [:] }
        var values: [Key: Value] = [:]
        var left = stuck.withLock { stuck in keys.filter { !stuck.contains($0) } }[...]
        var patience = self.patience
        while !left.isEmpty, stuck.withLock({ $0.count }) < Self.limit {
            let found = firstValues(of: Array(left), patience, lookUp)
            for (key, value) in zip(left, found) { values[key] = value }
            // The next one is stuck.
            left = left.dropFirst(found.count + 1)
            patience = Self.laterPatience
        }
        return values
    }

    /// The values of the first of `keys`, up to one that takes more than so many milliseconds.
    private func firstValues(
        of keys: [Key], _ patience: Int, _ lookUp: @escaping @Sendable (Key) -> Value
    ) -> [Value] {
        let round = Round()
        DispatchQueue(label: "look-ups").async { [self] in
            for key in keys {
                let value = lookUp(key)
                let goesOn = round.state.withLock { state in
                    if state.isGivenUp {
                        stuck.withLock { _ = $0.remove(key) }
                    } else {
                        state.values.append(value)
                    }
                    return !state.isGivenUp
                }
                guard goesOn else { return }
                round.progress.signal()
            }
        }
        for _ in keys where round.progress.wait(timeout: .now() + .milliseconds(patience)) == .timedOut {
            return round.state.withLock { state in
                guard state.values.count < keys.count else { return state.values }
                state.isGivenUp = true
                stuck.withLock { _ = $0.insert(keys[state.values.count]) }
                return state.values
            }
        }
        return round.state.withLock { $0.values }
    }
}
