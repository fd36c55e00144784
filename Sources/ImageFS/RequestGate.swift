import BlockImage

/// How many threads may serve one image at a time: an image on a disk that does not answer must not have them all. What
/// comes on top waits, without a thread, and is served by those that are through. Every method may be called from any
/// thread.
final class RequestGate: Sendable {
    fileprivate struct State {
        var running = 0
        var waiting: [@Sendable () -> Void] = []
        /// The first of `waiting` that was not served.
        var next = 0
    }

    private let limit: Int
    private let state = Guarded(State())

    /// A gate for `limit` threads.
    init(limit: Int) {
        self.limit = limit
    }

    /// Lets the caller in, who must call `leave` in the end, if there is room.
    func enter() -> Bool {
        state.withLock { $0.enter(limit) }
    }

    /// Keeps `work` for a thread that leaves, and answers true; or, if there is room by now, lets the caller in.
    func keep(_ work: @escaping @Sendable () -> Void) -> Bool {
        state.withLock { state in
            if state.enter(limit) { return false }
            state.waiting.append(work)
            return true
        }
    }

    /// The caller is through, and serves what waits before it goes.
    func leave() {
        while let work = state.withLock({ $0.leave() }) { work() }
    }
}

extension RequestGate.State {
    fileprivate mutating func enter(_ limit: Int) -> Bool {
        guard running < limit else { return false }
        running += 1
        return true
    }

    /// What the one who leaves is to do yet; nil, and it has left, where nothing waits.
    fileprivate mutating func leave() -> (@Sendable () -> Void)? {
        guard next < waiting.count else {
            running -= 1
            waiting = []
            next = 0
            return nil
        }
        defer { next += 1 }
        return waiting[next]
    }
}

/// A reply that waits for its turn.
// Safe: one thread puts it in, and later, after the gate's lock, one takes it out.
final class HeldReply<Reply: ~Copyable>: @unchecked Sendable {
    private var reply: Reply?

    /// Holds `reply`.
    init(_ reply: consuming Reply) {
        self.reply = consume reply
    }

    /// The reply, once.
    func take() -> Reply? {
        reply.take()
    }
}
