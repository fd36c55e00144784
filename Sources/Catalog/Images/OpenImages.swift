import BlockImage
import Dispatch

/// What holds files open that it can open again.
package protocol Closable: AnyObject, Sendable {
    /// Closes its files unless they are read, and answers whether they are closed.
    func closeIfIdle() -> Bool
}

/// Closes images that were not used for some seconds, so that their file systems can be unmounted; and keeps the number
/// of open images within bounds: a mount of 10,000 images must not need 10,000 descriptors because a user ran `find` on
/// it. Every method may be called from any thread.
package final class OpenImages: Sendable {
    /// How long an image stays open that is not used.
    private static let idleTime = Duration.seconds(5)
    /// How often it looks for such.
    private static let interval = DispatchTimeInterval.seconds(2)

    private struct Use {
        var node: any Closable
        var time = ContinuousClock.now
    }

    private struct State {
        var uses: [ObjectIdentifier: Use] = [:]
        /// Whether `closeIdle` will be called.
        var isWatched = false
    }

    private let limit: Int
    private let state = Guarded(State())
    private let queue = DispatchQueue(label: "idle images")

    /// Lets `limit` images that are not read stay open for some seconds.
    package init(limit: Int) {
        self.limit = limit
    }

    /// How many are open, or were lately.
    package var count: Int { state.withLock { $0.uses.count } }

    /// `node` was opened or used; others that are not read are closed if there are too many.
    package func note(_ node: any Closable) {
        let (isFirst, isFull) = state.withLock { state in
            state.uses[ObjectIdentifier(node)] = Use(node: node)
            defer { state.isWatched = true }
            return (!state.isWatched, state.uses.count > limit)
        }
        if isFirst { watch() }
        // All that are idle but this one: closing one by one would look through all at every opening.
        if isFull { close { $0.node !== node } }
    }

    private func watch() {
        queue.asyncAfter(deadline: .now() + Self.interval) { [weak self] in self?.closeIdle() }
    }

    private func closeIdle() {
        let now = ContinuousClock.now
        close { $0.time.duration(to: now) > Self.idleTime }
        let goesOn = state.withLock { state in
            state.isWatched = !state.uses.isEmpty
            return state.isWatched
        }
        if goesOn { watch() }
    }

    /// Closes those that are `old`, unless they are read. Not under the lock, which all openings need.
    private func close(_ old: (Use) -> Bool) {
        let all = state.withLock { $0.uses }
        for (id, use) in all where old(use) {
            state.withLock { _ = $0.uses.removeValue(forKey: id) }
            guard !use.node.closeIfIdle() else { continue }
            state.withLock { state in
                if state.uses[id] == nil { state.uses[id] = use }
            }
        }
    }
}
