import BlockImage
import Dispatch
import NIOCore

/// Notes what happens on the connections of a server. May be used from any thread, and holds none up.
///
/// However many clients come, what is written of them is bounded: `rate` events a second, after a burst. Half of the burst
/// is kept for clients that use an export or have said who they are. How many events that loses is an event itself.
package final class AccessLog: Sendable {
    /// About 1 GiB a day, where a client makes all the lines that it can.
    private static let (rate, burst) = (50.0, 1000.0)

    private struct State {
        var connections: UInt64 = 0
        var allowance = AccessLog.burst
        var last = NIODeadline.now()
        var lost: UInt64 = 0
        var isLossDue = false
    }

    private let outputs: [@Sendable (AccessEvent) -> Void]
    private let state = Guarded(State())

    /// Hands every event to each of `outputs`, which must not wait for what they write to; to none: nothing is noted.
    package init(to outputs: [@Sendable (AccessEvent) -> Void] = []) {
        self.outputs = outputs
    }

    /// A connection of `channel`, which was made to `address`.
    package func connection(
        _ channel: any Channel, of service: AccessEvent.Service, at address: String
    ) -> ConnectionRecord {
        connection(from: Peer(of: channel), of: service, at: address)
    }

    /// A connection of `peer`.
    package func connection(
        from peer: Peer, of service: AccessEvent.Service, at address: String
    ) -> ConnectionRecord {
        let number = state.withLock { state in
            state.connections += 1
            return state.connections
        }
        let record = ConnectionRecord(number, of: service, from: peer, in: self)
        record.noteConnect(to: address)
        return record
    }

    /// Logs `event`, unless there are too many; `isStranger`: of a client of which nothing is known.
    func note(_ event: @autoclosure () -> AccessEvent, isStranger: Bool) {
        guard !outputs.isEmpty else { return }
        guard mayWrite(isStranger) else { return lose() }
        let event = event()
        for output in outputs { output(event) }
    }

    /// An event is not logged; that is, by and by.
    func lose() {
        guard !outputs.isEmpty else { return }
        let isFirst = state.withLock { state in
            state.lost += 1
            defer { state.isLossDue = true }
            return !state.isLossDue
        }
        if isFirst { DispatchQueue.global().asyncAfter(deadline: .now() + 1) { [self] in noteLoss() } }
    }

    /// Logs how many events were lost since that was logged last.
    package func noteLoss() {
        let lost = state.withLock { state in
            defer { (state.lost, state.isLossDue) = (0, false) }
            return state.lost
        }
        guard lost > 0 else { return }
        let event = AccessEvent.lost(lost)
        for output in outputs { output(event) }
    }

    private func mayWrite(_ isStranger: Bool) -> Bool {
        state.withLock { state in
            let now = NIODeadline.now()
            let seconds = Double((now - state.last).nanoseconds) / 1e9
            state.last = now
            state.allowance = min(Self.burst, state.allowance + seconds * Self.rate)
            guard state.allowance >= 1 + (isStranger ? Self.burst / 2 : 0) else { return false }
            state.allowance -= 1
            return true
        }
    }
}
