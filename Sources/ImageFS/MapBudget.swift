import BlockImage

/// How many maps a mount has: each has descriptors, a mount of the kernel's and perhaps a thread. Where there are too many, the
/// one that was used least recently goes, unless it is open. Every method may be called from any thread.
final class MapBudget: Sendable {
    private struct Entry {
        weak var map: (any AnyObject & Sendable)?
        /// What has the map open.
        weak var user: (any AnyObject & Sendable)?
        /// Lets go of the map where it is kept.
        let drop: @Sendable () -> Void

        /// Whether the kernel has the map, as far as is known here.
        var exists: Bool { map != nil || user != nil }
    }

    private struct State {
        /// Those used least recently are first.
        var entries: [Entry] = []
        /// How many are being made.
        var making = 0
    }

    /// The most.
    let limit: Int
    private let state = Guarded(State())

    init(limit: Int) {
        self.limit = limit
    }

    /// What `make` answers, which makes a map: one that `drop` lets go of where it is kept. Nil where there are too many that
    /// are open.
    func map<Map: AnyObject & Sendable, Failure: Error>(
        dropped drop: @escaping @Sendable () -> Void, making make: () -> Result<Map, Failure>
    ) -> Result<Map, Failure>? {
        guard reserve() else { return nil }
        let result = make()
        state.withLock { state in
            state.making -= 1
            if case .success(let map) = result { state.entries.append(Entry(map: map, drop: drop)) }
        }
        return result
    }

    private func reserve() -> Bool {
        let (isGranted, idle) = state.withLock { state -> (Bool, Entry?) in
            state.entries.removeAll { !$0.exists }
            var idle: Entry?
            if state.entries.count + state.making >= limit {
                guard let index = state.entries.firstIndex(where: { $0.user == nil }) else { return (false, nil) }
                idle = state.entries.remove(at: index)
            }
            state.making += 1
            return (true, idle)
        }
        // Not under the lock, which all need who open a map.
        idle?.drop()
        return isGranted
    }

    /// `user` has `map` open as long as it exists.
    func use(_ map: some AnyObject & Sendable, by user: some AnyObject & Sendable) {
        state.withLock { state in
            guard let index = state.entries.firstIndex(where: { $0.map === map }) else { return }
            var entry = state.entries.remove(at: index)
            entry.user = user
            state.entries.append(entry)
        }
    }
}
