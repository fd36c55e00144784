import ArgumentParser
import Arguments
import BlockImage
import Reports
import SystemPackage

/// Why a verb could not be done: one line for people, and the exit status.
struct Failure: Error {
    var status: Int32 = 1
    var message: String
    /// The code of its error in JSON.
    var code: String

    /// A failure whose error has the code "usage" with the status 64, and else "unsupported", unless it is `code`.
    init(_ message: String, status: Int32 = 1, code: String? = nil) {
        self.message = message
        self.status = status
        self.code = code ?? (status == 64 ? "usage" : "unsupported")
    }

    init(_ error: ImageError, status: Int32 = 1) {
        self.init(error.description, status: status)
    }

    /// Does `work`; where that fails, says why on standard error, and ends with the failure's status. As JSON, a document
    /// about `filename` says it as well, unless `work` has printed one; `inLine`: it is a line, as all documents of the verb.
    static func reported(
        as output: OutputForm = .human, inLine: Bool = false, filename: String? = nil, status: Int32 = 1,
        _ work: () throws -> Void
    ) throws {
        do {
            try work()
        } catch let error as Failure {
            say(error.message)
            if output == .json {
                write(FailureReport(filename: filename, .words(error.message, code: error.code)), inLine)
            }
            throw ExitCode(error.status)
        } catch let error as ImageError {
            say(error.description)
            if output == .json { write(FailureReport(filename: filename, .image(error)), inLine) }
            throw ExitCode(status)
        }
    }

    /// Writes `report`, unless another document was written; where it cannot be, says so: the status is that of the failure.
    private static func write(_ report: FailureReport, _ inLine: Bool = false) {
        guard !StandardOutput.isUsed else { return }
        do {
            let output = StandardOutput()
            try output.write(try (inLine ? jsonLine(report) : jsonText(report)) + "\n")
            try output.flush()
        } catch {
            say("\(error)")
        }
    }

    /// Ends the program for `error`, which came of its arguments or of a verb; wrong usage is a document, too, where one was
    /// asked for.
    static func end(_ error: any Error, arguments: [String]) -> Never {
        let asksForJSON =
            arguments.contains("--output=json")
            || zip(arguments, arguments.dropFirst()).contains { $0 == "--output" && $1 == "json" }
        // Where standard output is for JSON-RPC, it has nothing else.
        let isForRPC = arguments.contains("stdio") || arguments.contains("--rpc=stdio")
        if asksForJSON, !isForRPC, !(error is ExitCode), RBlock.exitCode(for: error) == .validationFailure {
            write(FailureReport(.words(RBlock.message(for: error), code: "usage")))
        }
        RBlock.end(error)
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
