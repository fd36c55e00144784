import AccessLog
import BlockImage
import JSON
import NIOCore

/// The clients who are connected. Every method may be called from any thread.
final class Connections: Sendable {
    private struct State {
        var clients: [ObjectIdentifier: (channel: any Channel, session: ControlSession)] = [:]
        var isEnding = false
    }

    private let limit: Int
    private let state = Guarded(State())

    /// Of at most `limit` clients.
    init(limit: Int) {
        self.limit = limit
    }

    /// Whether it takes no more, since the server ends.
    var isEnding: Bool { state.withLock { $0.isEnding } }

    /// Takes one more; answers whether there was room.
    func add(_ channel: any Channel, _ session: ControlSession) -> Bool {
        state.withLock { state in
            guard state.clients.count < limit, !state.isEnding else { return false }
            state.clients[ObjectIdentifier(channel)] = (channel, session)
            return true
        }
    }

    func remove(_ channel: any Channel) {
        state.withLock { _ = $0.clients.removeValue(forKey: ObjectIdentifier(channel)) }
    }

    /// Has every connection close once what is under way on it is answered.
    func finish() {
        let channels = state.withLock { state in
            state.isEnding = true
            for client in state.clients.values { client.session.record.noteServerStop() }
            return state.clients.values.map(\.channel)
        }
        for channel in channels { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
    }

    /// Has what is under way end without a result.
    func cancel() {
        let sessions = state.withLock { $0.clients.values.map(\.session) }
        for session in sessions { session.end() }
    }

    /// How many connections there are, and on how many of them something is under way or not taken yet.
    var left: (all: Int, unanswered: Int) {
        let sessions = state.withLock { $0.clients.values.map(\.session) }
        return (sessions.count, sessions.count { !$0.isAnswered })
    }

    /// Logs the end of those that end with the process.
    func noteLeft() {
        let sessions = state.withLock { $0.clients.values.map(\.session) }
        for session in sessions {
            if !session.isAnswered {
                session.record.noteEnding("the server stops, and the client had not taken all answers")
            }
            session.record.noteEnd()
        }
    }

    /// Whether all are closed before `limit` is over, before nothing was answered or sent for the time `stalled`, and before
    /// the task is cancelled.
    func areOver(within limit: Duration, stalled: Duration, _ server: ControlState) async -> Bool {
        let end = ContinuousClock.now + limit
        var last = (figures: server.progress, time: ContinuousClock.now)
        while ContinuousClock.now < end {
            if state.withLock({ $0.clients.isEmpty }) { return true }
            let figures = server.progress
            if figures != last.figures { last = (figures, .now) }
            guard last.time.duration(to: .now) < stalled else { return false }
            guard (try? await Task.sleep(for: .milliseconds(10))) != nil else { return false }
        }
        return false
    }
}

/// A client too many: it gets an answer that says so.
final class RefusedConnection: ChannelInboundHandler {
    typealias InboundIn = Never
    typealias OutboundOut = ByteBuffer

    private let error: RPCError

    init(_ error: RPCError) {
        self.error = error
    }

    func channelActive(context: ChannelHandlerContext) {
        let buffer = context.channel.allocator.buffer(string: RPCAnswer.text(.failure(error), to: .null) + "\n")
        context.writeAndFlush(wrapOutboundOut(buffer)).assumeIsolated().whenComplete { _ in
            context.close(promise: nil)
        }
    }
}
