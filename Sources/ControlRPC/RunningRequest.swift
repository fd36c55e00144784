import BlockImage
import JSON

/// A request from when it is taken until it is answered. May be used from any thread.
final class RunningRequest: Sendable {
    /// What the client calls it; nil for a notification.
    let id: JSON?
    private let notify: (@Sendable (String) -> Void)?
    /// What is answered to one that was cancelled.
    static let cancelled = RPCError(.cancelled, "the request was cancelled")

    private struct State {
        var isCancelled = false
        var isOver = false
        var whenCancelled: (@Sendable () -> Void)?
    }

    private let state = Guarded(State())
    private let interval: Duration
    private let due: Guarded<ContinuousClock.Instant>

    /// The request `id`; `notify` sends a line to the client, where one is wanted, once in each `interval`.
    init(id: JSON?, interval: Duration = .seconds(1), notify: (@Sendable (String) -> Void)?) {
        self.id = id
        self.notify = notify
        self.interval = interval
        due = Guarded(.now + interval)
    }

    /// Tells the client that `part` of it is done, 0 to 1, unless that was told just now.
    func report(_ part: Double) {
        guard let notify, let id else { return }
        let isDue = due.withLock { due in
            let now = ContinuousClock.now
            guard now >= due else { return false }
            due = now + interval
            return true
        }
        if isDue { notify(RPCAnswer.progress(part, of: id)) }
    }

    /// Has it end at the next step.
    func cancel() {
        let body = state.withLock { state in
            state.isCancelled = true
            defer { state.whenCancelled = nil }
            return state.whenCancelled
        }
        body?()
    }

    /// Has `body` be called once when it is cancelled: at once where it was, and never once it is over.
    func whenCancelled(_ body: @escaping @Sendable () -> Void) {
        let isDue = state.withLock { state in
            guard !state.isOver else { return false }
            if !state.isCancelled { state.whenCancelled = body }
            return state.isCancelled
        }
        if isDue { body() }
    }

    /// It is answered; false where it was before.
    func end() -> Bool {
        state.withLock { state in
            defer {
                state.isOver = true
                state.whenCancelled = nil
            }
            return !state.isOver
        }
    }

    /// Whether it was cancelled.
    var isCancelled: Bool { state.withLock { $0.isCancelled } }

    /// Whether it is answered.
    var isOver: Bool { state.withLock { $0.isOver } }

    /// Throws `cancelled` where no one waits for the answer any more.
    func checkWanted() throws(RPCError) {
        if isCancelled { throw Self.cancelled }
    }
}
