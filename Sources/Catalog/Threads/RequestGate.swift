import BlockImage
import Dispatch
import Synchronization

/// How many threads may serve one image, container or folder at a time: one on a disk that does not answer must not have
/// them all. What comes on top waits, without a thread, and is served by those that are through. Every method may be
/// called from any thread.
package final class RequestGate: Sendable {
    private final class Queue: Sendable {
        struct State {
            var work: [@Sendable () -> Void] = []
            /// The first of `work` that was not served.
            var next = 0
        }

        let state = Guarded(State())
    }

    private let limit: Int
    private let running = Atomic(0)
    /// How many are in `queue`: who leaves looks here, and not at the lock.
    private let waiting = Atomic(0)
    /// Made when something waits for the first time: at most gates, of which each image has one, nothing ever does.
    private let queue = OnceReference<Queue>()

    /// A gate for `limit` threads.
    package init(limit: Int) {
        self.limit = limit
    }

    /// Lets the caller in, who must call `leave` in the end, unless `limit` threads are in.
    package func enter() -> Bool {
        var running = self.running.load(ordering: .relaxed)
        while running < limit {
            let (isIn, now) = self.running.compareExchange(
                expected: running, desired: running + 1, ordering: .sequentiallyConsistent)
            if isIn { return true }
            running = now
        }
        return false
    }

    /// Keeps `work` for a thread that leaves, or does it, or other work that was kept, unless `limit` threads are in.
    package func keep(_ work: @escaping @Sendable () -> Void) {
        (queue.load() ?? queue.storeIfNil(Queue())).state.withLock { $0.work.append(work) }
        // Who leaves looks at this after having left, and this thread at who is in after this: one of them sees it.
        waiting.add(1, ordering: .sequentiallyConsistent)
        serveWaiting()
    }

    /// The caller is through, and serves what waits before it goes.
    package func leave() {
        running.subtract(1, ordering: .sequentiallyConsistent)
        serveWaiting()
    }

    /// Has `work` done when there is a thread for it, now or by another thread later; and what it answers after that,
    /// when it does not count any more: it may have to wait at another gate.
    package func perform(_ work: @escaping @Sendable () -> (@Sendable () -> Void)?) {
        guard enter() else {
            return keep { if let next = work() { Self.doLater(next) } }
        }
        let next = work()
        // Neither must wait for the other.
        if let next, waiting.load(ordering: .relaxed) > 0 {
            Self.doLater(next)
            return leave()
        }
        leave()
        next?()
    }

    /// Does `work` on a thread of its own: it may wait long.
    private static func doLater(_ work: @escaping @Sendable () -> Void) {
        DispatchQueue(label: "later").async(execute: work)
    }

    private func serveWaiting() {
        while waiting.load(ordering: .sequentiallyConsistent) > 0, enter() {
            if let work = takeWork() { work() }
            running.subtract(1, ordering: .sequentiallyConsistent)
        }
    }

    private func takeWork() -> (@Sendable () -> Void)? {
        let work = queue.load()?.state.withLock { state -> (@Sendable () -> Void)? in
            guard state.next < state.work.count else { return nil }
            defer {
                state.next += 1
                if state.next == state.work.count { state = Queue.State() }
            }
            return state.work[state.next]
        }
        if work != nil { waiting.subtract(1, ordering: .sequentiallyConsistent) }
        return work
    }
}

/// A reply that waits for its turn.
// Safe: one thread puts it in, and later, after the gate's lock, one takes it out.
package final class HeldReply<Reply: ~Copyable>: @unchecked Sendable {
    private var reply: Reply?

    /// Holds `reply`.
    package init(_ reply: consuming Reply) {
        self.reply = consume reply
    }

    /// The reply, once.
    package func take() -> Reply? {
        reply.take()
    }
}
