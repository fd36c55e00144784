import ImageTools
import NIOCore
import NIOHTTP1

/// A connection on which every line is a request, or a batch of them, and every answer a line.
///
/// What a client makes the server hold is bounded: of an unfinished line, `lineLimit`; `requestLimit` requests under way,
/// of `messageBytes` together; and while answers wait to be taken, no more is read. What takes more than a little of that
/// comes from memory that all clients share, and waits until there is some.
final class LineConnection: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    /// What HTTP goes on with.
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The most bytes of a line. A batch of 1,000 requests has a tenth of it.
    static let lineLimit = 1 << 20
    /// The most requests of one connection under way.
    private static let requestLimit = 16
    /// The most bytes that requests of one connection under way have, but for the last of them.
    private static let messageBytes = 4 * ControlState.smallMessage
    /// How long a client may have nothing to say, and one who has answers waiting may take none.
    static let idleLimit = TimeAmount.minutes(30)
    private static let stallLimit = TimeAmount.minutes(1)
    /// The same where other clients wait for the memory that answers take.
    private static let stallLimitOfWanted = TimeAmount.seconds(10)
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
    private var bytesUnderWay = 0
    private var unwritten = 0
    /// The memory of a line that is not short, while it comes; whether it is waited for; and whether there ever was some.
    private var lineMemory: TakenMemory?
    private var isWaitingForMemory = false
    private var memoryWait: UInt64?
    private var hadMuch = false
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
        idleCheck = context.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(5), delay: .seconds(5)) { _ in
            let (connection, context) = connection.value
            if connection.isIdle(longerThan: idleLimit) { context.close(promise: nil) }
        }
        context.read()
    }

    /// Whether nothing was received or sent for longer than it may be: `limit`, or less where the client does not read its
    /// answers. A client that waits for one is not idle.
    private func isIdle(longerThan limit: TimeAmount) -> Bool {
        guard unwritten > 0 || underWay == 0 else { return false }
        let isWanted = unwritten > 0 && session.server.answers.isWaitedFor
        let isStalled = unwritten > 0 || lineMemory != nil
        let limit = isWanted ? Self.stallLimitOfWanted : isStalled ? Self.stallLimit : limit
        return NIODeadline.now() - lastActivity > limit
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        idleCheck?.cancel()
        lineMemory = nil
        if let memoryWait { session.server.messages.withdraw(memoryWait) }
        if hadMuch { session.server.giveBackSoon() }
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

    private var hasRoom: Bool { underWay < Self.requestLimit && bytesUnderWay < Self.messageBytes }

    private func readOn(_ context: ChannelHandlerContext) {
        guard hasRoom, !hasInputEnded, context.channel.isWritable || isStopping, hasMemory(context) else { return }
        context.read()
    }

    /// Whether more of a line may come: a short one, or one for which there is memory. Otherwise that is waited for.
    private func hasMemory(_ context: ChannelHandlerContext) -> Bool {
        guard lineMemory == nil, !isSkipping, input.readableBytes > ControlState.smallMessage else { return true }
        guard !isWaitingForMemory else { return false }
        let budget = session.server.messages
        if !budget.isWaitedFor { lineMemory = TakenMemory(UInt64(Self.lineLimit), of: budget) }
        guard lineMemory == nil else {
            hadMuch = true
            return true
        }
        isWaitingForMemory = true
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let loop = context.eventLoop
        memoryWait = budget.take(UInt64(Self.lineLimit)) { memory in
            loop.execute {
                let (connection, context) = bound.value
                connection.isWaitingForMemory = false
                connection.memoryWait = nil
                guard context.channel.isActive else { return }
                // The line may have been taken meanwhile.
                if connection.lineMemory == nil, connection.input.readableBytes > ControlState.smallMessage {
                    connection.hadMuch = true
                    connection.lineMemory = memory
                }
                connection.readOn(context)
            }
        }
        return false
    }

    /// Begins the requests of all lines that are there, as far as so many may be under way.
    private func takeLines(_ context: ChannelHandlerContext) {
        while hasRoom, context.channel.isWritable, !isStopping, let line = nextLine(context) {
            let memory = lineMemory
            lineMemory = nil
            // An empty line is no request, and does no harm.
            guard line.contains(where: { $0 > 0x20 }) else { continue }
            begin(line.count, memory, context) { [session, workers] loop, notify in
                workers.answer(line: line, of: session, on: loop, notify: notify)
            }
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
        let error = RPCError(.invalidRequest, "the line is longer than \(Self.lineLimit) bytes, which is the most")
        lineMemory = nil
        begin(0, nil, context) { [session, workers] loop, notify in
            workers.answer(.refused(error), of: session, on: loop, notify: notify)
        }
    }

    /// Has `answer` answer a line of `size` bytes, which has `memory` until then.
    private func begin(
        _ size: Int, _ memory: TakenMemory?, _ context: ChannelHandlerContext,
        _ answer: (any EventLoop, @escaping @Sendable (String) -> Void) -> EventLoopFuture<Workers.Answer?>
    ) {
        underWay += 1
        bytesUnderWay += size
        let loop = context.eventLoop
        let connection = NIOLoopBound((self, context), eventLoop: loop)
        let answer = answer(loop) { line in
            loop.execute {
                let (connection, context) = connection.value
                // Who does not read need not be told how far it is.
                if context.channel.isActive, context.channel.isWritable { connection.send(line, [], context) }
            }
        }
        answer.assumeIsolated().whenComplete { result in
            withExtendedLifetime(memory) {}
            self.underWay -= 1
            self.bytesUnderWay -= size
            guard context.channel.isActive else { return }
            if case .success(let answer?) = result {
                if !answer.memory.isEmpty { self.hadMuch = true }
                self.send(answer.text, answer.memory, context)
            }
            self.takeLines(context)
            self.readOn(context)
        }
    }

    /// Sends `line`, which has `memory` until it was taken.
    private func send(_ line: String, _ memory: [TakenMemory], _ context: ChannelHandlerContext) {
        var buffer = context.channel.allocator.buffer(capacity: line.utf8.count + 1)
        buffer.writeString(line)
        buffer.writeInteger(UInt8(ascii: "\n"))
        let count = buffer.readableBytes
        unwritten += 1
        session.server.countWaiting(count)
        context.writeAndFlush(wrapOutboundOut(buffer)).assumeIsolated().whenComplete { _ in
            withExtendedLifetime(memory) {}
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
