import BlockImage
import Catalog
import JSON

/// What one message asks for, while it is done request by request. Used by one thread after another.
final class MessageWork: Sendable {
    private struct State {
        var answers: [String] = []
        var memory: [TakenMemory] = []
        var next = 0
        /// How many bytes the answer to the message may have yet.
        var left = ControlSession.answerLimit
        /// Whether an answer was longer than that, or there is no memory for more: those behind it are not even begun.
        var refusal: RPCError?
        /// The bytes of the answers, and how many of these there is memory for.
        var size = 0
        var charged = ControlState.smallAnswer
        var whenDone: (@Sendable (Workers.Answer?) -> Void)?
    }

    /// What it may have to wait for.
    enum Kind: Sendable {
        /// For nothing: it reads no image.
        case quick
        /// For images, but seconds at most.
        case bounded
        /// For images.
        case reading
    }

    private typealias Request = Result<PreparedRequest, RPCRequest.Refusal>

    private let requests: [(request: Request, running: RunningRequest?)]
    private let isBatch: Bool
    /// What it may have to wait for.
    let kind: Kind
    private let session: ControlSession
    private let workers: Workers
    /// As long as the answer may be, as far as it is one of the methods that say so.
    private let answerSize: Int
    private let state = Guarded(State())
    /// So much memory is taken at a time for answers of which it is not known before how long they are.
    private static let memoryStep = 64 << 10

    /// What `message` asks for; nothing of it is begun, but can be cancelled already.
    init(
        _ message: RPCMessage, of session: ControlSession, by workers: Workers, notify: (@Sendable (String) -> Void)?
    ) {
        let (found, isBatch) =
            switch message {
            case .single(let request): ([request], false)
            case .batch(let requests): (requests, true)
            }
        // What was sent besides is not kept while the requests wait.
        let made = found.map(PreparedRequest.make)
        requests = made.map { request in
            guard case .success(let known) = request, known.readsImages else { return (request, nil) }
            return (request, session.begin(known, notify: notify))
        }
        answerSize = made.reduce(0) { sum, request in
            guard case .success(let known) = request, known.readsImages else { return sum }
            return min(sum + min(known.answerSize, ControlSession.answerLimit), ControlSession.answerLimit)
        }
        self.isBatch = isBatch
        let reading = made.compactMap { request -> PreparedRequest? in
            guard case .success(let known) = request, known.readsImages else { return nil }
            return known
        }
        kind = reading.isEmpty ? .quick : reading.allSatisfy(\.isBounded) ? .bounded : .reading
        self.session = session
        self.workers = workers
    }

    /// How many requests it has.
    var count: Int { requests.count }

    /// Has `body` be called where it is a single request that is cancelled before it is begun.
    func whenCancelled(_ body: @escaping @Sendable () -> Void) {
        if !isBatch { requests.first?.running?.whenCancelled(body) }
    }

    /// Does all requests, one after the other, and then calls `whenDone` with the answer; nil where there is none to send.
    func begin(whenDone: @escaping @Sendable (Workers.Answer?) -> Void) {
        state.withLock { $0.whenDone = whenDone }
        goOn()
    }

    /// Calls `whenDone`.
    private func end(_ answer: Workers.Answer?) {
        state.withLock { $0.whenDone.take() }?(answer)
    }

    /// Does the requests from the next one on, up to one that another thread must do.
    private func goOn() {
        while let (request, running, left, refusal) = take() {
            guard !session.isOver else {
                for case (_, let running?) in requests { _ = session.end(running) }
                let memory = state.withLock { state in
                    defer { state = State(next: requests.count, whenDone: state.whenDone) }
                    return state.memory
                }
                withExtendedLifetime(memory) {}
                return end(nil)
            }
            guard case .success(let known) = request, refusal != nil || running != nil else {
                add(session.answer(request, limit: left))
                continue
            }
            if let error = refusal ?? (running?.isCancelled == true ? RunningRequest.cancelled : nil) {
                if let running { _ = session.end(running) }
                add(session.refuse(known, error))
            } else if let running {
                return begin(RequestTurn(known, running, for: known.images(in: session.server.catalog), limit: left))
            }
        }
        // Nothing refers to its memory any more but the answer, which gives it back.
        let (answers, memory) = state.withLock { state in
            defer { state = State(next: requests.count, whenDone: state.whenDone) }
            return (state.answers, state.memory)
        }
        guard let first = answers.first else { return end(nil) }
        let text = isBatch ? "[\(answers.joined(separator: ","))]" : first
        // Most answers are shorter than they may be.
        end(Workers.Answer(text: text, memory: text.utf8.count > ControlState.smallAnswer ? memory : []))
    }

    private static let full = RPCError(
        .answerTooLong, "the answers before it have as many bytes as are sent to one batch: ask for less of it")
    private static let noMemory = RPCError(
        .busy, "too many answers wait for clients who do not read them; ask again later")

    /// The next request, how long its answer may be, and why it is not to be begun.
    private func take() -> (Request, RunningRequest?, Int, RPCError?)? {
        state.withLock { state in
            guard state.next < requests.count else { return nil }
            defer { state.next += 1 }
            let (request, running) = requests[state.next]
            return (request, running, state.left, state.refusal)
        }
    }

    /// Has a thread of its image do the request, or answers it where it is cancelled before that is done.
    private func begin(_ turn: RequestTurn) {
        let isTaken = workers.run(turn.request, for: turn.images) { [self] in start(turn) }
        guard isTaken else { return finish(turn, session.refuse(turn.request, Workers.overloaded)) }
        turn.running.whenCancelled { [self] in
            finish(turn, session.refuse(turn.request, RunningRequest.cancelled))
        }
    }

    /// Answers the request, unless that was done, and goes on with the next.
    private func finish(_ turn: RequestTurn, _ answer: @autoclosure () -> ControlSession.Answer) {
        guard session.end(turn.running) else { return }
        turn.end()
        add(answer(), of: turn.request)
        goOn()
    }

    /// Does the request on a thread of its image, once there is memory for the answer.
    private func start(_ turn: RequestTurn) {
        guard !turn.running.isOver else { return }
        let size = UInt64(min(turn.request.answerSize, ControlSession.answerLimit))
        guard size > ControlState.smallAnswer else { return work(turn) }
        let shares = workers.shares(of: turn.images).map { (budget: $0, bytes: size) }
        guard state.withLock({ $0.memory.isEmpty }) else {
            // What has memory of all clients must not wait for others that wait for some.
            guard shares.allSatisfy({ turn.take($0.bytes, of: $0.budget) }) else {
                return finish(turn, session.refuse(turn.request, Workers.overloaded))
            }
            return work(turn)
        }
        // The memory of all answers to the message is taken once, before the first of them: two batches that had a part each
        // would wait for each other. Of what is the client's, then of the image's, then of what all share: few clients that
        // read nothing, and images that do not answer, must not have all of that.
        let all = UInt64(answerSize)
        takeMemory([(session.answers, all)] + shares + [(session.server.answers, all)], turn)
    }

    /// Takes memory of one of `budgets` after the other, and then does the request.
    private func takeMemory(_ budgets: [(budget: MemoryBudget, bytes: UInt64)], _ turn: RequestTurn) {
        for (index, next) in budgets.enumerated()
        where next.budget.isWaitedFor || !turn.take(next.bytes, of: next.budget) {
            return turn.wait(for: next.bytes, of: next.budget) { [self] in
                let isTaken = workers.run(turn.request, for: turn.images) { [self] in
                    guard !turn.running.isOver else { return }
                    takeMemory(Array(budgets[(index + 1)...]), turn)
                }
                if !isTaken { finish(turn, session.refuse(turn.request, Workers.overloaded)) }
            }
        }
        // The message has it from now on, but for that of the images.
        let kept = turn.release { $0 === session.answers || $0 === session.server.answers }
        let isKept = state.withLock { state in
            // What was cancelled meanwhile leaves it to the next request.
            guard !turn.running.isOver else { return false }
            state.memory += kept
            state.charged = answerSize
            return true
        }
        if isKept { work(turn) }
    }

    private func work(_ turn: RequestTurn) {
        let answer = session.answer(.success(turn.request), limit: turn.limit, running: turn.running)
        finish(turn, answer)
    }

    private func add(_ answer: ControlSession.Answer, of request: PreparedRequest? = nil) {
        guard var text = answer.text else { return }
        let missing = state.withLock { state in
            state.size += text.utf8.count
            return max(0, state.size - state.charged)
        }
        var memory: [TakenMemory] = []
        var refusal: RPCError?
        if missing > 0 {
            let bytes = (missing + Self.memoryStep - 1) / Self.memoryStep * Self.memoryStep
            memory = [session.unforeseen, session.server.answers].compactMap { TakenMemory(UInt64(bytes), of: $0) }
            if memory.count < 2 {
                memory = []
                refusal = Self.noMemory
                if let request { text = RPCAnswer.text(.failure(Self.noMemory), to: request.id ?? .null) }
            } else {
                state.withLock { $0.charged += bytes }
            }
        }
        let (made, held, why) = (text, memory, refusal)
        state.withLock { state in
            state.answers.append(made)
            state.memory += held
            guard isBatch else { return }
            state.left = max(0, state.left - made.utf8.count)
            state.refusal = state.refusal ?? why ?? (answer.isTooLong ? Self.full : nil)
        }
    }
}
