import AccessLog
import BlockImage
import Catalog
import Logging
import NIOCore
import NIOPosix
import Sockets

/// A server of the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md) for the exports of a catalog.
///
/// A connection stays on one of a few threads that wait for sockets. These read themselves what is in the host's memory;
/// the rest is for threads of the image that is read (`ReadLatency`), so that a disk that does not answer stops only those who
/// read it.
package struct NBDServer: Sendable {
    /// What a Unix socket is to keep of what its client has not read yet: as much as the system allows, which is more than
    /// it does by itself. TCP finds out what is best.
    private static let unixSendBuffer: SocketOptionValue = 4 << 20
    /// How long connections may take to end when the server stops, and how long where none of them gets anything.
    private static let timeToEnd = (atMost: TimeAmount.seconds(5), stalled: TimeAmount.milliseconds(700))

    private let catalog: ExportCatalog
    private let sockets: [ListeningSocket]
    private let tls: TLSServer
    private let logger: Logger
    private let log: AccessLog
    private let limitNotice = SeldomNotice()

    /// A server at `sockets`, which it takes over. `tls` is needed where its mode is not `off`. Throws what is wrong with
    /// the certificates or keys.
    package init(
        catalog: ExportCatalog, sockets: [ListeningSocket], tls: TLSOptions = TLSOptions(), logger: Logger,
        log: AccessLog = AccessLog()
    ) throws(ImageError) {
        self.catalog = catalog
        self.sockets = sockets
        self.tls = try TLSServer(tls)
        self.logger = logger
        self.log = log
    }

    /// Serves until the task is cancelled: then takes no more connections and requests, answers those that are under way,
    /// and returns.
    package func run() async throws {
        let loops = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
        let serving = Serving(catalog: catalog, tls: tls, logger: logger)
        do {
            var listening: [any Channel] = []
            for socket in sockets {
                guard let descriptor = socket.takeDescriptor() else { continue }
                var bootstrap = bootstrap(on: loops, serving, at: "\(socket.address)")
                if case .unix = socket.address {
                    bootstrap = bootstrap.childChannelOption(.socketOption(.so_sndbuf), value: Self.unixSendBuffer)
                }
                listening.append(try await bootstrap.withBoundSocket(descriptor).get())
            }
            for await _ in AsyncStream<Never>.makeStream().stream {}  // which ends with the task
            // A task of its own: this one is cancelled, and would not wait any more.
            await Task { [listening] in
                await close(listening)
                await end(serving)
            }.value
        }
        // The threads of images are not waited for, which may be stuck in a read; nor are the loops ended, which those
        // threads hand their answers to. They end with the process.
        for socket in sockets { socket.remove() }
    }

    private func bootstrap(
        on loops: MultiThreadedEventLoopGroup, _ serving: Serving, at address: String
    ) -> ServerBootstrap {
        ServerBootstrap(group: loops)
            .serverChannelOption(ChannelOptions.backlog, value: 256)
            .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
            // Requests come in bursts of many small ones; the answers need no such room. What is written does.
            .childChannelOption(
                ChannelOptions.recvAllocator,
                value: FixedSizeRecvByteBufferAllocator(capacity: catalog.isWritable ? 256 << 10 : 16 << 10)
            )
            .childChannelInitializer { [log, limitNotice] channel in
                let record = log.connection(channel, of: .nbd, at: address)
                guard serving.connections.add(channel, record) else {
                    let isStopping = serving.connections.isStopping
                    let reason =
                        isStopping
                        ? "the server stops" : "there are \(Connections.limit) connections, which is the limit"
                    if !isStopping, limitNotice.isDue() {
                        serving.logger.warning("NBD: clients are refused: \(reason)")
                    }
                    record.noteRefusal(reason)
                    record.noteEnding("refused")
                    return channel.close().always { _ in record.noteEnd() }
                }
                channel.closeFuture.whenComplete { _ in
                    record.noteEnd()
                    serving.connections.remove(channel)
                }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(HandshakePhase(serving: serving, record))
                }
            }
    }

    /// Takes no more connections. A loop that does not answer is not waited for.
    private func close(_ listening: [any Channel]) async {
        for channel in listening { channel.close(promise: nil) }
        let begin = NIODeadline.now()
        while listening.contains(where: \.isActive), NIODeadline.now() - begin < Self.timeToEnd.stalled {
            try? await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Has every connection end, and waits for that; who does not go is cut off.
    private func end(_ serving: Serving) async {
        let left = serving.connections.stop()
        guard !left.isEmpty else { return }
        serving.logger.info("stopping: \(left.count) connections end")
        for (channel, record) in left {
            record.noteServerStop()
            channel.pipeline.fireUserInboundEventTriggered(ServerStops())
        }
        let begin = NIODeadline.now()
        while serving.connections.count > 0, NIODeadline.now() - begin < Self.timeToEnd.atMost {
            let idle = min(NIODeadline.now() - begin, serving.connections.shortestIdleTime)
            guard idle < Self.timeToEnd.stalled else { break }
            try? await Task.sleep(for: .milliseconds(20))
        }
        for (channel, record) in left where channel.isActive {
            record.noteEnding("the server stops, and the client had not taken all answers")
            channel.close(promise: nil)
        }
        // The process may be over before the loops close what is left.
        for (_, record) in left { record.noteEnd() }
    }
}
