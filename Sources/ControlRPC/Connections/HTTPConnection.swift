import AccessLog
import BlockImage
import Catalog
import JSON
import NIOCore
import NIOHTTP1

/// A connection on which every HTTP POST has a request, or a batch of them, as its body. The requests of one connection
/// are answered in order, as HTTP wants it, without progress.
final class HTTPConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let session: ControlSession
    private let workers: Workers
    private var head: HTTPRequestHead?
    private var body = ByteBuffer()
    /// Why the request is refused.
    private var refusal: HTTPResponseStatus?
    private var isWorking = false
    /// The memory of a body that is not short.
    private var bodyMemory: TakenMemory?

    init(_ session: ControlSession, _ workers: Workers) {
        self.session = session
        self.workers = workers
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            body.clear()
            refusal = Self.refusal(of: head)
        case .body(var part):
            guard refusal == nil else { return }
            if body.readableBytes + part.readableBytes > LineConnection.lineLimit {
                refusal = .payloadTooLarge
                return body.clear()
            }
            if bodyMemory == nil, body.readableBytes + part.readableBytes > ControlState.smallMessage {
                bodyMemory = TakenMemory(UInt64(LineConnection.lineLimit), of: session.server.messages)
                guard bodyMemory != nil else {
                    refusal = .serviceUnavailable
                    return body.clear()
                }
            }
            body.writeBuffer(&part)
        case .end: answer(context)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        // A client of HTTP that is there keeps its side open: what is under way for one that went is of no more use.
        case ChannelEvent.inputClosed:
            let isAmid = isWorking || head != nil
            session.record.noteEnding(
                isAmid ? "the client closed the connection in the middle of a request" : nil, orderly: !isAmid)
            context.close(promise: nil)
        // Nothing comes, or nothing is taken.
        case is IdleStateHandler.IdleStateEvent where !isWorking:
            session.record.noteEnding("nothing has come, or was taken, for too long")
            context.close(promise: nil)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if error is HTTPParserError {
            session.record.noteRefusal("what the client sent is neither JSON nor HTTP (400)")
            session.record.noteEnding("refused")
        } else if let fault = connectionFault(error) {
            session.record.noteEnding(fault)
        }
        context.close(promise: nil)
    }

    /// Web pages can have a browser send requests to this host: such a request says where the page is from, and cannot say
    /// that it is JSON without asking first.
    private static func refusal(of head: HTTPRequestHead) -> HTTPResponseStatus? {
        if head.method != .POST { return .methodNotAllowed }
        if head.headers.contains(name: "Origin") { return .forbidden }
        let type = head.headers.first(name: "Content-Type")?.split(separator: ";").first
        return type?.lowercased() == "application/json" ? nil : .unsupportedMediaType
    }

    /// Why a request is refused, for the log.
    private static func words(for refusal: HTTPResponseStatus, _ head: HTTPRequestHead?) -> String {
        let reason =
            switch refusal {
            case .methodNotAllowed: "HTTP \(head?.method.rawValue ?? ""), where requests are sent by POST"
            case .forbidden: "HTTP of a web page of \(head?.headers.first(name: "Origin") ?? "")"
            case .unsupportedMediaType: "HTTP with a body that is not called application/json"
            case .payloadTooLarge: "HTTP with a body of more than \(LineConnection.lineLimit) bytes"
            default: "HTTP while the memory for requests is used up"
            }
        return "\(reason) (\(refusal.code))"
    }

    private func answer(_ context: ChannelHandlerContext) {
        let isKept = head?.isKeepAlive ?? false
        if let refusal {
            session.record.noteRefusal(Self.words(for: refusal, head))
            session.record.noteEnding("refused")
            return respond(refusal, "", isKept: false, context)
        }
        let line = Array(body.readableBytesView)
        let memory = bodyMemory
        bodyMemory = nil
        body = ByteBuffer()
        isWorking = true
        let connection = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        workers.prepare(line, of: session, on: context.eventLoop, notify: nil) { [workers] work in
            let (connection, context) = connection.value
            workers.answer(work, on: context.eventLoop).assumeIsolated().whenComplete { result in
                withExtendedLifetime(memory) {}
                connection.isWorking = false
                guard context.channel.isActive else { return }
                switch result {
                case .success(let answer?):
                    connection.respond(.ok, answer.text + "\n", isKept: isKept, context, answer.memory)
                case .success(nil): connection.respond(.noContent, "", isKept: isKept, context)
                case .failure: context.close(promise: nil)
                }
            }
        }
    }

    private func respond(
        _ status: HTTPResponseStatus, _ text: String, isKept: Bool, _ context: ChannelHandlerContext,
        _ memory: [TakenMemory] = []
    ) {
        head = nil
        var headers = HTTPHeaders()
        if status == .methodNotAllowed { headers.add(name: "Allow", value: "POST") }
        if !text.isEmpty { headers.add(name: "Content-Type", value: "application/json") }
        if status != .noContent { headers.add(name: "Content-Length", value: "\(text.utf8.count)") }
        if !isKept { headers.add(name: "Connection", value: "close") }
        let buffer = context.channel.allocator.buffer(string: text)
        let count = buffer.readableBytes
        session.server.countWaiting(count)
        context.write(
            wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: status, headers: headers))), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil))).assumeIsolated().whenComplete { _ in
            withExtendedLifetime(memory) {}
            self.session.server.countWaiting(-count)
            if !isKept { context.close(promise: nil) }
        }
    }
}
