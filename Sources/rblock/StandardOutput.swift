import BlockImage
import Glibc
import SystemPackage

/// What a verb prints, gathered into large writes. Used by one thread.
///
/// Whoever reads it may have had enough, as head(1) has: then this process ends quietly, by SIGPIPE, as others do.
final class StandardOutput {
    private static let capacity = 1 << 16

    private var pending: [UInt8] = []
    private let bar: ProgressBar?
    private let isTerminal = isatty(STDOUT_FILENO) == 1
    private let failureStatus: Int32

    /// Failures end with `failureStatus`; `bar`, which may be on the same terminal, makes way for what is printed.
    init(failureStatus: Int32 = 1, besides bar: ProgressBar? = nil) {
        self.failureStatus = failureStatus
        self.bar = bar
        pending.reserveCapacity(Self.capacity)
    }

    /// Prints `text` sooner or later.
    func write(_ text: String) throws {
        pending += text.utf8
        if pending.count >= Self.capacity { try flush() }
    }

    /// Prints `bytes`, which stay where they are, behind all that was to be printed before.
    func write(_ bytes: RawSpan) throws {
        try flush()
        // Safe: the pointer is used in this call only.
        try unsafe bytes.withUnsafeBytes { try unsafe writeAll($0) }
    }

    /// Prints what was gathered, where somebody may be watching; elsewhere it is kept until there is more.
    func show() throws {
        if isTerminal { try flush() }
    }

    /// Prints what was gathered.
    func flush() throws {
        guard !pending.isEmpty else { return }
        // Safe: the pointer is used in this call only.
        try unsafe pending.withUnsafeBytes { try unsafe writeAll($0) }
        pending.removeAll(keepingCapacity: true)
    }

    private func writeAll(_ bytes: UnsafeRawBufferPointer) throws {
        if isTerminal { bar?.hide() }
        var rest = unsafe bytes
        while unsafe !rest.isEmpty {
            do {
                let count = unsafe try FileDescriptor.standardOutput.write(rest)
                unsafe rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            } catch Errno.brokenPipe {
                bar?.hide()
                // Where the signal is ignored, the error comes instead.
                _ = signal(SIGPIPE, SIG_DFL)
                raise(SIGPIPE)
            } catch {
                throw Failure("standard output: \(error)", status: failureStatus)
            }
        }
    }
}
