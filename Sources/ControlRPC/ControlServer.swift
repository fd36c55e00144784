import AccessLog
import BlockImage
import Catalog
import Glibc
import JSON
import Logging
import NIOCore
import NIOPosix
import Sockets

/// Serves JSON-RPC 2.0 on sockets that are bound already, and on standard input and output: requests of one line each, or
/// as the bodies of HTTP requests.
///
/// Images are read on threads of their own: a request that takes long delays neither other clients nor, on the same
/// connection, those behind it. Answers are sent as they come to be, and so in any order.
package final class ControlServer: Sendable {
    /// Where clients come from.
    package enum Listener: Sendable {
        /// A bound socket. Over a Unix socket, whose file says who may connect, a client may end the server.
        case socket(ListeningSocket)
        /// Standard input and output, of one client; the server is to end when input does.
        case standardStreams
    }

    /// The names of the methods, and of what they take.
    package static var methods: [(name: String, parameters: [String])] {
        Method.all.map { ($0.name, $0.allParameters.map(\.name)) }
    }

    /// The most clients at once.
    static let connectionLimit = 100
    /// How long a stop waits for what is under way, how long where nothing of it is answered or sent meanwhile, and how long
    /// for what is cancelled then.
    private static let timeToEnd = (
        atMost: Duration.seconds(5), stalled: Duration.milliseconds(700), cancelled: Duration.milliseconds(100)
    )

    /// A TCP client's host is asked whether the connection is there after 15 silent seconds, and each 5 seconds after that;
    /// when 6 questions were not answered, it is gone.
    private static let keepAlive: [(ChannelOptions.Types.SocketOption, Int)] = [
        (ChannelOptions.socketOption(.so_keepalive), 1),
        (ChannelOptions.Types.SocketOption(level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_KEEPIDLE)), 15),
        (ChannelOptions.Types.SocketOption(level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_KEEPINTVL)), 5),
        (ChannelOptions.Types.SocketOption(level: .tcp, name: NIOBSDSocket.Option(rawValue: TCP_KEEPCNT)), 6),
    ]

    private let listeners: [Listener]
    private let state: ControlState
    private let workers = Workers()
    private let connections: Connections
    private let logger: Logger
    private let log: AccessLog
    private let limitNotice = SeldomNotice()
    /// Standard input and output, where they are served.
    private let streams = Guarded<StandardStreams?>(nil)
    /// Ends when a client wants the server to end.
    private let wish: AsyncStream<Never>

    /// A server of the disks of `catalog`.
    package init(on listeners: [Listener], serving catalog: ExportCatalog, logger: Logger, log: AccessLog = AccessLog())
    {
        self.listeners = listeners
        self.logger = logger
        self.log = log
        let (wish, continuation) = AsyncStream<Never>.makeStream()
        self.wish = wish
        state = ControlState(serving: catalog) { continuation.finish() }
        connections = Connections(limit: Self.connectionLimit)
    }

    /// Serves until the task is cancelled, or until a client wants the server to end, or standard input has ended. Then what
    /// is under way is answered, and no request is taken any more. Throws where a socket cannot be listened on, and where
    /// standard output takes no answers.
    package func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var channels: [any Channel] = []
        var failure: (any Error)?
        do {
            for listener in listeners {
                if let channel = try await listen(on: listener, group) { channels.append(channel) }
            }
            for await _ in wish {}
        } catch {
            failure = error
        }
        // A task of its own: this one may be cancelled, and would not wait any more.
        try await Task { [channels, failure] in
            await stop(channels)
            if let failure { throw failure }
            try await streams.withLock { $0 }?.finish(within: Self.timeToEnd.atMost, stalled: Self.timeToEnd.stalled)
        }.value
    }

    /// Begins to take connections; answers what listens, where something does.
    private func listen(on listener: Listener, _ group: MultiThreadedEventLoopGroup) async throws -> (any Channel)? {
        guard case .socket(let socket) = listener else {
            try await serveStandardStreams(group)
            return nil
        }
        guard let descriptor = socket.takeDescriptor() else { return nil }
        var isLocal = false
        if case .unix = socket.address { isLocal = true }
        return try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 128)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { [self, isLocal] channel in
                channel.eventLoop.makeCompletedFuture {
                    let record = log.connection(channel, of: .jsonRPC, at: "\(socket.address)")
                    try accept(channel, isLocal: isLocal, record)
                }
            }
            .withBoundSocket(descriptor).get()
    }

    private func serveStandardStreams(_ group: MultiThreadedEventLoopGroup) async throws {
        let streams = try StandardStreams()
        self.streams.withLock { $0 = streams }
        let channel = try await ClientBootstrap(group: group)
            .channelOption(.allowRemoteHalfClosure, value: true)
            .channelOption(.autoRead, value: false)
            .channelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    let record = log.connection(from: .standardInput, of: .jsonRPC, at: "stdio")
                    try accept(channel, isLocal: true, isStream: true, record)
                }
            }
            .withConnectedSocket(streams.socket).get()
        channel.closeFuture.whenComplete { [state] _ in state.shutdown() }
    }

    private func accept(
        _ channel: any Channel, isLocal: Bool, isStream: Bool = false, _ record: ConnectionRecord
    ) throws {
        let session = ControlSession(of: state, isLocal: isLocal, record)
        guard connections.add(channel, session) else {
            let isEnding = connections.isEnding
            let reason =
                isEnding
                ? "the server stops" : "there are \(Self.connectionLimit) connections already, which is the most"
            if !isEnding, limitNotice.isDue() { logger.warning("JSON-RPC: clients are refused: \(reason)") }
            record.noteRefusal(reason)
            record.noteEnding("refused")
            channel.closeFuture.whenComplete { _ in record.noteEnd() }
            let error = RPCError(.busy, reason)
            try channel.pipeline.syncOperations.addHandler(RefusedConnection(error))
            return
        }
        // A client that closed its connection looks like one that only sends no more, whose work goes on, until its host is
        // asked. Unix sockets tell the two apart by themselves.
        if !isLocal {
            for (option, value) in Self.keepAlive { try? channel.syncOptions?.setOption(option, value: value) }
        }
        state.countConnection(1)
        channel.closeFuture.whenComplete { [state, connections] _ in
            session.end()
            record.noteEnd()
            connections.remove(channel)
            state.countConnection(-1)
        }
        try channel.pipeline.syncOperations.addHandler(
            LineConnection(session, workers, idleLimit: isStream ? nil : LineConnection.idleLimit))
    }

    /// Tells of connections that end with the server.
    private func tell(_ left: (all: Int, unanswered: Int)) {
        func connections(_ count: Int) -> String { count == 1 ? "1 connection" : "\(count) connections" }
        guard left.unanswered > 0 else {
            return logger.debug("\(connections(left.all)) closed that the clients had left open")
        }
        let others = left.all > left.unanswered ? " of \(left.all)" : ""
        logger.warning(
            "\(connections(left.unanswered))\(others) closed whose client does not read its answers, or whose image gives none"
        )
    }

    private func stop(_ channels: [any Channel]) async {
        for channel in channels { try? await channel.close() }
        connections.finish()
        if await !connections.areOver(within: Self.timeToEnd.atMost, stalled: Self.timeToEnd.stalled, state) {
            connections.cancel()
            if await !connections.areOver(
                within: Self.timeToEnd.cancelled, stalled: Self.timeToEnd.cancelled, state)
            {
                tell(connections.left)
                connections.noteLeft()
            }
        }
        // Neither the threads of images, which may be stuck in a read, nor the loop that they hand their answers to are
        // waited for. They end with the process.
    }
}
