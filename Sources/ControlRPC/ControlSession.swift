import AccessLog
import BlockImage
import Catalog
import JSON

/// What one client has asked for: the protocol, without the connection. Every method may be called from any thread.
final class ControlSession: Sendable {
    /// The most bytes of one answer, or of the answers to one batch.
    static let answerLimit = 8 << 20
    /// The most disks that one client may hold open.
    private static let openLimit = 64

    private struct State {
        var exports: [ExactName: Export] = [:]
        /// What was taken and is not answered yet, by its id.
        var running: [JSON: [ObjectIdentifier: RunningRequest]] = [:]
        var isOver = false
        var isAnswered = false
    }

    let server: ControlState
    /// Whether the client is on this host for certain, and of the user who started the server: over a Unix socket, or
    /// standard input. Only such a one may end the server.
    let isLocal: Bool
    /// What is logged of it.
    let record: ConnectionRecord
    /// What this client may have of the server's memory for answers: the longest one, or several that are shorter.
    let answers = MemoryBudget(limit: answerLimit)
    /// The same for answers of which it is not known before how long they are.
    let unforeseen = MemoryBudget(limit: answerLimit)
    private let state = Guarded(State())

    init(of server: ControlState, isLocal: Bool, _ record: ConnectionRecord) {
        self.server = server
        self.isLocal = isLocal
        self.record = record
    }

    /// What comes of a request.
    struct Answer {
        /// The line to send, or the part of one; nil where nothing is to be answered.
        var text: String?
        /// Whether there was more to say than may be sent.
        var isTooLong = false
    }

    /// Whether no request of the client is being answered, no answer is unread, and no more input is to come.
    var isAnswered: Bool { state.withLock { $0.isAnswered } }

    /// The server ends, and the connection is only there until the client closes it.
    func noteAnswered() {
        state.withLock { $0.isAnswered = true }
    }

    /// Whether the client is gone.
    var isOver: Bool { state.withLock { $0.isOver } }

    /// Does what `request` asks for, which may take long where it reads images. The answer has at most `limit` bytes;
    /// `running`: what was begun for it, where that was.
    func answer(
        _ request: Result<PreparedRequest, RPCRequest.Refusal>, limit: Int = answerLimit, running: RunningRequest? = nil
    ) -> Answer {
        switch request {
        case .failure(let refusal):
            server.count(nil, failed: true)
            record.count(requests: 1)
            record.noteRefusal(refusal.error.message)
            return Answer(text: RPCAnswer.text(.failure(refusal.error), to: refusal.id))
        case .success(let request):
            let running = running ?? RunningRequest(id: request.id, notify: nil)
            if isOver { running.cancel() }
            var result = result(of: request, running)
            if case .success(let text) = result, text.utf8.count > limit {
                result = .failure(
                    RPCError(
                        .answerTooLong,
                        "the answer has \(text.utf8.count) bytes, and at most \(limit) are sent: ask for less of it"))
            }
            return finish(request, result, isCounted: !running.isOver)
        }
    }

    /// Answers `request` with `error`, and does nothing.
    func refuse(_ request: PreparedRequest, _ error: RPCError) -> Answer { finish(request, .failure(error)) }

    private func finish(
        _ request: PreparedRequest, _ result: Result<String, RPCError>, isCounted: Bool = true
    ) -> Answer {
        var error: RPCError?
        if case .failure(let found) = result { error = found }
        if isCounted {
            server.count(request.method?.name, failed: error != nil)
            record.count(requests: 1)
        }
        return Answer(
            text: request.id.map { RPCAnswer.text(result, to: $0) }, isTooLong: error?.code == .answerTooLong)
    }

    private func result(of request: PreparedRequest, _ running: RunningRequest) -> Result<String, RPCError> {
        do {
            let (method, arguments) = try request.call.get()
            // What reads no image has a short answer, and may be what ends the others.
            guard !method.readsImages || server.figures.waitingBytes <= ControlState.waitingLimit else {
                throw RPCError(.busy, "too many answers wait for clients who do not read them; ask again later")
            }
            try running.checkWanted()
            let isCancelled: @Sendable () -> Bool = { running.isCancelled }
            let text = try ReadScope.cancelled(when: isCancelled) {
                try method.work(Call(arguments: arguments, session: self, request: running))
            }
            try running.checkWanted()
            return .success(text)
        } catch let error as RPCError {
            return .failure(error)
        } catch let error as ImageError {
            if running.isCancelled { return .failure(RunningRequest.cancelled) }
            return .failure(RPCError(error, naming: server.catalog.paths))
        } catch {
            return .failure(RPCError(.internalError, "the answer could not be written as JSON"))
        }
    }

    /// Takes `request`, which reads images: it can be cancelled from now on. Where the client is gone, it is at once.
    func begin(_ request: PreparedRequest, notify: (@Sendable (String) -> Void)?) -> RunningRequest {
        var isTold = false
        if let (method, arguments) = try? request.call.get() {
            isTold = method.isLong && !arguments.flag(Method.quiet)
        }
        let running = RunningRequest(id: request.id, notify: isTold ? notify : nil)
        let isOver = state.withLock { state in
            if !state.isOver { state.running[request.id ?? .null, default: [:]][ObjectIdentifier(running)] = running }
            return state.isOver
        }
        if isOver { running.cancel() }
        return running
    }

    /// The request is answered; false where it was before.
    func end(_ request: RunningRequest) -> Bool {
        guard request.end() else { return false }
        state.withLock { state in
            let id = request.id ?? .null
            state.running[id]?[ObjectIdentifier(request)] = nil
            if state.running[id]?.isEmpty == true { state.running[id] = nil }
        }
        return true
    }

    /// Ends what is under way under `id`; answers whether there was something.
    func cancel(_ id: JSON) -> Bool {
        let found = state.withLock { Array(($0.running[id] ?? [:]).values) }
        for request in found { request.cancel() }
        return !found.isEmpty
    }

    /// The client is gone, or the server ends: what is under way is of no more use, and nothing stays open.
    func end() {
        let running = state.withLock { state in
            state.isOver = true
            state.exports = [:]
            defer { state.running = [:] }
            return state.running.values.flatMap(\.values)
        }
        for request in running { request.cancel() }
    }
}

extension ControlSession {
    /// The disk called `name`, empty for the only one: as the client has it open, or as it is now.
    func export(_ name: String) throws(RPCError) -> Export {
        if let known = state.withLock({ $0.exports[ExactName(name)] }) { return known }
        do throws(ImageError) {
            return try server.catalog.open(name)
        } catch {
            if ExportCatalog.isAboutName(error) {
                record.noteUnknownExport(name, error.detail.text(naming: server.catalog.paths))
            }
            throw self.error(error)
        }
    }

    /// Holds the disk called `name` open as it is now.
    func open(_ name: String) throws(RPCError) -> Export {
        let export: Export
        do throws(ImageError) {
            export = try server.catalog.open(name)
        } catch {
            throw self.error(error)
        }
        let isHeld = state.withLock { state in
            guard !state.isOver, state.exports.count < Self.openLimit || state.exports[ExactName(export.name)] != nil
            else {
                return false
            }
            state.exports[ExactName(export.name)] = export
            return true
        }
        guard isHeld else {
            throw RPCError(.busy, "\(Self.openLimit) disks are open already, which is the most; close one")
        }
        return export
    }

    /// Holds the disk called `name` open no more; empty: every disk. Answers how many that were.
    func close(_ name: String) -> Int {
        state.withLock { state in
            let count = state.exports.count
            if name.isEmpty { state.exports = [:] } else { state.exports[ExactName(name)] = nil }
            return count - state.exports.count
        }
    }

    /// Why the catalog has no such disk.
    func error(_ error: ImageError) -> RPCError {
        var told = RPCError(error, naming: server.catalog.paths)
        if ExportCatalog.isAboutName(error) { told.code = .noSuchImage }
        return told
    }
}
