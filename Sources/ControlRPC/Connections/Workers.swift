import NIOCore
import NIOPosix

/// The threads that images are read on: what takes long has its own, so that it keeps nobody from a quick answer.
struct Workers: Sendable {
    private let quick = NIOThreadPool(numberOfThreads: 4)
    private let long = NIOThreadPool(numberOfThreads: 4)

    func start() {
        quick.start()
        long.start()
    }

    /// Begins nothing any more. What is under way goes on.
    func stop() {
        for pool in [quick, long] { pool.shutdownGracefully { _ in } }
    }

    /// Has `session` do what `message` asks for; the answer is the line to send, nil where there is none.
    func answer(
        _ message: RPCMessage, of session: ControlSession, on loop: any EventLoop,
        notify: (@Sendable (String) -> Void)?
    ) -> EventLoopFuture<String?> {
        let pool = message.isLong ? long : quick
        return pool.runIfActive(eventLoop: loop) { session.answer(message, notify: notify) }
    }
}

extension RPCMessage {
    /// Whether a method is called that may take minutes.
    fileprivate var isLong: Bool {
        let requests =
            switch self {
            case .single(let request): [request]
            case .batch(let requests): requests
            }
        return requests.contains { (try? $0.get()).flatMap { Method.named($0.method) }?.isLong ?? false }
    }
}
