import ArgumentParser
import BlockImage
import Glibc
import SystemPackage

/// What is said to verbs that change for good what was there before.
struct ConfirmationOption: ParsableArguments {
    @Flag(name: .shortAndLong, help: "Do it without asking, as must be said where no terminal can be asked.")
    var yes = false

    /// Returns where --yes was given, or a person at the terminal says so to `question`. Throws otherwise.
    func confirm(_ question: String) throws(Failure) {
        guard !yes else { return }
        guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else {
            throw Failure(
                "asks before it changes anything, and here is no terminal: --yes says that it is meant", status: 64)
        }
        _ = try? FileDescriptor.standardError.writeAll("rblock: \(printable(question)) [y/N] ".utf8)
        guard let answer = readLine()?.lowercased(), ["y", "yes"].contains(answer) else {
            throw Failure("nothing was changed")
        }
    }
}
