import BlockImage
import Catalog
import NIOCore

/// The threads that requests are done on. What reads an image is done on threads of that image, and what takes long apart
/// from what does not: an image that does not answer, and one that is checked for hours, delay no other answer.
/// What reads no image is answered at once.
final class Workers: Sendable {
    /// Longer messages are taken apart by other threads than the one that serves all connections.
    static let shortMessage = 4096

    private let parsers = KeyedThreads<ObjectIdentifier>(threadsPerKey: 1, threadLimit: 2)
    /// By the images that are read; none for lists, which wait for no request for an image.
    private let quick = KeyedThreads<[String]>(threadsPerKey: 4, threadLimit: 512)
    private let long = KeyedThreads<[String]>(threadsPerKey: 2, threadLimit: 16)
    /// The memory of answers that requests for each image may have while they are worked on: a quarter of what there is.
    private let shares = Guarded<[String: WeakBudget]>([:])

    private struct WeakBudget {
        weak var budget: MemoryBudget?
    }

    /// An answer, and what it takes of the memory that all clients share.
    struct Answer: Sendable {
        /// The line to send.
        var text: String
        /// To be held until it was sent.
        var memory: [TakenMemory]
    }

    /// Takes the message `bytes` of `session` apart, and hands what is to be done for it, and has not begun, to `body`: at
    /// once, or on `loop` once it is taken apart.
    func prepare(
        _ bytes: [UInt8], of session: ControlSession, on loop: any EventLoop, notify: (@Sendable (String) -> Void)?,
        _ body: @escaping @Sendable (MessageWork) -> Void
    ) {
        guard bytes.count > Self.shortMessage else {
            return body(MessageWork(RPCMessage(bytes), of: session, by: self, notify: notify))
        }
        let isTaken = parsers.run(for: ObjectIdentifier(session)) { [self] in
            let message = session.isOver ? .refused(Self.overloaded) : RPCMessage(bytes)
            let work = MessageWork(message, of: session, by: self, notify: notify)
            loop.execute { body(work) }
        }
        if !isTaken { body(MessageWork(.refused(Self.overloaded), of: session, by: self, notify: notify)) }
    }

    /// Begins `work`; nil where nothing is to be answered.
    func answer(_ work: MessageWork, on loop: any EventLoop) -> EventLoopFuture<Answer?> {
        let promise = loop.makePromise(of: Answer?.self)
        work.begin { answer in
            // Not at once: a client may send thousands of requests that are answered as soon as they are read.
            loop.execute { promise.succeed(answer) }
        }
        return promise.futureResult
    }

    /// Does `work` of a request for `images` where it is to be done; false where too much waits there.
    func run(_ request: PreparedRequest, for images: [String], _ work: @escaping @Sendable () -> Void) -> Bool {
        (request.takesLong ? long : quick).run(for: images, work)
    }

    /// What the requests for each of `images` may have of the memory for answers, always in the same order. Comparisons
    /// of two have memory of their own: those with an image that does not answer leave the other's to requests for that alone.
    func shares(of images: [String]) -> [MemoryBudget] {
        shares.withLock { shares in
            Set(images.count > 1 ? images.map { "\0\($0)" } : images).sorted().map { image in
                if let known = shares[image]?.budget { return known }
                if shares.count >= 1024 { shares = shares.filter { $0.value.budget != nil } }
                let budget = MemoryBudget(limit: ControlState.answerMemory / 4)
                shares[image] = WeakBudget(budget: budget)
                return budget
            }
        }
    }

    static let overloaded = RPCError(.busy, "too many requests wait for the image; ask again later")
}
