import BlockImage
import NIOCore

/// Says of something that may happen very often whether it is worth a message again. May be used from any thread.
package final class SeldomNotice: Sendable {
    private static let interval = TimeAmount.minutes(1)
    private let next = Guarded(NIODeadline.uptimeNanoseconds(0))

    /// One that is due.
    package init() {}

    /// Whether it was not due within the last minute.
    package func isDue() -> Bool {
        next.withLock { next in
            let now = NIODeadline.now()
            guard now >= next else { return false }
            next = now + Self.interval
            return true
        }
    }
}
