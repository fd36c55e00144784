import AccessLog
import BlockImage
import Catalog
import NIOCore
import NIOTLS

/// A connection until it has chosen an export: takes one option after another. Those that may open images are answered by
/// another thread.
final class HandshakePhase: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How long a client may take until requests begin.
    private static let timeLimit = TimeAmount.seconds(10)

    private let serving: Serving
    private let record: ConnectionRecord
    private var handshake: Handshake
    private var decoder = OptionDecoder()
    private var received = ByteBuffer()
    /// While an option is answered no more is read.
    private var isAnswering = false
    private var isReadHeld = false
    private var tls: TLSConnection?
    private var hasTLSBegun = false
    private var deadline: Scheduled<Void>?

    init(serving: Serving, _ record: ConnectionRecord) {
        self.serving = serving
        self.record = record
        handshake = Handshake(catalog: serving.catalog, tls: serving.tls.mode)
    }

    func channelActive(context: ChannelHandlerContext) {
        var greeting = context.channel.allocator.buffer(capacity: 18)
        Handshake.writeGreeting(into: &greeting)
        context.writeAndFlush(wrapOutboundOut(greeting), promise: nil)
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: Self.timeLimit) { [record] in
            record.noteEnding("the client took more than 10 seconds for the handshake")
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
        if event is ServerStops { return context.close(promise: nil) }
        if event as? ChannelEvent == .inputClosed {
            record.noteEnding("the client closed the connection in the handshake")
            return context.close(promise: nil)
        }
        if case TLSUserEvent.handshakeCompleted? = event as? TLSUserEvent {
            hasTLSBegun = true
            record.noteTLS(user: tls?.user)
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if !hasTLSBegun, let fault = tlsHandshakeFault(error, tls?.identity) {
            record.noteRefusal(fault)
            record.noteEnding("TLS failed")
        } else if let fault = tlsReason(error) ?? connectionFault(error) {
            record.noteEnding("\(fault), in the handshake")
        }
        context.close(promise: nil)
    }

    private func serve(_ context: ChannelHandlerContext) {
        guard !isAnswering else { return }
        let message: OptionDecoder.Message
        do throws(OptionDecoder.Fault) {
            guard let next = try decoder.next(in: &received) else { return }
            message = next
        } catch {
            record.noteRefusal("does not speak NBD: \(error.message)")
            record.noteEnding("the client does not speak NBD")
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
            record.noteRefusal("too many clients ask for images at once")
            record.noteEnding("the server is overloaded")
            return context.close(promise: nil)
        }
    }

    private func go(
        on handshake: Handshake, _ reply: ByteBuffer, _ next: Handshake.Next, _ context: ChannelHandlerContext
    ) {
        self.handshake = handshake
        isAnswering = false
        switch handshake.note {
        case .refused(let reason)?: record.noteRefusal(reason)
        case .unknownExport(let name, let reason)?: record.noteUnknownExport(name, reason)
        case nil: break
        }
        guard context.channel.isActive else { return }
        if reply.readableBytes > 0 { context.writeAndFlush(wrapOutboundOut(reply), promise: nil) }
        switch next {
        case .option: serve(context)
        case .startTLS: startTLS(context)
        case .transmission(let session): return enterTransmission(session, context)
        case .close:
            // Without a note it was the client that wanted the end.
            record.noteEnding(handshake.note == nil ? nil : "refused", orderly: handshake.note == nil)
            return context.close(promise: nil)
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
        guard received.readableBytes == 0 else {
            record.noteRefusal("sent more before TLS had begun")
            record.noteEnding("the client does not keep to the protocol")
            return context.close(promise: nil)
        }
        do {
            let tls = try serving.tls.begin()
            self.tls = tls
            try context.pipeline.syncOperations.addHandler(tls.handler, position: .first)
        } catch {
            errorCaught(context: context, error: error)
        }
    }

    private func enterTransmission(_ session: Session, _ context: ChannelHandlerContext) {
        let activity = serving.connections.noteTransmission(context.channel)
        record.noteExport(session.export.name, size: session.export.image.virtualSize)
        let transmission = TransmissionPhase(session, serving: serving, activity, record)
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
