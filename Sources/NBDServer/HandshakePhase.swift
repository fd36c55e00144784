import Catalog
import Logging
import NIOCore
import NIOSSL

/// A connection until it has chosen an export: takes one option after another. Those that may open images are answered by
/// another thread.
final class HandshakePhase: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How long a client may take until requests begin.
    private static let timeLimit = TimeAmount.seconds(10)

    private let serving: Serving
    private var handshake: Handshake
    private var decoder = OptionDecoder()
    private var received = ByteBuffer()
    /// While an option is answered no more is read.
    private var isAnswering = false
    private var isReadHeld = false
    private var deadline: Scheduled<Void>?

    init(serving: Serving) {
        self.serving = serving
        handshake = Handshake(catalog: serving.catalog, tls: serving.tls)
    }

    func channelActive(context: ChannelHandlerContext) {
        var greeting = context.channel.allocator.buffer(capacity: 18)
        Handshake.writeGreeting(into: &greeting)
        context.writeAndFlush(wrapOutboundOut(greeting), promise: nil)
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: Self.timeLimit) { [serving] in
            serving.logger.info("a client took more than 10 seconds for the handshake")
            channel.close(promise: nil)
        }
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = unwrapInboundIn(data)
        received.discardReadBytes()
        received.writeBuffer(&buffer)
        serve(context)
    }

    func read(context: ChannelHandlerContext) {
        guard !isAnswering else {
            isReadHeld = true
            return
        }
        context.read()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ServerStops || event as? ChannelEvent == .inputClosed { return context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        serving.logger.info("a connection ends in its handshake: \(error)")
        context.close(promise: nil)
    }

    private func serve(_ context: ChannelHandlerContext) {
        guard !isAnswering else { return }
        let message: OptionDecoder.Message
        do throws(OptionDecoder.Fault) {
            guard let next = try decoder.next(in: &received) else { return }
            message = next
        } catch {
            serving.logger.info("a client does not speak NBD: \(error.message)")
            return context.close(promise: nil)
        }
        isAnswering = true
        let handshake = handshake
        let loop = context.eventLoop
        let bound = NIOLoopBound((self, context), eventLoop: loop)
        let answer = { @Sendable () -> Void in
            var handshake = handshake
            var reply = ByteBuffer()
            let next = handshake.answer(message, into: &reply)
            let (answered, made) = (handshake, reply)
            loop.execute {
                let (phase, context) = bound.value
                phase.go(on: answered, made, next, context)
            }
        }
        if Handshake.isQuick(message) { return answer() }
        guard serving.handshakes.run(for: ObjectIdentifier(context.channel), answer) else {
            return context.close(promise: nil)
        }
    }

    private func go(
        on handshake: Handshake, _ reply: ByteBuffer, _ next: Handshake.Next, _ context: ChannelHandlerContext
    ) {
        self.handshake = handshake
        isAnswering = false
        guard context.channel.isActive else { return }
        if reply.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(reply), promise: nil) }
        switch next {
        case .option: serve(context)
        case .startTLS: startTLS(context)
        case .transmission(let session): return enterTransmission(session, context)
        case .close: return context.close(promise: nil)
        }
        readOn(context)
    }

    private func readOn(_ context: ChannelHandlerContext) {
        guard isReadHeld, !isAnswering else { return }
        isReadHeld = false
        context.read()
    }

    private func startTLS(_ context: ChannelHandlerContext) {
        // What came unencrypted behind the option would be taken for the client's words inside the tunnel.
        guard received.readableBytes == 0, let tlsContext = serving.tlsContext else {
            serving.logger.info("a client sent more before TLS had begun")
            return context.close(promise: nil)
        }
        do {
            try context.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tlsContext), position: .first)
        } catch {
            errorCaught(context: context, error: error)
        }
    }

    private func enterTransmission(_ session: Session, _ context: ChannelHandlerContext) {
        let activity = serving.connections.noteTransmission(context.channel)
        serving.logger.debug("export \"\(session.export.name)\" is used")
        let transmission = TransmissionPhase(session, serving: serving, activity)
        do {
            try context.pipeline.syncOperations.addHandler(transmission, position: .after(self))
        } catch {
            return errorCaught(context: context, error: error)
        }
        if received.readableBytes > 0 {
            context.fireChannelRead(wrapInboundOut(received))
            context.fireChannelReadComplete()
        }
        let isReadHeld = isReadHeld
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
        if isReadHeld { context.channel.read() }
    }
}

extension HandshakePhase {
    typealias InboundOut = ByteBuffer
}
