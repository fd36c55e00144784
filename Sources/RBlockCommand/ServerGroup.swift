import Dispatch
import Glibc

/// Servers that run side by side, and end together: when one of them ends, or SIGTERM or SIGINT arrives.
struct ServerGroup {
    private let sources: [any DispatchSourceSignal]
    private let signalled: AsyncStream<Never>

    /// From here on the two signals end the process no more: they end `run`, also one that has not begun.
    init() {
        let (signalled, continuation) = AsyncStream<Never>.makeStream()
        self.signalled = signalled
        sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.finish() }
            source.activate()
            return source
        }
    }

    /// Runs `servers`, each in a task that is cancelled to end it, and returns when all have ended. Throws what the first
    /// that failed threw.
    func run(_ servers: [@Sendable () async throws -> Void]) async throws {
        defer { for source in sources { source.cancel() } }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for server in servers { group.addTask(operation: server) }
            group.addTask { [signalled] in for await _ in signalled {} }
            try await group.next()
            group.cancelAll()
            try await group.waitForAll()
        }
    }
}
