import Foundation
import HostTools

/// A server that runs in the background until it is let go of.
final class BackgroundServer {
    /// What its files begin with: `.log` is what it says, `.process` its number.
    private let place: String

    /// Starts `command`. Throws where it is not installed.
    init(_ command: [String], place: String) throws {
        guard let program = Tool.path(command[0]) else {
            throw ToolFailure(description: "not installed; 'make deps-bench' installs it")
        }
        self.place = place
        // The shell has written the number of the process before anything else can go wrong.
        try CleanUp.register("kill $(cat \"$1.process\") || kill -9 $(cat \"$1.process\")", place)
        let script = """
            log="$1.log"; process="$1.process"; shift
            "$@" >"$log" 2>&1 & echo $! >"$process"
            """
        let started = try Tool.run("sh", ["-c", script, "sh", place, program] + command.dropFirst())
        guard started.status == 0 else { throw ToolFailure(description: started.errors) }
    }

    deinit {
        end()
    }

    /// Waits for it to be ready, which `isReady` tells. Throws what the server said when it does not come to that.
    func awaitReadiness(_ isReady: () -> Bool) throws {
        // Some go to the background by themselves when all is well, and may need a moment then.
        var turnsWithout = 0
        let isShown =
            wait(seconds: 30) {
                if isReady() { return true }
                turnsWithout += process.map { Mount.isRunning($0) } == true ? 0 : 1
                return turnsWithout > 20
            } && turnsWithout <= 20
        guard !isShown else { return }
        let log = (try? String(contentsOfFile: "\(place).log", encoding: .utf8)) ?? ""
        end()
        let line = log.split(separator: "\n").last { !$0.isEmpty }.map { String($0) }
        throw ToolFailure(description: "does not open it: \(line ?? "it says nothing")")
    }

    /// Its number; nil once it has ended.
    var process: pid_t? {
        guard let text = try? String(contentsOfFile: "\(place).process", encoding: .utf8) else { return nil }
        return pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// Ends it; does nothing the second time.
    func end() {
        guard let process else { return }
        let isGone = { !Mount.isRunning(process) }
        if !isGone() {
            kill(process, SIGTERM)
            if !wait(seconds: 10, for: isGone) { kill(process, SIGKILL) }
        }
        try? FileManager.default.removeItem(atPath: "\(place).process")
    }
}
