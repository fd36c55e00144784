import AccessLog
import ArgumentParser
import BlockImage
import Dispatch
import Glibc
import Logging
import Reports
import Sockets
import SystemPackage

/// What is said to a server of its logs.
struct LogOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Log connections, users, exports, refusals and ends, a line each, to this file or to standard output (-), as \
            JSON with --output json. SIGHUP has the file opened anew.
            """, valueName: "file|-"),
        completion: .file())
    var accessLog: String?
    @Flag(name: .shortAndLong, help: "Log the same for people, on standard error.") var verbose = false

    /// Begins the logs. Throws where the file cannot be written to.
    func begin(_ output: OutputForm) throws(ImageError) -> ServerLogs {
        let messages = LineQueue(to: .standardError, "standard error") { lost in
            "rblock: \(counted(lost, "message")) lost, which standard error did not take\n"
        }
        var logger = Logger(label: "rblock") { program in
            StandardErrorLog(of: program) { line in messages.add { line } }
        }
        logger.logLevel = verbose ? .info : .notice
        var queues = [messages]
        var outputs: [@Sendable (AccessEvent) -> Void] = []
        if verbose {
            outputs.append { [logger] event in logger.info("\(event.text)") }
        }
        var hangUp: (any DispatchSourceSignal)?
        if let accessLog {
            let line: @Sendable (AccessEvent) -> String = { event in
                output == .human ? "\(event.time) \(event.text)\n" : ((try? jsonLine(event)) ?? "{}") + "\n"
            }
            let lost: @Sendable (UInt64) -> String = { line(.lost($0)) }
            let queue =
                accessLog == "-"
                ? LineQueue(to: .standardOutput, "standard output", lost: lost)
                : try LineQueue(appendingTo: accessLog, lost: lost)
            if accessLog != "-" { hangUp = Self.reopening(queue) }
            queues.append(queue)
            outputs.append { event in queue.add { line(event) } }
        }
        return ServerLogs(logger: logger, access: AccessLog(to: outputs), queues: queues, hangUp: hangUp)
    }

    /// Has `queue` open its file anew on SIGHUP, as logrotate(8) has programs do it.
    private static func reopening(_ queue: LineQueue) -> any DispatchSourceSignal {
        signalSource(SIGHUP) { queue.reopen() }
    }
}

/// The logs of a server: what an operator should know, and what happens on connections.
struct ServerLogs {
    let logger: Logger
    let access: AccessLog
    fileprivate let queues: [LineQueue]
    fileprivate let hangUp: (any DispatchSourceSignal)?

    /// Whether SIGHUP has a file opened anew.
    var reopens: Bool { hangUp != nil }

    /// Writes what is not written yet.
    func finish() {
        access.noteLoss()
        for queue in queues { queue.finish() }
    }
}
