import Dispatch
import Glibc

/// Servers that run side by side, and end together: when one of them ends, or a signal arrives that ends them.
struct ServerGroup {
    private let sources: [any DispatchSourceSignal]
    private let signalled: AsyncStream<Never>

    /// From here on SIGTERM and SIGINT, and with `hangUp` SIGHUP, end the process no more: they end `run`, also one that has
    /// not begun. SIGHUP stays ignored if the process was started so, by nohup(1).
    init(hangUp: Bool) {
        let (signalled, continuation) = AsyncStream<Never>.makeStream()
        self.signalled = signalled
        var before = sigaction()
        // Safe: asks for the action of a signal, into a structure of ours.
        let isIgnored = unsafe sigaction(SIGHUP, nil, &before) == 0 && Self.ignores(before)
        sources = ([SIGTERM, SIGINT] + (hangUp && !isIgnored ? [SIGHUP] : [])).map { number in
            signalSource(number) { continuation.finish() }
        }
    }

    private static func ignores(_ action: sigaction) -> Bool {
        // Safe: SIG_IGN is a number in the place of a function, and only compared.
        unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
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
