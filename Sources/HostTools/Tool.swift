import CLinux
import Foundation
import Synchronization

/// What a finished program left.
package struct ToolResult: Sendable {
    /// Its exit status, or 128 and the signal that ended it.
    package var status: Int32
    /// What it wrote to standard output.
    package var output: Data
    /// What it wrote to standard error.
    package var errors: String

    /// Standard output as text.
    package var text: String { String(decoding: output, as: UTF8.self) }
}

/// A program could not be run, or failed, or took too long.
package struct ToolFailure: Error, CustomStringConvertible {
    /// What happened, with the program's own words.
    package var description: String

    /// A failure that `description` tells.
    package init(description: String) {
        self.description = description
    }
}

/// Runs other programs for tests and benchmarks.
package enum Tool {
    /// Where programs are looked for; Debian keeps some that are not only root's business in sbin.
    private static let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]

    /// The path of the program `name`; nil where it is not installed.
    package static func path(_ name: String) -> String? {
        if name.contains("/") { return FileManager.default.isExecutableFile(atPath: name) ? name : nil }
        return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// Whether a test that needs these programs may run. Says why not; in CI (the variable CI is set) nothing is
    /// skipped: the test runs, and fails for want of them.
    package static func areThere(_ names: String...) -> Bool {
        let missing = names.filter { path($0) == nil }
        guard !missing.isEmpty else { return true }
        print("skipped: \(missing.joined(separator: ", ")) not installed; 'make deps' installs what the tests need")
        return ProcessInfo.processInfo.environment["CI"] != nil
    }

    /// The programs that run now, each the first of a group of processes.
    private struct Groups {
        var leaders: Set<pid_t> = []
        var isOver = false
    }

    /// Nil: programs stay in the group of this process, where Ctrl-C reaches them by itself.
    private static let groups = Mutex<Groups?>(nil)

    /// Has every program be the first of a group of processes from now on, so that `endAll` can end it with all that it
    /// started. For a process that signals end in an orderly way.
    package static func startInGroups() {
        groups.withLock { $0 = $0 ?? Groups() }
    }

    /// Ends all that runs after `startInGroups`, and returns when it is gone. Who waits for a program, or would start
    /// one, waits from then on for the end of this process: what it then removes it would remove too early.
    package static func endAll() {
        groups.withLock { groups in
            groups?.isOver = true
            for leader in groups?.leaders ?? [] { kill(-leader, SIGKILL) }
        }
        _ = HostTools.wait(seconds: 60) { groups.withLock { $0?.leaders.isEmpty ?? true } }
    }

    /// Starts a program, unless everything ends.
    private static func start(_ command: [String], output: CInt, errors: CInt) throws -> pid_t {
        let process: pid_t? = try groups.withLock { groups in
            guard groups?.isOver != true else { return nil }
            let process = try spawn(command, inGroup: groups != nil, output: output, errors: errors)
            groups?.leaders.insert(process)
            return process
        }
        while true {
            if let process { return process }
            sleep(1)
        }
    }

    /// To be called when `process` is gone.
    private static func ended(_ process: pid_t) {
        groups.withLock { _ = $0?.leaders.remove(process) }
        while groups.withLock({ $0?.isOver == true }) { sleep(1) }
    }

    /// Runs a program to its end, and answers what it left, whatever its status.
    ///
    /// It is killed after `timeout` seconds: hostile images make other programs hang. Throws when it cannot be started
    /// or was killed. It is run again where qemu-img could not measure how fast it hashes, as happens on busy machines to
    /// who makes an encrypted image.
    package static func run(
        _ name: String, _ arguments: [String], in folder: String? = nil, timeout: Double = 300
    ) throws -> ToolResult {
        for _ in 0..<40 {
            let result = try runOnce(name, arguments, in: folder, timeout: timeout)
            guard result.status != 0, result.errors.contains("Unable to get accurate CPU usage") else { return result }
            usleep(200_000)
        }
        throw ToolFailure(description: "\(name) \(arguments): it cannot measure how fast it hashes")
    }

    private static func runOnce(
        _ name: String, _ arguments: [String], in folder: String?, timeout: Double
    ) throws -> ToolResult {
        guard let path = path(name) else { throw ToolFailure(description: "\(name) is not installed") }
        let output = try OutputFile()
        let errors = try OutputFile()
        // env changes the folder for the program alone; this process has many threads, and one folder.
        let command = folder.map { ["/usr/bin/env", "-C", $0, path] + arguments } ?? [path] + arguments
        let process = try start(command, output: output.handle, errors: errors.handle)
        defer { ended(process) }
        guard let status = wait(for: process, timeout: timeout) else {
            throw ToolFailure(description: "\(name) \(arguments): not done in \(timeout) s; \(errors.text)")
        }
        return ToolResult(status: status, output: output.data, errors: errors.text)
    }

    /// Starts a program with nothing to read. Not with Foundation's Process: among thousands of them, one now and then
    /// is never reported as ended.
    private static func spawn(
        _ command: [String], inGroup: Bool, output: CInt, errors: CInt
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, 1)
        posix_spawn_file_actions_adddup2(&actions, errors, 2)
        // A file of a mount that a child of another test holds open keeps it from being unmounted.
        clinux_spawn_close_from(&actions, 3)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // What a shell starts with: the test runner blocks and ignores signals of its own.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        let group = inGroup ? POSIX_SPAWN_SETPGROUP : 0
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | group))
        let strings = command.map { strdup($0) } + [nil]
        defer { for string in strings { free(string) } }
        var process: pid_t = 0
        let error = posix_spawn(&process, command[0], &actions, &attributes, strings, environ)
        guard error == 0 else {
            throw ToolFailure(description: "\(command): \(String(cString: strerror(error)))")
        }
        return process
    }

    /// The status that the child process `process` ends with; nil, and it is killed, when it takes longer than `timeout`
    /// seconds.
    private static func wait(for process: pid_t, timeout: Double) -> Int32? {
        let start = ContinuousClock.now
        var isLate = false
        var status: CInt = 0
        while true {
            let found = waitpid(process, &status, isLate ? 0 : WNOHANG)
            if found == process { break }
            if found < 0 && errno != EINTR { return nil }
            let elapsed = start.duration(to: .now)
            isLate = elapsed > .seconds(timeout)
            if isLate { kill(process, SIGKILL) }
            usleep(elapsed < .milliseconds(20) ? 500 : 4000)
        }
        if isLate { return nil }
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }

    /// Runs a program that must succeed, and answers its standard output. Throws with what it said when it fails.
    @discardableResult
    package static func check(
        _ name: String, _ arguments: String..., in folder: String? = nil, timeout: Double = 300
    ) throws -> Data {
        let result = try run(name, arguments, in: folder, timeout: timeout)
        guard result.status == 0 else {
            throw ToolFailure(description: "\(name) \(arguments) ended with \(result.status): \(result.errors)")
        }
        return result.output
    }
}

/// A file without a name that a program writes to: unlike a pipe, it takes all there is, and no reader is needed.
private final class OutputFile {
    let handle: CInt

    init() throws {
        var path = Array("/var/tmp/rblock-test-output-XXXXXX".utf8CString)
        handle = mkstemp(&path)
        guard handle >= 0 else { throw ToolFailure(description: "no file for output: \(errno)") }
        // A program that is started meanwhile may inherit it, which does no harm.
        _ = fcntl(handle, F_SETFD, FD_CLOEXEC)
        unlink(path)
    }

    deinit {
        close(handle)
    }

    var data: Data {
        let size = lseek(handle, 0, SEEK_END)
        var data = Data(count: Int(max(0, size)))
        let count = data.withUnsafeMutableBytes { pread(handle, $0.baseAddress, $0.count, 0) }
        return data.prefix(max(0, count))
    }

    var text: String { String(decoding: data, as: UTF8.self) }
}

/// Short scripts for tests: what people type is what is tested.
package enum Shell {
    /// Runs `script` in bash with `arguments` as $1 and so on, and answers what it left, whatever its status.
    package static func run(_ script: String, _ arguments: String..., timeout: Double = 300) throws -> ToolResult {
        try Tool.run("bash", ["-c", script, "bash"] + arguments, timeout: timeout)
    }

    /// The same for a script that must succeed: answers its standard output without the last newline. It ends at the
    /// first command that fails.
    @discardableResult
    package static func check(_ script: String, _ arguments: String..., timeout: Double = 300) throws -> String {
        try check(script, arguments: arguments, timeout: timeout)
    }

    /// The same with the arguments in an array.
    package static func check(_ script: String, arguments: [String], timeout: Double = 300) throws -> String {
        let result = try Tool.run("bash", ["-ec", script, "bash"] + arguments, timeout: timeout)
        guard result.status == 0 else {
            throw ToolFailure(
                description: "'\(script)' \(arguments) ended with \(result.status): \(result.text)\(result.errors)")
        }
        return result.text.hasSuffix("\n") ? String(result.text.dropLast()) : result.text
    }
}
