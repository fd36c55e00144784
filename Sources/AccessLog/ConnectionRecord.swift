import BlockImage
import NIOCore

/// What is logged of one connection. May be used from any thread.
package final class ConnectionRecord: Sendable {
    /// The most events of what a client is refused: one that asks for ever learns no more, and nor does the log.
    private static let refusalLimit = 8

    private struct State {
        var user: String?
        var export: String?
        var requests: UInt64 = 0
        var bytesRead: UInt64 = 0
        var bytesWritten: UInt64 = 0
        var refusals = 0
        var lastRefusal: String?
        var ending: (reason: String?, orderly: Bool)?
        var isStopping = false
        var isOver = false
    }

    /// The other side, for messages.
    package let peer: Peer
    private let number: UInt64
    private let service: AccessEvent.Service
    private let log: AccessLog
    private let begin = NIODeadline.now()
    private let state = Guarded(State())

    init(_ number: UInt64, of service: AccessEvent.Service, from peer: Peer, in log: AccessLog) {
        (self.number, self.service, self.peer, self.log) = (number, service, peer, log)
    }

    func noteConnect(to address: String) {
        write(.connect) { $0.address = address }
    }

    /// TLS has begun, with a client that is `user`; nil: clients need not say who they are.
    package func noteTLS(user: String?) {
        let user = user?.clippedForLog
        state.withLock { $0.user = user }
        write(.tls) { _ in }
    }

    /// The client uses the export `name`, of `size` bytes.
    package func noteExport(_ name: String, size: UInt64) {
        let name = name.clippedForLog
        state.withLock { $0.export = name }
        write(.export) { $0.size = size }
    }

    /// The client has asked for an export that there is not, or that cannot be opened.
    package func noteUnknownExport(_ name: String, _ reason: String) {
        let name = name.clippedForLog
        refuse("\(name)\0\(reason)") {
            self.write(.unknownExport) { ($0.export, $0.reason) = (name, reason.clippedForLog) }
        }
    }

    /// The client gets not what it wants.
    package func noteRefusal(_ reason: String) {
        let reason = reason.clippedForLog
        refuse(reason) { self.write(.refused) { $0.reason = reason } }
    }

    /// Requests that were taken, and bytes of a disk that were sent and that were written.
    package func count(requests: UInt64 = 0, bytesRead: UInt64 = 0, bytesWritten: UInt64 = 0) {
        state.withLock { state in
            state.requests &+= requests
            state.bytesRead &+= bytesRead
            state.bytesWritten &+= bytesWritten
        }
    }

    /// Why the connection is about to end; the first reason counts. `orderly`: as the protocol says.
    package func noteEnding(_ reason: String?, orderly: Bool = false) {
        state.withLock { if $0.ending == nil { $0.ending = (reason?.clippedForLog, orderly) } }
    }

    /// The server stops, which is why the connection ends, unless another reason is noted.
    package func noteServerStop() {
        state.withLock { $0.isStopping = true }
    }

    /// The connection has ended.
    package func noteEnd() {
        guard
            state.withLock({ state in
                defer { state.isOver = true }
                return !state.isOver
            })
        else { return }
        let seconds = Double((NIODeadline.now() - begin).nanoseconds / 1_000_000) / 1000
        write(.disconnect) { [self] event in
            let state = state.withLock { $0 }
            (event.requests, event.bytesRead, event.seconds) = (state.requests, state.bytesRead, seconds)
            if state.bytesWritten > 0 { event.bytesWritten = state.bytesWritten }
            (event.reason, event.orderly) =
                state.ending
                ?? (state.isStopping ? ("the server stops", true) : ("the client closed the connection", false))
        }
    }

    private func refuse(_ what: String, _ write: () -> Void) {
        let isLogged = state.withLock { state -> Bool? in
            guard state.lastRefusal != what else { return nil }
            state.lastRefusal = what
            state.refusals += 1
            return state.refusals <= Self.refusalLimit
        }
        switch isLogged {
        case true?: write()
        case false?: log.lose()
        // The same once more says nothing new.
        case nil: break
        }
    }

    private func write(_ kind: AccessEvent.Kind, _ fill: (inout AccessEvent) -> Void) {
        let (user, export, isOver) = state.withLock { ($0.user, $0.export, $0.isOver) }
        // What a thread finds out for a client that is gone is of no connection any more.
        guard kind == .disconnect || !isOver else { return }
        func event() -> AccessEvent {
            var event = AccessEvent(kind)
            (event.protocol, event.connection) = (service, number)
            (event.peer, event.pid, event.uid) = (peer.description, peer.pid, peer.uid)
            (event.user, event.export) = (user, export)
            fill(&event)
            return event
        }
        log.note(event(), isStranger: user == nil && export == nil)
    }
}
