import BlockImage
import ImageTools
import NIOCore

/// The threads that requests are done on. What reads an image is done on threads of that image, and what takes long apart
/// from what does not: an image that does not answer, and one that is checked for hours, delay no other answer.
/// What reads no image is answered at once.
struct Workers: Sendable {
    /// Longer messages are taken apart by other threads than the one that serves all connections.
    private static let shortMessage = 4096

    private let parsers = KeyedThreads<ObjectIdentifier>(threadsPerKey: 1, threadLimit: 2)
    private let quick = KeyedThreads<String>(threadsPerKey: 4, threadLimit: 512)
    private let long = KeyedThreads<String>(threadsPerKey: 2, threadLimit: 16)

    /// An answer, and what it takes of the memory that all clients share.
    struct Answer: Sendable {
        /// The line to send.
        var text: String
        /// To be held until it was sent.
        var memory: [TakenMemory]
    }

    /// Has `session` do what the message `bytes` asks for; nil where nothing is to be answered.
    func answer(
        line bytes: [UInt8], of session: ControlSession, on loop: any EventLoop, notify: (@Sendable (String) -> Void)?
    ) -> EventLoopFuture<Answer?> {
        guard bytes.count > Self.shortMessage else {
            return answer(RPCMessage(bytes), of: session, on: loop, notify: notify)
        }
        let promise = loop.makePromise(of: Answer?.self)
        let isTaken = parsers.run(for: ObjectIdentifier(session)) { [self] in
            guard !session.isOver else { return promise.succeed(nil) }
            answer(RPCMessage(bytes), of: session, on: loop, notify: notify).cascade(to: promise)
        }
        if !isTaken { promise.succeed(Answer(text: RPCAnswer.text(.failure(Self.overloaded), to: .null), memory: [])) }
        return promise.futureResult
    }

    /// The same of a message that was taken apart.
    func answer(
        _ message: RPCMessage, of session: ControlSession, on loop: any EventLoop, notify: (@Sendable (String) -> Void)?
    ) -> EventLoopFuture<Answer?> {
        let promise = loop.makePromise(of: Answer?.self)
        let work = MessageWork(message, of: session, by: self, notify: notify) { answer in
            // Not at once: a client may send thousands of requests that are answered as soon as they are read.
            loop.execute { promise.succeed(answer) }
        }
        work.goOn()
        return promise.futureResult
    }

    /// Does `work` of `request` where it is to be done; false where too much waits there.
    func run(_ request: PreparedRequest, _ work: @escaping @Sendable () -> Void) -> Bool {
        (request.takesLong ? long : quick).run(for: request.key, work)
    }

    static let overloaded = RPCError(.busy, "too many requests wait for the image; ask again later")
}

/// What one message asks for, while it is done request by request. Used by one thread after another.
private final class MessageWork: Sendable {
    private struct State {
        var answers: [String] = []
        var memory: [TakenMemory] = []
        var next = 0
        /// How many bytes the answer to the message may have yet.
        var left = ControlSession.answerLimit
        /// Whether an answer was longer than that: those behind it are not even begun.
        var isFull = false
    }

    private let requests: [Result<PreparedRequest, RPCRequest.Refusal>]
    private let isBatch: Bool
    private let session: ControlSession
    private let workers: Workers
    private let notify: (@Sendable (String) -> Void)?
    private let whenDone: @Sendable (Workers.Answer?) -> Void
    /// As long as the answer may be, as far as it is one of the methods that say so.
    private let answerSize: Int
    private let state = Guarded(State())

    init(
        _ message: RPCMessage, of session: ControlSession, by workers: Workers, notify: (@Sendable (String) -> Void)?,
        whenDone: @escaping @Sendable (Workers.Answer?) -> Void
    ) {
        let (found, isBatch) =
            switch message {
            case .single(let request): ([request], false)
            case .batch(let requests): (requests, true)
            }
        // What was sent besides is not kept while the requests wait.
        let made = found.map(PreparedRequest.make)
        requests = made
        answerSize = made.reduce(0) { sum, request in
            guard case .success(let known) = request, known.readsImages else { return sum }
            return min(sum + min(known.answerSize, ControlSession.answerLimit), ControlSession.answerLimit)
        }
        self.isBatch = isBatch
        self.session = session
        self.workers = workers
        self.notify = notify
        self.whenDone = whenDone
    }

    /// Does the requests from the next one on, up to one that another thread must do.
    func goOn() {
        while let (request, left, isFull) = take() {
            guard !session.isOver else { return whenDone(nil) }
            guard case .success(let known) = request else {
                add(session.answer(request, limit: left, notify: nil))
                continue
            }
            if isFull {
                add(session.refuse(known, Self.full))
            } else if known.readsImages {
                return begin(known, left)
            } else {
                add(session.answer(request, limit: left, notify: notify))
            }
        }
        // Nothing refers to its memory any more but the answer, which gives it back.
        let (answers, memory) = state.withLock { state in
            defer { state = State() }
            return (state.answers, state.memory)
        }
        guard let first = answers.first else { return whenDone(nil) }
        let text = isBatch ? "[\(answers.joined(separator: ","))]" : first
        // Most answers are shorter than they may be.
        whenDone(Workers.Answer(text: text, memory: text.utf8.count > ControlState.smallAnswer ? memory : []))
    }

    private static let full = RPCError(
        .answerTooLong, "the answers before it have as many bytes as are sent to one batch: ask for less of it")
    private static let noMemory = RPCError(
        .busy, "too many answers wait for clients who do not read them; ask again later")

    /// The next request, how long its answer may be, and whether none may come any more.
    private func take() -> (Result<PreparedRequest, RPCRequest.Refusal>, Int, Bool)? {
        state.withLock { state in
            guard state.next < requests.count else { return nil }
            defer { state.next += 1 }
            return (requests[state.next], state.left, state.isFull)
        }
    }

    /// Takes the memory of all answers to the message, once, before the first of them: two batches that had a part each would
    /// wait for each other. False: there is none now, and `body` is called when there may be some.
    private func takeMemory(orCall body: @escaping @Sendable () -> Void) -> Bool {
        guard answerSize > ControlState.smallAnswer, state.withLock({ $0.memory.isEmpty }) else { return true }
        var memory: [TakenMemory] = []
        // Of what is the client's, then of what all share: few clients that read nothing must not have all of that.
        for budget in [session.answers, session.server.answers] {
            guard let taken = TakenMemory(UInt64(answerSize), of: budget) else {
                memory = []
                budget.whenGivenBack(body)
                return false
            }
            memory.append(taken)
        }
        let taken = memory
        state.withLock { $0.memory = taken }
        session.answers.callNext()
        session.server.answers.callNext()
        return true
    }

    /// Has a thread of its image do `request`, once there is memory for the answer.
    private func begin(_ request: PreparedRequest, _ left: Int) {
        guard takeMemory(orCall: { [self] in begin(request, left) }) else { return }
        let isTaken = workers.run(request) { [self] in
            add(session.answer(.success(request), limit: left, notify: notify), of: request)
            goOn()
        }
        guard !isTaken else { return }
        add(session.refuse(request, Workers.overloaded))
        goOn()
    }

    private func add(_ answer: ControlSession.Answer, of request: PreparedRequest? = nil) {
        guard var text = answer.text else { return }
        var memory: TakenMemory?
        if text.utf8.count > ControlState.smallAnswer, state.withLock({ $0.memory.isEmpty }) {
            memory = TakenMemory(UInt64(text.utf8.count), of: session.server.answers)
            if memory == nil { text = RPCAnswer.text(.failure(Self.noMemory), to: request?.id ?? .null) }
        }
        let (made, held) = (text, memory)
        state.withLock { state in
            state.answers.append(made)
            if let held { state.memory.append(held) }
            if isBatch {
                state.left = max(0, state.left - made.utf8.count)
                state.isFull = state.isFull || answer.isTooLong
            }
        }
    }
}
