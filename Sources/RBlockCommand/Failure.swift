import ArgumentParser
import BlockImage
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

    /// Does `work`; where that fails, says why on standard error, and ends with the failure's status.
    static func reported(_ work: () throws -> Void, status: Int32 = 1) throws {
        do {
            try work()
        } catch let error as Failure {
            say(error.message)
            throw ExitCode(error.status)
        } catch let error as ImageError {
            say(error.description)
            throw ExitCode(status)
        }
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
