import Foundation
import Synchronization

/// What a finished program left.
public struct ToolResult: Sendable {
    /// Its exit status, or 128 and the signal that ended it.
    public var status: Int32
    /// What it wrote to standard output.
    public var output: Data
    /// What it wrote to standard error.
    public var errors: String

    /// Standard output as text.
    public var text: String { String(decoding: output, as: UTF8.self) }
}

/// A program could not be run, or failed, or took too long.
public struct ToolFailure: Error, CustomStringConvertible {
    /// What happened, with the program's own words.
    public var description: String

    /// A failure that `description` tells.
    public init(description: String) {
        self.description = description
    }
}

/// Runs other programs for tests and benchmarks.
public enum Tool {
    /// Where programs are looked for; Debian keeps some that are not only root's business in sbin.
    private static let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]

    /// The path of the program `name`; nil where it is not installed.
    public static func path(_ name: String) -> String? {
        if name.contains("/") { return FileManager.default.isExecutableFile(atPath: name) ? name : nil }
        return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// Whether a test that needs these programs may run. Says why not; in CI (the variable CI is set) nothing is
    /// skipped: the test runs, and fails for want of them.
    public static func areThere(_ names: String...) -> Bool {
        let missing = names.filter { path($0) == nil }
        guard !missing.isEmpty else { return true }
        print("skipped: \(missing.joined(separator: ", ")) not installed; 'make deps' installs what the tests need")
        return ProcessInfo.processInfo.environment["CI"] != nil
    }

    /// Runs a program to its end, and answers what it left, whatever its status.
    ///
    /// It is killed after `timeout` seconds: hostile images make other programs hang. Throws when it cannot be started
    /// or was killed.
    public static func run(
        _ name: String, _ arguments: [String], in folder: String? = nil, timeout: Double = 120
    ) throws -> ToolResult {
        guard let path = path(name) else { throw ToolFailure(description: "\(name) is not installed") }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
        let output = Collector()
        let errors = Collector()
        process.standardOutput = output.pipe
        process.standardError = errors.pipe
        process.standardInput = FileHandle.nullDevice
        let ended = DispatchSemaphore(value: 0)
        process.terminationHandler = { _ in ended.signal() }
        try process.run()
        output.start()
        errors.start()
        let inTime = ended.wait(timeout: .now() + timeout) == .success
        if !inTime {
            kill(process.processIdentifier, SIGKILL)
            ended.wait()
        }
        let bySignal = process.terminationReason == .uncaughtSignal
        let result = ToolResult(
            status: bySignal ? 128 + process.terminationStatus : process.terminationStatus,
            output: output.finish(), errors: String(decoding: errors.finish(), as: UTF8.self))
        guard inTime else {
            throw ToolFailure(description: "\(name) \(arguments): not done in \(timeout) s; \(result.errors)")
        }
        return result
    }

    /// Runs a program that must succeed, and answers its standard output. Throws with what it said when it fails.
    @discardableResult
    public static func check(
        _ name: String, _ arguments: String..., in folder: String? = nil, timeout: Double = 120
    ) throws -> Data {
        let result = try run(name, arguments, in: folder, timeout: timeout)
        guard result.status == 0 else {
            throw ToolFailure(description: "\(name) \(arguments) ended with \(result.status): \(result.errors)")
        }
        return result.output
    }
}

/// Drains a pipe while the process that fills it runs, however much it writes.
private final class Collector: Sendable {
    let pipe = Pipe()
    private let data = Mutex(Data())
    private let done = DispatchSemaphore(value: 0)

    func start() {
        try? pipe.fileHandleForWriting.close()
        Thread.detachNewThread { [self] in
            let read = (try? pipe.fileHandleForReading.readToEnd()) ?? Data()
            data.withLock { $0 = read }
            done.signal()
        }
    }

    func finish() -> Data {
        // A grandchild in the background may hold the pipe open: what has come by then is all there will be.
        _ = done.wait(timeout: .now() + 5)
        return data.withLock { $0 }
    }
}
