import BlockImage
import ImageTools
import Logging
import NIOCore

/// A connection that uses an export: takes requests, has several of them under way, and answers each when it is done.
///
/// No more is read from a client than can be worked on: a client that sends requests and takes no answers waits.
final class TransmissionPhase: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = IOData

    /// The most requests of one connection that are under way.
    private static let requestLimit = 256
    /// The most bytes that answers under way have, but for the last one.
    private static let byteLimit: UInt64 = 8 << 20
    /// What an answer without data may have, for the bound above.
    private static let statusSize: UInt64 = 1 << 20
    /// How long a client has to go when the server stops.
    private static let farewell = TimeAmount.milliseconds(500)
    /// How often files are looked at that are being sent.
    private static let watchInterval = TimeAmount.seconds(1)
    /// Answers that are not longer are gathered, and sent together: bytes, of which none are sent from a file.
    private static let gatheredSize = min(64 << 10, FileBytes.leastCount - 1)
    private static let gatheringCapacity = 256 << 10

    private static let stopping = NBDError(.shutdown, "the server is going to stop")

    private let session: Session
    private let encoder: ReplyEncoder
    private let serving: Serving
    private var decoder: RequestDecoder
    private var received = ByteBuffer()
    private var pace = Pace()
    /// The answers that are under way, until they were handed to the kernel.
    private var underWay = Load()
    /// Answers that are to be sent together, and what they are of `underWay`.
    private var gathered = ByteBuffer()
    private var gatheredLoad = Load()
    /// How many runs of files are being sent, and who looks whether the files are still what they were.
    private var filesUnderWay = 0
    private var watch: RepeatedTask?
    private var isReadHeld = false
    private var isFlushDue = false
    private var isFlushSoon = false
    /// Nothing more is taken up, and the connection ends when nothing is under way.
    private var isEnding = false
    /// The client sends no more, and gets what it asked for.
    private var isInputOver = false
    private var isStopping = false
    private var isClosing = false

    private struct Load {
        var requests = 0
        var bytes: UInt64 = 0
    }

    init(_ session: Session, serving: Serving) {
        self.session = session
        self.serving = serving
        encoder = ReplyEncoder(form: session.form)
        decoder = RequestDecoder(session.form)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnding else { return }
        var buffer = unwrapInboundIn(data)
        if received.readableBytes == 0 {
            received = buffer
        } else {
            received.discardReadBytes()
            received.writeBuffer(&buffer)
        }
        serve(context)
    }

    func read(context: ChannelHandlerContext) {
        guard hasRoom else {
            isReadHeld = true
            return
        }
        context.read()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ServerStops {
            isStopping = true
            serve(context)
            end(context)
        } else if event as? ChannelEvent == .inputClosed {
            isInputOver = true
            goOn(context)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        serving.logger.debug("a connection ends: \(error)")
        context.close(promise: nil)
    }

    private var hasRoom: Bool {
        underWay.requests < Self.requestLimit && underWay.bytes < Self.byteLimit
    }

    /// Takes up what requests there are, as far as there is room.
    private func serve(_ context: ChannelHandlerContext) {
        do throws(RequestDecoder.Fault) {
            while hasRoom, !isEnding, let request = try decoder.next(in: &received) { start(request, context) }
        } catch {
            serving.logger.info("a client does not keep to the protocol: \(error.message)")
            isEnding = true
            context.close(promise: nil)
        }
        if received.readableBytes == 0 { received = ByteBuffer() }
        sendGathered(context)
        if isFlushDue {
            isFlushDue = false
            context.flush()
        }
    }

    private func start(_ request: Request, _ context: ChannelHandlerContext) {
        if request.command == .disconnect { return end(context) }
        underWay.requests += 1
        if let error = isStopping ? Self.stopping : session.refusal(of: request) {
            return gather(Load(requests: 1), context) { encoder.writeError(error, to: request, into: &$0) }
        }
        switch request.command {
        case .read where request.length > 0:
            advance(ReadReply(request, of: session, with: encoder), context)
        case .blockStatus:
            answerElsewhere(request, context) { [session, encoder] in
                session.writeStatus(to: request, with: encoder, into: &$0)
            }
        case .cache:
            answerElsewhere(request, context) { [session, encoder] in
                // What caches and hosts keep is less than some clients ask for.
                let count = min(request.length, Request.payloadLimit)
                session.export.image.makeReady(request.offset..<request.offset + count)
                encoder.writeDone(request, into: &$0)
            }
        default: gather(Load(requests: 1), context) { encoder.writeDone(request, into: &$0) }
        }
    }

    /// Makes the next piece of the answer to a read, here or on another thread, and sends it.
    private func advance(_ reply: ReadReply, _ context: ChannelHandlerContext) {
        let count = reply.nextCount
        underWay.bytes += count
        let isAlone = underWay.requests == 1 && received.readableBytes == 0 && count <= Self.gatheredSize
        guard pace.isQuick(alone: isAlone) else { return advanceElsewhere(reply, count, context) }
        var reply = reply
        let start = NIODeadline.now()
        var fault: NBDError?
        if reply.isWhole, count <= Self.gatheredSize {
            gather(Load(requests: 1, bytes: count), context) { buffer in
                // `gatheredSize` is too little for bytes of a file behind it.
                do throws(NBDError) { _ = try reply.next(into: &buffer) } catch { fault = error }
            }
            if let fault { return fail(fault, context) }
        } else {
            var buffer = context.channel.allocator.buffer(capacity: Int(count) + ReplyEncoder.headerRoom)
            let stored: FileBytes?
            do throws(NBDError) { stored = try reply.next(into: &buffer) } catch { return fail(error, context) }
            send(buffer, stored, reply, count, context)
        }
        pace.note(count, took: (NIODeadline.now() - start).nanosecondsOfRead)
    }

    private func advanceElsewhere(_ reply: ReadReply, _ count: UInt64, _ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        let allocator = context.channel.allocator
        serving.crew.submit { state in
            guard case .active = state else { return }
            var reply = reply
            let start = NIODeadline.now()
            var buffer = allocator.buffer(capacity: Int(count) + ReplyEncoder.headerRoom)
            var stored: FileBytes?
            var fault: NBDError?
            do throws(NBDError) { stored = try reply.next(into: &buffer) } catch { fault = error }
            let time = (NIODeadline.now() - start).nanosecondsOfRead
            let (made, behind, done, failed) = (buffer, stored, reply, fault)
            loop.execute {
                let (phase, context) = bound.value
                phase.pace.note(count, took: time)
                if let failed { return phase.fail(failed, context) }
                phase.send(made, behind, done, count, context)
                phase.flushSoon(context)
            }
        }
    }

    /// Sends a piece of an answer, with `stored` behind it, and then goes on with the next.
    private func send(
        _ buffer: ByteBuffer, _ stored: FileBytes?, _ reply: ReadReply, _ count: UInt64,
        _ context: ChannelHandlerContext
    ) {
        let promise = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        promise.futureResult.whenSuccess {
            let (phase, context) = bound.value
            phase.underWay.bytes -= count
            if reply.isDone {
                phase.underWay.requests -= 1
            } else {
                phase.advance(reply, context)
            }
            phase.goOn(context)
        }
        context.write(wrapOutboundOut(.byteBuffer(buffer)), promise: stored == nil ? promise : nil)
        if let stored { send(stored, promise, context) }
        isFlushDue = true
    }

    private func send(_ stored: FileBytes, _ promise: EventLoopPromise<Void>, _ context: ChannelHandlerContext) {
        filesUnderWay += 1
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        promise.futureResult.whenComplete { _ in
            stored.close()
            bound.value.0.filesUnderWay -= 1
        }
        context.write(wrapOutboundOut(.fileRegion(stored.region)), promise: promise)
        guard watch == nil else { return }
        // A file that has become shorter is not told otherwise, and its bytes would be waited for without end.
        let interval = Self.watchInterval
        watch = context.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { task in
            let (phase, context) = bound.value
            guard phase.filesUnderWay > 0 else {
                phase.watch = nil
                return task.cancel()
            }
            do throws(ImageError) {
                try phase.session.export.checkUnchanged()
            } catch {
                phase.fail(NBDError(error), context)
            }
        }
    }

    /// Has another thread write the answer to `request`.
    private func answerElsewhere(
        _ request: Request, _ context: ChannelHandlerContext, _ write: @escaping @Sendable (inout ByteBuffer) -> Void
    ) {
        let load = Load(requests: 1, bytes: Self.statusSize)
        underWay.bytes += load.bytes
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let answer = serving.crew.runIfActive(eventLoop: context.eventLoop) {
            var buffer = ByteBuffer()
            write(&buffer)
            return buffer
        }
        answer.whenSuccess { answer in
            let (phase, context) = bound.value
            var answer = answer
            phase.gather(load, context) { $0.writeBuffer(&answer) }
            phase.flushSoon(context)
        }
    }
}

extension TransmissionPhase {
    /// Adds an answer, which `load` of what is under way is for, to those that are sent together.
    private func gather(_ load: Load, _ context: ChannelHandlerContext, _ write: (inout ByteBuffer) -> Void) {
        if gathered.readableBytes > 0, gathered.writableBytes < Int(load.bytes) + ReplyEncoder.headerRoom {
            sendGathered(context)
        }
        if gathered.capacity == 0 {
            gathered = context.channel.allocator.buffer(
                capacity: underWay.requests > 1 ? Self.gatheringCapacity : Int(load.bytes) + 512)
        }
        write(&gathered)
        gatheredLoad.requests += load.requests
        gatheredLoad.bytes += load.bytes
    }

    private func sendGathered(_ context: ChannelHandlerContext) {
        guard gathered.readableBytes > 0 else { return }
        let load = gatheredLoad
        let promise = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        promise.futureResult.whenSuccess {
            let (phase, context) = bound.value
            phase.underWay.bytes -= load.bytes
            phase.underWay.requests -= load.requests
            phase.goOn(context)
        }
        context.write(wrapOutboundOut(.byteBuffer(gathered)), promise: promise)
        gathered = ByteBuffer()
        gatheredLoad = Load()
        isFlushDue = true
    }

    /// Sends what other threads have done by the time that this one has taken it all over.
    private func flushSoon(_ context: ChannelHandlerContext) {
        guard !isFlushSoon else { return }
        isFlushSoon = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.execute {
            let (phase, context) = bound.value
            phase.isFlushSoon = false
            phase.sendGathered(context)
            phase.isFlushDue = false
            context.flush()
        }
    }

    /// There is room again.
    private func goOn(_ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        serve(context)
        if isEnding || isInputOver && underWay.requests == 0 { return end(context) }
        guard isReadHeld, hasRoom else { return }
        isReadHeld = false
        context.read()
    }

    /// Takes up nothing more, and ends the connection once all is answered.
    private func end(_ context: ChannelHandlerContext) {
        isEnding = true
        guard underWay.requests == 0 else { return }
        guard isStopping, !isInputOver, !isClosing else { return context.close(promise: nil) }
        // The client may have sent more by now. To close with that unread would reset the connection, and take from it
        // the answers that are still on their way.
        isClosing = true
        let channel = context.channel
        channel.close(mode: .output).whenFailure { _ in channel.close(promise: nil) }
        context.eventLoop.scheduleTask(in: Self.farewell) { channel.close(promise: nil) }
    }

    /// The client has been promised what cannot be read, and only the end of the connection tells it.
    private func fail(_ error: NBDError, _ context: ChannelHandlerContext) {
        serving.logger.warning("export \"\(session.export.name)\": \(error.message)")
        isEnding = true
        context.close(promise: nil)
    }
}

extension TimeAmount {
    /// The time that a read took.
    fileprivate var nanosecondsOfRead: UInt64 { UInt64(clamping: nanoseconds) }
}
