import ArgumentParser
import BlockImage
import Reports
import SystemPackage

/// Why a verb could not be done: one line for people, and the exit status.
struct Failure: Error {
    var status: Int32 = 1
    var message: String

    init(_ message: String, status: Int32 = 1) {
        self.message = message
        self.status = status
    }

    init(_ error: ImageError, status: Int32 = 1) {
        self.init(error.description, status: status)
    }

    /// Does `work`; where that fails, says why on standard error, and ends with the failure's status. As JSON, a document
    /// about `filename` says it as well, unless `work` has printed one.
    static func reported(
        as output: OutputForm = .human, filename: String? = nil, status: Int32 = 1, _ work: () throws -> Void
    ) throws {
        do {
            try work()
        } catch let error as Failure {
            say(error.message)
            let reason: FailureReport.Reason = error.status == 64 ? .usage(error.message) : .other(error.message)
            if output == .json { try? write(FailureReport(filename: filename, reason)) }
            throw ExitCode(error.status)
        } catch let error as ImageError {
            say(error.description)
            if output == .json { try? write(FailureReport(filename: filename, .image(error))) }
            throw ExitCode(status)
        }
    }

    private static func write(_ report: FailureReport) throws {
        if !StandardOutput.isUsed { try writeJSON(report) }
    }

    /// Ends the program for `error`, which came of its arguments or of a verb; wrong usage is a document, too, where one was
    /// asked for.
    static func end(_ error: any Error, arguments: [String]) -> Never {
        let asksForJSON =
            arguments.contains("--output=json")
            || zip(arguments, arguments.dropFirst()).contains { $0 == "--output" && $1 == "json" }
        // Where standard output is for JSON-RPC, it has nothing else.
        let isForRPC = arguments.contains("stdio") || arguments.contains("--rpc=stdio")
        if asksForJSON, !isForRPC, RBlock.exitCode(for: error) == .validationFailure {
            try? write(FailureReport(.usage(RBlock.message(for: error))))
        }
        RBlock.exit(withError: error)
    }

    private static let warned = Guarded<Set<ExactName>>([])

    /// Says once what people should know, though nothing has failed.
    static func warn(_ message: String) {
        let isNew = warned.withLock { warned in warned.count < 1000 && warned.insert(ExactName(message)).inserted }
        if isNew { say("warning: \(message)") }
    }

    /// Writes one line for people, in which names from images do nothing to the terminal.
    static func say(_ message: String) {
        _ = try? FileDescriptor.standardError.writeAll("rblock: \(printable(message))\n".utf8)
    }
}
