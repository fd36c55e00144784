/// Says of something that may happen very often whether it is worth a message again. May be used from any thread.
package final class SeldomNotice: Sendable {
    private static let interval = Duration.seconds(60)
    private let next = Guarded<ContinuousClock.Instant?>(nil)

    /// One that is due.
    package init() {}

    /// Whether it was not due within the last minute.
    package func isDue() -> Bool {
        next.withLock { next in
            let now = ContinuousClock.now
            if let next, now < next { return false }
            next = now + Self.interval
            return true
        }
    }
}
