import BlockImage
import ImageTools

/// What one client has asked for: the protocol, without the connection. Every method may be called from any thread.
final class ControlSession: Sendable {
    /// The most bytes of one answer, or of the answers to one batch.
    static let answerLimit = 8 << 20
    /// The most disks that one client may hold open.
    private static let openLimit = 64

    private struct State {
        var exports: [ExactName: Export] = [:]
        var running: [RunningRequest] = []
        var isOver = false
    }

    let server: ControlState
    /// Whether the client is on this host for certain, and of the user who started the server: over a Unix socket, or
    /// standard input. Only such a one may end the server.
    let isLocal: Bool
    private let state = Guarded(State())

    init(of server: ControlState, isLocal: Bool) {
        self.server = server
        self.isLocal = isLocal
    }

    /// Does what `message` asks for, which may take long, and answers the line to send; nil where nothing is to be
    /// answered. `notify` sends a line before that.
    func answer(_ message: RPCMessage, notify: (@Sendable (String) -> Void)?) -> String? {
        switch message {
        case .single(let request): return answer(request, notify: notify)
        case .batch(let requests):
            var answers: [String] = []
            var left = Self.answerLimit
            for request in requests {
                guard let text = answer(request, limit: left, notify: notify) else { continue }
                answers.append(text)
                left = max(0, left - text.utf8.count)
            }
            return answers.isEmpty ? nil : "[\(answers.joined(separator: ","))]"
        }
    }

    private func answer(
        _ request: Result<RPCRequest, RPCRequest.Refusal>, limit: Int = answerLimit,
        notify: (@Sendable (String) -> Void)?
    ) -> String? {
        switch request {
        case .failure(let refusal):
            server.count(nil, failed: true)
            return RPCAnswer.text(.failure(refusal.error), to: refusal.id)
        case .success(let request):
            var result = result(of: request, notify: notify)
            if case .success(let text) = result, text.utf8.count > limit {
                result = .failure(
                    RPCError(
                        .answerTooLong,
                        "the answer has \(text.utf8.count) bytes, and at most \(limit) are sent: ask for less of it"))
            }
            var failed = false
            if case .failure = result { failed = true }
            server.count(Method.named(request.method)?.name, failed: failed)
            return request.id.map { RPCAnswer.text(result, to: $0) }
        }
    }

    private func result(
        of request: RPCRequest, notify: (@Sendable (String) -> Void)?
    ) -> Result<String, RPCError> {
        do {
            guard let method = Method.named(request.method) else {
                throw RPCError(
                    .methodNotFound,
                    "there is no method \(JSON.string(String(request.method.prefix(40))).text); rpc.discover tells of "
                        + "those that there are")
            }
            guard server.figures.waitingBytes <= ControlState.waitingLimit else {
                throw RPCError(.busy, "too many answers wait for clients who do not read them; ask again later")
            }
            let arguments = try Arguments(request.params, for: method.allParameters)
            let isTold = method.isLong && !arguments.flag(Method.quiet)
            let running = RunningRequest(id: request.id, notify: isTold ? notify : nil)
            begin(running)
            defer { end(running) }
            try running.checkWanted()
            return .success(try method.work(Call(arguments: arguments, session: self, request: running)))
        } catch let error as RPCError {
            return .failure(error)
        } catch let error as ImageError {
            return .failure(RPCError(error))
        } catch {
            return .failure(RPCError(.internalError, "the answer could not be written: \(error)"))
        }
    }

    /// The request is worked on from now on; where the client is gone, it is cancelled.
    func begin(_ request: RunningRequest) {
        state.withLock { state in
            state.running.append(request)
            if state.isOver { request.cancel() }
        }
    }

    private func end(_ request: RunningRequest) {
        state.withLock { state in state.running.removeAll { $0 === request } }
    }

    /// Ends what is under way under `id`; answers whether there was something.
    func cancel(_ id: JSON) -> Bool {
        let found = state.withLock { $0.running.filter { $0.id == id } }
        for request in found { request.cancel() }
        return !found.isEmpty
    }

    /// The client is gone, or the server ends: what is under way is of no more use, and nothing stays open.
    func end() {
        let running = state.withLock { state in
            state.isOver = true
            state.exports = [:]
            return state.running
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
            throw Self.error(error)
        }
    }

    /// Holds the disk called `name` open as it is now.
    func open(_ name: String) throws(RPCError) -> Export {
        let export: Export
        do throws(ImageError) {
            export = try server.catalog.open(name)
        } catch {
            throw Self.error(error)
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
    static func error(_ error: ImageError) -> RPCError {
        var told = RPCError(error)
        if ExportCatalog.isAboutName(error) { told.code = .noSuchImage }
        return told
    }
}
