import BlockImage
import Dispatch
import Glibc
import HostStorage
import SystemPackage

/// Lines for a file or a stream, written by a thread of its own: what has something to log never waits for a disk or a pipe.
/// Lines that cannot wait any more are lost and counted. May be used from any thread.
final class LineQueue: Sendable {
    /// The most lines that wait.
    private static let limit = 4096

    private struct State {
        var waiting = 0
        var lost: UInt64 = 0
        /// Whether the last line could not be written.
        var hasFailed = false
        var descriptor: FileDescriptor
    }

    private let queue = DispatchQueue(label: "rblock.log")
    private let state: Guarded<State>
    private let name: String
    private let path: FilePath?
    private let lostLine: @Sendable (UInt64) -> String

    /// For `descriptor`, which people know as `name`; `lostLine` makes the line that says how many were lost.
    init(to descriptor: FileDescriptor, _ name: String, lost lostLine: @escaping @Sendable (UInt64) -> String) {
        state = Guarded(State(descriptor: descriptor))
        (path, self.name, self.lostLine) = (nil, name, lostLine)
    }

    /// For the end of the file at `path`, which is made where there is none.
    init(appendingTo path: String, lost lostLine: @escaping @Sendable (UInt64) -> String) throws(ImageError) {
        let file = FilePath(text: path)
        do {
            state = Guarded(State(descriptor: try Self.open(file)))
        } catch {
            guard let reason = error as? Errno else { throw ImageError(.denied, about: .named(path), "\(error)") }
            throw ImageError(.system(errno: reason.rawValue), about: .named(path), "open: \(reason)")
        }
        (self.path, name, self.lostLine) = (file, path, lostLine)
    }

    private static func open(_ path: FilePath) throws -> FileDescriptor {
        try checkIsLog(path)
        // A pipe that nothing reads is an error, and not waited for.
        let file = try FileDescriptor.open(
            path, .writeOnly, options: [.append, .create, .closeOnExec, .nonBlocking],
            permissions: [.ownerReadWrite, .groupRead])
        _ = fcntl(file.rawValue, F_SETFL, O_APPEND)
        return file
    }

    /// Throws where the file at `path` holds something else than a log, an image perhaps that is served.
    private static func checkIsLog(_ path: FilePath) throws {
        guard let status = try? FileStatus(at: path) else { return }
        if case .blockDevice = status.kind { throw NoLog() }
        guard status.kind == .regular else { return }
        let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
        defer { try? file.close() }
        var start = [UInt8](repeating: 0, count: 5)
        // Safe: read writes at most as many bytes as the array has.
        let count = unsafe try start.withUnsafeMutableBytes { unsafe try file.read(fromAbsoluteOffset: 0, into: $0) }
        // A line begins with a year, or is an object.
        let isText = start.prefix(4).allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        let isLog = isText && start[4] == UInt8(ascii: "-") || start.starts(with: "{\"".utf8)
        guard count == 0 || isLog else { throw NoLog() }
    }

    /// A file that is not to be written to.
    private struct NoLog: Error, CustomStringConvertible {
        let description = "holds something else than a log, which is not changed; name another file"
    }

    /// Writes the line that `line` makes, with its end, sooner or later.
    func add(_ line: @escaping @Sendable () -> String) {
        let isTaken = state.withLock { state in
            guard state.waiting < Self.limit else {
                state.lost += 1
                return false
            }
            state.waiting += 1
            return true
        }
        guard isTaken else { return }
        queue.async { [self] in
            write(line())
            let lost = state.withLock { state in
                state.waiting -= 1
                guard state.waiting < Self.limit / 2 else { return 0 as UInt64 }
                defer { state.lost = 0 }
                return state.lost
            }
            if lost > 0 { write(lostLine(lost)) }
        }
    }

    /// Opens the file anew, which another program may have renamed. Where that fails the old one is written to.
    func reopen() {
        queue.async { [self] in
            guard let path else { return }
            do {
                let new = try Self.open(path)
                let old = state.withLock { state in
                    defer { state.descriptor = new }
                    return state.descriptor
                }
                try? old.close()
            } catch {
                Failure.say("\(name): open: \(error)")
            }
        }
    }

    /// Waits until what there is was written, but not for long: the rest is lost.
    func finish() {
        let isWritten = DispatchSemaphore(value: 0)
        queue.async { isWritten.signal() }
        _ = isWritten.wait(timeout: .now() + 1)
    }

    private func write(_ line: String) {
        let descriptor = state.withLock { $0.descriptor }
        do {
            try descriptor.writeAll(line.utf8)
            state.withLock { $0.hasFailed = false }
        } catch {
            let isNew = state.withLock { state in
                defer { state.hasFailed = true }
                return !state.hasFailed
            }
            if isNew { Failure.say("\(name): write: \(error); what is logged until it can be written is lost") }
        }
    }
}
