import AccessLog
import BlockImage
import Catalog
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
    static let closeDelay = TimeAmount.milliseconds(500)
    /// How often files are looked at that are being sent.
    private static let watchInterval = TimeAmount.seconds(1)
    /// Answers that are not longer are gathered, and sent together: bytes, of which none are sent from a file.
    private static let gatheredSize = min(64 << 10, FileBytes.leastCount - 1)
    static let gatheringCapacity = 256 << 10

    private static let stopping = NBDError(.shutdown, "the server is going to stop")
    static let overloaded = NBDError(.io, "too many requests wait for the image")

    let session: Session
    let encoder: ReplyEncoder
    let serving: Serving
    let activity: Activity
    let record: ConnectionRecord
    var decoder: RequestDecoder
    var received = ByteBuffer()
    private var latency = ReadLatency()
    /// The answers that are under way, until they were handed to the kernel.
    var underWay = Load()
    /// Answers that are to be sent together, and what they are of `underWay`.
    var gathered = ByteBuffer()
    var gatheredLoad = Load()
    /// Answers that wait for memory, and whether this waits to be called when there is some.
    var held: [HeldAnswer] = []
    var isWaitingForMemory = false
    /// What came of waiting, of the memory that all share, and is not used yet.
    var granted: UInt64 = 0
    /// The write whose payload is coming, and whether that waits until other payloads were written.
    var incoming: WriteUnderWay?
    var isPayloadHeld = false
    /// What is being written: bytes, those of them that are the connection's own, and what to drop where it ends.
    var writing = PayloadLoad()
    /// How many pieces of answers the kernel has not taken yet, and what looks after clients who take nothing.
    var unsent = 0
    var stallCheck: RepeatedTask?
    /// Whether it ever had much memory.
    var hadMuch = false
    var isGone = false
    /// How many runs of files are being sent, and who looks whether the files are still what they were.
    private var filesUnderWay = 0
    private var watch: RepeatedTask?
    private var isLookingAtFiles = false
    var isReadHeld = false
    var isFlushDue = false
    var isFlushSoon = false
    /// Nothing more is taken up, and the connection ends when nothing is under way.
    var isEnding = false
    /// The client sends no more, and gets what it asked for.
    var isInputOver = false
    var isStopping = false
    var isClosing = false

    struct Load {
        var requests = 0
        var bytes: UInt64 = 0
        /// What of `bytes` was taken from what all connections share.
        var shared: UInt64 = 0
        /// The bytes of the disk that are answered.
        var read: UInt64 = 0
    }

    enum HeldAnswer {
        case read(ReadReply)
        case status(Request)

    }

    init(_ session: Session, serving: Serving, _ activity: Activity, _ record: ConnectionRecord) {
        self.session = session
        self.serving = serving
        self.activity = activity
        self.record = record
        encoder = ReplyEncoder(form: session.form)
        decoder = RequestDecoder(session.form)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isEnding else { return }
        activity.note()
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
        guard mayReceive else {
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
            if !isStopping { noteInputEnd() }
            endPayload(context)
            goOn(context)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let fault = tlsReason(error) ?? connectionFault(error) { record.noteEnding(fault) }
        context.close(promise: nil)
    }

    /// A client has to say that it goes; many do not.
    private func noteInputEnd() {
        let isAmid = received.readableBytes > 0 || decoder.isAmidRequest
        record.noteEnding(
            isAmid
                ? "the client closed the connection in the middle of a request"
                : "the client closed the connection without NBD_CMD_DISC")
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        isGone = true
        watch?.cancel()
        stallCheck?.cancel()
        serving.replies.giveBack(underWay.shared + granted)
        (underWay.shared, granted) = (0, 0)
        if hadMuch { serving.giveBackSoon() }
        endWriting()
    }

    var hasRoom: Bool {
        held.isEmpty && underWay.requests < Self.requestLimit && underWay.bytes < Self.byteLimit
    }

    /// Whether more may come from the client.
    var mayReceive: Bool { incoming == nil ? hasRoom : !isPayloadHeld }

    /// Takes up what requests there are, as far as there is room.
    func serve(_ context: ChannelHandlerContext) {
        do throws(RequestDecoder.Fault) {
            while !isEnding {
                if let write = incoming {
                    guard receive(write, context) else { break }
                } else {
                    guard hasRoom, let request = try decoder.next(in: &received, wants: { wantsPayload(of: $0) }) else {
                        break
                    }
                    start(request, context)
                }
            }
        } catch {
            record.noteRefusal("does not keep to the protocol: \(error.message)")
            record.noteEnding("the client does not keep to the protocol")
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
        if request.command == .disconnect {
            record.noteEnding(nil, orderly: true)
            return end(context)
        }
        underWay.requests += 1
        record.count(requests: 1)
        if let error = isStopping ? Self.stopping : session.refusal(of: request) {
            return gather(Load(requests: 1), context) { encoder.writeError(error, to: request, into: &$0) }
        }
        switch request.command {
        case .read where request.length > 0:
            advance(ReadReply(request, of: session, with: encoder), context)
        case .blockStatus: answerStatus(request, context)
        case .write where request.length > 0: incoming = WriteUnderWay(request)
        case .write, .writeZeroes, .trim, .flush:
            if session.export.isWritable { return answerChange(request, context) }
            gather(Load(requests: 1), context) { encoder.writeDone(request, into: &$0) }
        case .cache:
            answerElsewhere(Load(requests: 1), context) { [session, encoder] in
                // What caches and hosts keep is less than some clients ask for.
                let count = min(request.length, Request.payloadLimit)
                session.export.image.makeReady(request.offset..<request.offset + count)
                encoder.writeDone(request, into: &$0)
            }
        default: gather(Load(requests: 1), context) { encoder.writeDone(request, into: &$0) }
        }
    }

    /// Makes the next piece of the answer to a read, here or on another thread, and sends it.
    func advance(_ reply: ReadReply, _ context: ChannelHandlerContext) {
        var reply = reply
        reply.pieceLimit = ReadReply.pieceSize
        guard let load = takeMemory(reply.nextCount, orLess: !reply.isOnePiece) else {
            return hold(.read(reply), for: reply.nextCount, context)
        }
        reply.pieceLimit = load.bytes
        let count = load.bytes
        let isAlone = underWay.requests == 1 && received.readableBytes == 0 && count <= Self.gatheredSize
        guard session.export.isPrompt, latency.isQuick(alone: isAlone), advanceHere(reply, load, context) else {
            return advanceElsewhere(reply, load, context)
        }
    }

    /// The same on this thread, which must not wait for a disk: false where it would have to.
    private func advanceHere(_ reply: ReadReply, _ load: Load, _ context: ChannelHandlerContext) -> Bool {
        var reply = reply
        let start = NIODeadline.now()
        var stored: FileBytes?
        var fault: ReadReply.Fault?
        func makePiece(_ buffer: inout ByteBuffer) -> Bool {
            do throws(ReadReply.Fault) {
                stored = try ReadScope.withoutBlocking { () throws(ReadReply.Fault) in try reply.next(into: &buffer) }
            } catch {
                fault = error
            }
            return fault == nil
        }
        if reply.isWhole, load.bytes <= Self.gatheredSize {
            // `gatheredSize` is too little for bytes of a file behind it.
            gather(Load(requests: 1, bytes: load.bytes, shared: load.shared), context, ifMade: makePiece)
            if fault == nil { gatheredLoad.read += reply.pieceCount }
        } else {
            var buffer = context.channel.allocator.buffer(capacity: Int(load.bytes) + ReplyEncoder.headerRoom)
            if makePiece(&buffer) { send(buffer, stored, reply, load, context) }
        }
        switch fault {
        case .wouldBlock:
            latency.noteWait()
            return false
        case .promised(let error): fail(error, context)
        case nil where stored != nil: latency.noteSent()
        case nil: latency.note(load.bytes, took: (NIODeadline.now() - start).nanosecondsOfRead)
        }
        return true
    }

    private func advanceElsewhere(_ reply: ReadReply, _ load: Load, _ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let channel = context.channel
        let isTaken = serving.readers.run(for: ObjectIdentifier(session.export.opened)) {
            guard channel.isActive else { return }
            var reply = reply
            let start = NIODeadline.now()
            var buffer = channel.allocator.buffer(capacity: Int(load.bytes) + ReplyEncoder.headerRoom)
            var stored: FileBytes?
            var fault: ReadReply.Fault?
            do throws(ReadReply.Fault) { stored = try reply.next(into: &buffer) } catch { fault = error }
            let time = (NIODeadline.now() - start).nanosecondsOfRead
            let (made, behind, done, failed) = (buffer, stored, reply, fault)
            channel.eventLoop.execute {
                let (phase, context) = bound.value
                if behind == nil { phase.latency.note(load.bytes, took: time) } else { phase.latency.noteSent() }
                if let failed { return phase.fail(failed, context) }
                phase.send(made, behind, done, load, context)
                phase.flushSoon(context)
            }
        }
        if !isTaken { fail(Self.overloaded, context) }
    }

    /// Sends a piece of an answer, with `stored` behind it, and then goes on with the next.
    private func send(
        _ buffer: ByteBuffer, _ stored: FileBytes?, _ reply: ReadReply, _ load: Load, _ context: ChannelHandlerContext
    ) {
        var load = load
        // What is sent from a file takes no memory.
        if stored != nil { giveBack(&load) }
        if reply.isDone { load.requests = 1 }
        load.read = reply.pieceCount
        let sent = load
        let promise = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        noteUnsent(promise, context)
        promise.futureResult.whenSuccess {
            let (phase, context) = bound.value
            phase.release(sent)
            if !reply.isDone { phase.advance(reply, context) }
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
            phase.lookAtFiles(context)
        }
    }

    /// Has another thread look whether a file was changed: this one must not wait for a disk.
    private func lookAtFiles(_ context: ChannelHandlerContext) {
        guard !isLookingAtFiles else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        let export = session.export
        isLookingAtFiles = serving.readers.run(for: ObjectIdentifier(export.opened)) {
            var fault: NBDError?
            do throws(ImageError) { try export.checkUnchanged() } catch { fault = NBDError(error, paths: export.paths) }
            let found = fault
            loop.execute {
                let (phase, context) = bound.value
                phase.isLookingAtFiles = false
                if let found, context.channel.isActive { phase.fail(found, context) }
            }
        }
    }

    func answerStatus(_ request: Request, _ context: ChannelHandlerContext) {
        guard let load = takeMemory(Self.statusSize) else {
            return hold(.status(request), for: Self.statusSize, context)
        }
        // A descriptor has at most 16 bytes.
        let limit = Int(load.bytes / 16)
        answerElsewhere(Load(requests: 1, bytes: load.bytes, shared: load.shared), context) { [session, encoder] in
            session.writeStatus(to: request, with: encoder, descriptorLimit: limit, into: &$0)
        }
    }

    /// Has another thread, of `threads` or of those that read, write an answer, which `load` of what is under way is for.
    func answerElsewhere(
        _ load: Load, _ context: ChannelHandlerContext, on threads: KeyedThreads<ObjectIdentifier>? = nil,
        _ write: @escaping @Sendable (inout ByteBuffer) -> Void
    ) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let channel = context.channel
        let isTaken = (threads ?? serving.readers).run(for: ObjectIdentifier(session.export.opened)) {
            guard channel.isActive else { return }
            var buffer = ByteBuffer()
            write(&buffer)
            let made = buffer
            channel.eventLoop.execute {
                let (phase, context) = bound.value
                var (answer, load) = (made, load)
                // Most answers are far shorter than they may be.
                if answer.readableBytes <= Self.gatheredSize { phase.giveBack(&load) }
                phase.gather(load, context) { $0.writeBuffer(&answer) }
                phase.flushSoon(context)
            }
        }
        if !isTaken { fail(Self.overloaded, context) }
    }
}

extension TimeAmount {
    /// The time that a read took.
    fileprivate var nanosecondsOfRead: UInt64 { UInt64(clamping: nanoseconds) }
}
