import AccessLog
import Catalog
import NIOCore
import NIOHTTP1

/// A connection on which every line is a request, or a batch of them, and every answer a line.
///
/// What a client makes the server hold is bounded: of an unfinished line, `lineLimit`; `requestLimit` messages under way,
/// of `messageBytes` together; `waitingLimit` of messages that wait for those; and while answers wait to be taken, no more
/// is read. What takes more than a little of that comes from memory that all clients share, and waits until there is some.
final class LineConnection: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    /// What HTTP goes on with.
    typealias InboundOut = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The most bytes of a line. A batch of 1,000 requests has a tenth of it.
    static let lineLimit = 1 << 20
    /// The most messages of one connection under way, of those that read images, and as many of those that read none; and
    /// the most of lists besides.
    private static let (requestLimit, listLimit) = (16, 4)
    /// The most bytes that messages of one connection under way have, but for the last of them.
    private static let messageBytes = 4 * ControlState.smallMessage
    /// The most requests, and bytes, of messages that have come and wait until fewer are under way, but for the last of
    /// them: those behind them that read no image, as a `cancel`, are answered meanwhile.
    private static let waitingLimit = Load(count: 256, bytes: ControlState.smallMessage)
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
    /// The messages under way, and those that are taken apart; how much they are.
    private var underWay: [MessageWork.Kind: Load] = [:]
    private var parsing = Load()
    /// Those that wait, and how many requests they have.
    private var waiting: [Message] = []
    private var waitingLoad = Load()
    private var unwritten = 0
    /// The memory of a line that is not short, while it comes; whether it is waited for; and whether there ever was some.
    private var lineMemory: TakenMemory?
    private var isWaitingForMemory = false
    private var memoryWait: UInt64?
    private var hadMuch = false
    private var lastActivity = NIODeadline.now()
    private var idleCheck: RepeatedTask?

    /// How many messages or requests, and how many bytes.
    private struct Load {
        var count = 0
        var bytes = 0

        mutating func add(_ count: Int, _ bytes: Int) {
            self.count += count
            self.bytes += bytes
        }

        func isBelow(_ limit: Load) -> Bool { count < limit.count && bytes < limit.bytes }
    }

    /// A line that was taken apart: what it asks for, its bytes, and the memory that it has until it is answered.
    private struct Message {
        var work: MessageWork
        var size: Int
        var memory: TakenMemory?
    }

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
            guard connection.isIdle(longerThan: idleLimit) else { return }
            connection.session.record.noteEnding(
                connection.unwritten > 0 ? "the client does not read its answers" : "nothing has come for too long")
            context.close(promise: nil)
        }
        context.read()
    }

    /// Whether nothing was received or sent for longer than it may be: `limit`, or less where the client does not read its
    /// answers. A client that waits for one is not idle.
    private func isIdle(longerThan limit: TimeAmount) -> Bool {
        guard unwritten > 0 || !isWorking else { return false }
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
        // The server ends: no one will read it.
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
            session.record.noteEnding(nil, orderly: true)
            takeLines(context)
        case is ChannelShouldQuiesceEvent:
            isStopping = true
            input.clear()
            (waiting, waitingLoad) = ([], Load())
            closeIfDone(context)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let fault = connectionFault(error) { session.record.noteEnding(fault) }
        context.close(promise: nil)
    }

    /// Whether something is to be answered yet.
    private var isWorking: Bool { parsing.count > 0 || !waiting.isEmpty || underWay.values.contains { $0.count > 0 } }

    /// Whether one more message may come.
    private var hasRoom: Bool {
        var next = parsing
        next.add(underWay[.quick]?.count ?? 0, underWay[.quick]?.bytes ?? 0)
        return next.isBelow(Load(count: Self.requestLimit, bytes: Self.messageBytes))
            && waitingLoad.isBelow(Self.waitingLimit)
    }

    /// Whether one more message of this kind may begin. What reads no image waits for nothing that does, and lists wait
    /// for other lists only.
    private func mayBegin(_ kind: MessageWork.Kind) -> Bool {
        let limit: Int
        switch kind {
        case .quick: return true
        case .bounded: limit = Self.listLimit
        case .reading: limit = Self.requestLimit
        }
        return (underWay[kind] ?? Load()).isBelow(Load(count: limit, bytes: Self.messageBytes))
    }

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
        while context.channel.isWritable, !isStopping,
            let index = waiting.firstIndex(where: { mayBegin($0.work.kind) })
        {
            beginWaiting(index, context)
        }
        while hasRoom, context.channel.isWritable, !isStopping, let line = nextLine(context) {
            let memory = lineMemory
            lineMemory = nil
            // An empty line is no request, and does no harm.
            guard line.contains(where: { $0 > 0x20 }) else { continue }
            take(line, memory, context)
        }
        closeIfDone(context)
    }

    /// Has `line`, which has `memory`, taken apart, and begun once that may be.
    private func take(_ line: [UInt8], _ memory: TakenMemory?, _ context: ChannelHandlerContext) {
        let (size, isShort) = (line.count, line.count <= Workers.shortMessage)
        parsing.add(1, size)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        workers.prepare(line, of: session, on: context.eventLoop, notify: notify(context)) { work in
            let (connection, context) = bound.value
            connection.parsing.add(-1, -size)
            connection.take(Message(work: work, size: size, memory: memory), context)
            if !isShort {
                connection.takeLines(context)
                connection.readOn(context)
            }
        }
    }

    /// Begins `message`, or has it wait. The server ends: it is as if it had not come.
    private func take(_ message: Message, _ context: ChannelHandlerContext) {
        guard context.channel.isActive, !isStopping else { return }
        if mayBegin(message.work.kind) { return begin(message, context) }
        waiting.append(message)
        waitingLoad.add(message.work.count, message.size)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let (loop, work) = (context.eventLoop, message.work)
        work.whenCancelled {
            loop.execute {
                let (connection, context) = bound.value
                guard let index = connection.waiting.firstIndex(where: { $0.work === work }) else { return }
                connection.beginWaiting(index, context)
            }
        }
    }

    private func beginWaiting(_ index: Int, _ context: ChannelHandlerContext) {
        let message = waiting.remove(at: index)
        waitingLoad.add(-message.work.count, -message.size)
        begin(message, context)
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
        let work = MessageWork(.refused(error), of: session, by: workers, notify: nil)
        begin(Message(work: work, size: 0, memory: nil), context)
    }

    /// Sends the notifications of what is under way.
    private func notify(_ context: ChannelHandlerContext) -> @Sendable (String) -> Void {
        let loop = context.eventLoop
        let bound = NIOLoopBound((self, context), eventLoop: loop)
        return { line in
            loop.execute {
                let (connection, context) = bound.value
                // Who does not read need not be told how far it is.
                if context.channel.isActive, context.channel.isWritable { connection.send(line, [], context) }
            }
        }
    }

    /// Has `message` answered.
    private func begin(_ message: Message, _ context: ChannelHandlerContext) {
        let kind = message.work.kind
        underWay[kind, default: Load()].add(1, message.size)
        workers.answer(message.work, on: context.eventLoop).assumeIsolated().whenComplete { result in
            withExtendedLifetime(message.memory) {}
            self.underWay[kind, default: Load()].add(-1, -message.size)
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
        context.writeAndFlush(wrapOutboundOut(buffer)).assumeIsolated().whenComplete { result in
            withExtendedLifetime(memory) {}
            if case .failure(let error) = result, let fault = connectionFault(error) {
                self.session.record.noteEnding(fault)
            }
            self.unwritten -= 1
            self.session.server.countWaiting(-count)
            self.lastActivity = .now()
            self.closeIfDone(context)
        }
    }

    /// Closes the connection when all is answered, and no more can or is to come.
    private func closeIfDone(_ context: ChannelHandlerContext) {
        guard context.channel.isActive, !isWorking, unwritten == 0 else { return }
        if hasInputEnded {
            if isStopping || input.readableBytes == 0 { context.close(promise: nil) }
        } else if isStopping {
            session.noteAnswered()
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
