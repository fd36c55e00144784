import BlockImage

/// A request while it is worked on. May be used from any thread.
final class RunningRequest: Sendable {
    /// What the client calls it; nil for a notification.
    let id: JSON?
    private let notify: (@Sendable (String) -> Void)?
    /// What is answered to one that was cancelled.
    static let cancelled = RPCError(.cancelled, "the request was cancelled")

    private let wasCancelled = Guarded(false)
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
        wasCancelled.withLock { $0 = true }
    }

    /// Whether it was cancelled.
    var isCancelled: Bool { wasCancelled.withLock { $0 } }

    /// Throws `cancelled` where nobody waits for the answer any more.
    func checkWanted() throws(RPCError) {
        if isCancelled { throw Self.cancelled }
    }
}
