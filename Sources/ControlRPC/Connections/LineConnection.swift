import NIOCore
import NIOHTTP1

/// A connection on which every line is a request, or a batch of them, and every answer a line.
///
/// What a client makes the server hold is bounded: of an unfinished line, `lineLimit`; `requestLimit` requests under way;
/// and while answers wait to be taken, no more is read.
final class LineConnection: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    /// What HTTP goes on with.
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The most bytes of a line. A batch of 1,000 requests has a tenth of it.
    static let lineLimit = 1 << 20
    /// The most requests of one connection under way.
    private static let requestLimit = 16
    /// How long a client may have nothing to say, and one who has answers waiting may take none.
    static let idleLimit = TimeAmount.minutes(30)
    private static let stallLimit = TimeAmount.minutes(1)
    /// How long the rest of what a client sent is waited for when the server ends: without that, the host would throw away
    /// answers that are still on their way.
    private static let lingering = TimeAmount.seconds(1)

    private let session: ControlSession
    private let workers: Workers
    private let idleLimit: TimeAmount?
    private var input = ByteBuffer()
    /// The bytes of `input` that are known to have no line end.
    private var searched = 0
    /// Whether the line that is coming is too long, and passed over.
    private var isSkipping = false
    private var isFirst = true
    private var hasInputEnded = false
    private var isStopping = false
    private var underWay = 0
    private var unwritten = 0
    private var lastActivity = NIODeadline.now()
    private var idleCheck: RepeatedTask?

    /// The connection of `session`; `idleLimit` nil: it may be idle for ever.
    init(_ session: ControlSession, _ workers: Workers, idleLimit: TimeAmount?) {
        self.session = session
        self.workers = workers
        self.idleLimit = idleLimit
    }

    func channelActive(context: ChannelHandlerContext) {
        guard let idleLimit else { return context.read() }
        let connection = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        idleCheck = context.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(30), delay: .seconds(30)) { _ in
            let (connection, context) = connection.value
            guard connection.underWay == 0 else { return }
            let limit = connection.unwritten > 0 ? Self.stallLimit : idleLimit
            if NIODeadline.now() - connection.lastActivity > limit { context.close(promise: nil) }
        }
        context.read()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        idleCheck?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        lastActivity = .now()
        // The server ends: nobody will read it.
        guard !isStopping else { return }
        if isFirst, let byte = bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) {
            isFirst = false
            // No request begins with a letter; the method of HTTP does.
            if (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) { return becomeHTTP(bytes, context) }
        }
        if input.readableBytes == 0 { input = bytes } else { input.writeBuffer(&bytes) }
        takeLines(context)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        readOn(context)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        takeLines(context)
        readOn(context)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed:
            hasInputEnded = true
            takeLines(context)
        case is ChannelShouldQuiesceEvent:
            isStopping = true
            input.clear()
            closeIfDone(context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private var takesMore: Bool { underWay < Self.requestLimit && !hasInputEnded }

    private func readOn(_ context: ChannelHandlerContext) {
        if takesMore && (context.channel.isWritable || isStopping) { context.read() }
    }

    /// Begins the requests of all lines that are there, as far as so many may be under way.
    private func takeLines(_ context: ChannelHandlerContext) {
        while underWay < Self.requestLimit, context.channel.isWritable, !isStopping, let line = nextLine(context) {
            // An empty line is no request, and does no harm.
            guard line.contains(where: { $0 > 0x20 }) else { continue }
            begin(RPCMessage(line), context)
        }
        closeIfDone(context)
    }

    /// The next line without its end; nil where none is complete. What stands behind the last line end when input has
    /// ended is a line as well. A line that is too long is passed over.
    private func nextLine(_ context: ChannelHandlerContext) -> [UInt8]? {
        while true {
            let start = input.readerIndex
            let found = input.readableBytesView.dropFirst(searched).firstIndex(of: UInt8(ascii: "\n"))
            guard let end = found ?? (hasInputEnded && input.readableBytes > 0 ? input.writerIndex : nil) else {
                searched = input.readableBytes
                if searched > Self.lineLimit {
                    if !isSkipping { refuseLine(context) }
                    isSkipping = true
                    searched = 0
                    input.clear()
                }
                input.discardReadBytes()
                return nil
            }
            let line = input.getBytes(at: start, length: end - start)
            input.moveReaderIndex(to: found == nil ? end : end + 1)
            searched = 0
            let wasSkipping = isSkipping
            isSkipping = false
            if wasSkipping { continue }
            if end - start <= Self.lineLimit { return line }
            refuseLine(context)
        }
    }

    private func refuseLine(_ context: ChannelHandlerContext) {
        begin(
            .refused(RPCError(.invalidRequest, "the line is longer than \(Self.lineLimit) bytes, which is the most")),
            context)
    }

    private func begin(_ message: RPCMessage, _ context: ChannelHandlerContext) {
        underWay += 1
        let loop = context.eventLoop
        let connection = NIOLoopBound((self, context), eventLoop: loop)
        let answer = workers.answer(message, of: session, on: loop) { line in
            loop.execute {
                let (connection, context) = connection.value
                // Who does not read need not be told how far it is.
                if context.channel.isActive, context.channel.isWritable { connection.send(line, context) }
            }
        }
        answer.assumeIsolated().whenComplete { result in
            self.underWay -= 1
            guard context.channel.isActive else { return }
            if case .success(let line?) = result { self.send(line, context) }
            self.takeLines(context)
            self.readOn(context)
        }
    }

    private func send(_ line: String, _ context: ChannelHandlerContext) {
        var buffer = context.channel.allocator.buffer(capacity: line.utf8.count + 1)
        buffer.writeString(line)
        buffer.writeInteger(UInt8(ascii: "\n"))
        let count = buffer.readableBytes
        unwritten += 1
        session.server.countWaiting(count)
        context.writeAndFlush(wrapOutboundOut(buffer)).assumeIsolated().whenComplete { _ in
            self.unwritten -= 1
            self.session.server.countWaiting(-count)
            self.lastActivity = .now()
            self.closeIfDone(context)
        }
    }

    /// Closes the connection when all is answered, and no more can or is to come.
    private func closeIfDone(_ context: ChannelHandlerContext) {
        guard context.channel.isActive, underWay == 0, unwritten == 0 else { return }
        if hasInputEnded {
            if isStopping || input.readableBytes == 0 { context.close(promise: nil) }
        } else if isStopping {
            context.close(mode: .output, promise: nil)
            context.read()
            let context = NIOLoopBound(context, eventLoop: context.eventLoop)
            context.value.eventLoop.scheduleTask(in: Self.lingering) { context.value.close(promise: nil) }
        }
    }

    /// Goes on as HTTP, with what has come already.
    private func becomeHTTP(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        let pipeline = context.pipeline.syncOperations
        do {
            try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
            if idleLimit != nil { try pipeline.addHandler(IdleStateHandler(allTimeout: Self.stallLimit)) }
            try pipeline.addHandler(HTTPConnection(session, workers))
            try context.channel.syncOptions?.setOption(.autoRead, value: true)
        } catch {
            return context.close(promise: nil)
        }
        context.fireChannelRead(wrapInboundOut(bytes))
        context.fireChannelReadComplete()
        pipeline.removeHandler(context: context, promise: nil)
    }
}
