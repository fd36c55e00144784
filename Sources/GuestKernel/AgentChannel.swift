import BlockImage
import ByteFormat
import Glibc
import GuestProtocol
import SystemPackage

/// The agent of a machine: it is asked, and answers, one request at a time. Once it did not, or not as it must, the machine is ended, and
/// every request fails. May be used from any thread.
final class AgentChannel: Sendable {
    /// How long a request may take. The slowest that was seen is a mount that replays a large journal.
    private let patience: Duration

    private struct State {
        var failure: ImageError?
        /// What is to be closed there.
        var released: [GuestHandle] = []
    }

    private let socket: MachineSocket
    let process: MachineProcess
    let faults: DiskFaults
    private let state = Guarded(State())

    init(
        _ socket: MachineSocket, _ process: MachineProcess, _ faults: DiskFaults, patience: Duration = .seconds(120)
    ) {
        (self.socket, self.process, self.faults, self.patience) = (socket, process, faults, patience)
    }

    /// What the agent says first. `patience`: how long that may take, where not as long as a request.
    func hello(within patience: Duration? = nil) throws(ImageError) -> GuestHello {
        try state.withLock { state throws(ImageError) in
            try guarding(&state) { () throws(ImageError) in
                let content = try receive(until: .now + (patience ?? self.patience))
                let hello = try Self.decode { () throws(ParseFault) in try GuestHello(decoding: content) }
                guard hello.version == GuestProtocol.version else {
                    throw ImageError(
                        .unsupported, about: .named("rblock-guest"),
                        "speaks version \(hello.version) of its protocol, and this program \(GuestProtocol.version)",
                        hint: "both must be of one package; \(MachinePrograms.variable) names another one")
                }
                return hello
            }
        }
    }

    /// What it answers to `request`.
    func exchange(_ request: GuestRequest) throws(ImageError) -> GuestReply {
        try state.withLock { state throws(ImageError) in
            if let failure = state.failure { throw failure }
            let released = state.released
            state.released = []
            return try guarding(&state) { () throws(ImageError) in
                if !released.isEmpty { _ = try roundTrip(.close(released)) }
                return try roundTrip(request)
            }
        }
    }

    /// Has `handle` be closed, with the next request. Waits for nothing but a request that is under way.
    func release(_ handle: GuestHandle) {
        state.withLock { $0.released.append(handle) }
    }

    /// Ends all for good: every request fails with `error` from now on, if it has not failed with another before.
    func end(_ error: ImageError) {
        state.withLock { $0.failure = $0.failure ?? error }
    }

    private func roundTrip(_ request: GuestRequest) throws(ImageError) -> GuestReply {
        let deadline = ContinuousClock.now + patience
        try socket.send(request.frame(), until: deadline)
        let content = try receive(until: deadline)
        return try Self.decode { () throws(ParseFault) in try GuestReply(decoding: content) }
    }

    private func receive(until deadline: ContinuousClock.Instant) throws(ImageError) -> [UInt8] {
        let head = try socket.receive(4, until: deadline)
        let size = try Self.decode { () throws(ParseFault) in try GuestProtocol.frameSize(head) }
        return try socket.receive(size, until: deadline)
    }

    private static func decode<Value>(_ body: () throws(ParseFault) -> Value) throws(ImageError) -> Value {
        do throws(ParseFault) {
            return try body()
        } catch {
            throw ImageError(
                .corrupt, about: .named("rblock-guest"),
                "what comes from the machine is no message: at \(error.position): \(error.message)")
        }
    }

    /// Does `body`; where it throws, the machine is ended.
    private func guarding<Value>(
        _ state: inout State, _ body: () throws(ImageError) -> Value
    ) throws(ImageError) -> Value {
        do throws(ImageError) {
            return try body()
        } catch {
            let failure = explained(error)
            state.failure = failure
            process.kill()
            throw failure
        }
    }

    /// The error, with what the console of the machine said last where it ended.
    private func explained(_ error: ImageError) -> ImageError {
        guard case .system = error.code else { return error }
        // It may be about to end.
        _ = process.waitForEnd(seconds: 2)
        var error = error
        if process.status != nil { error.detail = "the machine has ended" }
        let lines = process.lastLines(4)
        if !lines.isEmpty { error.detail += "; it said last: \(quoting: lines.joined(separator: " / "))" }
        if let fault = faults.error { error.detail += "; its disk: \(fault)" }
        return error
    }
}
