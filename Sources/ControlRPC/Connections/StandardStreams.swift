import BlockImage
import Dispatch
import Glibc
import SystemPackage

/// Standard input and output as one connected socket, whatever they are: files, pipes, a terminal.
///
/// An event loop takes no files, and would switch what it takes to non-blocking, also for the other programs that have it
/// open. So two threads copy.
final class StandardStreams: Sendable {
    private struct Output {
        var count: UInt64 = 0
        var isOver = false
        var failure: Errno?
    }

    /// A socket that has what comes from standard input, and whose bytes go to standard output. Its reader sees its end
    /// when standard input has ended.
    let socket: CInt
    private let output = Guarded(Output())

    /// Connects both. Throws `Errno`.
    init() throws {
        var ends: [CInt] = [-1, -1]
        // Safe: the call fills the array of two that it is given.
        let result = unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends)
        guard result == 0 else { throw Errno(rawValue: errno) }
        socket = ends[0]
        let copy = FileDescriptor(rawValue: ends[1])
        DispatchQueue(label: "rblock.standard-input").async {
            _ = Self.copy(from: .standardInput, to: copy)
            _ = Glibc.shutdown(copy.rawValue, CInt(SHUT_WR))
        }
        DispatchQueue(label: "rblock.standard-output").async { [self] in
            let failure = Self.copy(from: copy, to: .standardOutput) { count in output.withLock { $0.count += count } }
            // No one is left to be answered.
            _ = Glibc.shutdown(copy.rawValue, CInt(SHUT_RDWR))
            output.withLock { output in
                output.isOver = true
                output.failure = failure
            }
        }
    }

    /// To be called when the socket is closed: waits until all that was written to it went to standard output, as long as it
    /// does go there, and at most for `limit`, `stalled` where nothing goes. Throws why it could not be written; that no one
    /// reads it any more is no failure.
    func finish(within limit: Duration, stalled: Duration) async throws(ImageError) {
        let clock = ContinuousClock()
        let end = clock.now + limit
        var last = (count: UInt64(0), moment: clock.now)
        while true {
            let output = output.withLock { $0 }
            if output.isOver {
                guard let failure = output.failure, failure != .brokenPipe else { return }
                throw ImageError(
                    .system(errno: failure.rawValue), about: .named("standard output"), "\(failure)")
            }
            if output.count != last.count { last = (output.count, clock.now) }
            guard clock.now < end, clock.now < last.moment + stalled else { return }
            try? await clock.sleep(for: .milliseconds(5))
        }
    }

    /// Copies to the end of `source`, or until either fails; answers why `target` cannot be written to, where it cannot.
    private static func copy(
        from source: FileDescriptor, to target: FileDescriptor, written: (UInt64) -> Void = { _ in }
    ) -> Errno? {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // Safe: the buffer lives during the call, which writes no more than it holds.
            let count = try? unsafe buffer.withUnsafeMutableBytes { unsafe try source.read(into: $0) }
            guard let count, count > 0 else { return nil }
            do {
                try target.writeAll(buffer[..<count])
                written(UInt64(count))
            } catch {
                return (error as? Errno) ?? .ioError
            }
        }
    }
}
