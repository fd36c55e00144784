import Foundation
import Synchronization

/// What is left to undo when the test process ends in whatever way, even by a crash: a shell of its own waits for the
/// end of a pipe that only this process writes to, and then runs the lines that came through it, the last one first.
///
/// Each line is written before the thing exists that it removes, and does nothing where that is gone already.
package enum CleanUp {
    private static let lines = Mutex<(pipe: FileHandle, shell: Process)?>(nil)

    /// Has the shell command `script`, with `arguments` as $1 and so on, run in the end.
    package static func register(_ script: String, _ arguments: String...) throws {
        let words = ([script, "sh"] + arguments).map(quoted).joined(separator: " ")
        try lines.withLock { lines in
            let started = try lines ?? start()
            lines = started
            try started.pipe.write(contentsOf: Data("sh -c \(words)\n".utf8))
        }
    }

    /// Runs all that was registered now, and waits for its end: for a program that a signal ends, and that is not to be
    /// gone before all else is.
    package static func run() {
        lines.withLock { lines in
            guard let (pipe, shell) = lines else { return }
            lines = nil
            try? pipe.close()
            // Not by waiting for the report of its end, which needs a run loop.
            _ = wait(seconds: 60) { !Mount.isRunning(shell.processIdentifier) }
        }
    }

    private static func start() throws -> (pipe: FileHandle, shell: Process) {
        let pipe = Pipe()
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        // The Ctrl-C that ends the tests must not end this.
        shell.arguments = ["-c", "trap '' INT TERM HUP; lines=$(tac); eval \"$lines\""]
        shell.standardInput = pipe
        shell.standardOutput = FileHandle.nullDevice
        shell.standardError = FileHandle.nullDevice
        try shell.run()
        try pipe.fileHandleForReading.close()
        return (pipe.fileHandleForWriting, shell)
    }

    private static func quoted(_ word: String) -> String {
        "'" + word.replacingOccurrences(of: "'", with: "'\\''") + "'"
    }
}
