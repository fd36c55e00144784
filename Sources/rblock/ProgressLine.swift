import Glibc
import SystemPackage

/// How far a command has come, on one line of standard error: only on a terminal, and only once it has taken longer than
/// a second. Of use to one thread.
final class ProgressLine {
    private let name: String
    private let start = ContinuousClock.now
    private let isTerminal = isatty(2) == 1
    private var shown: ContinuousClock.Instant?

    /// The line of what is done as `name`.
    init(_ name: String) {
        self.name = name
    }

    /// Shows the part that is done, 0 to 1; ten times a second at most.
    func show(_ part: Double) {
        guard isTerminal else { return }
        let now = ContinuousClock.now
        guard start.duration(to: now) > .seconds(1), shown.map({ $0.duration(to: now) > .milliseconds(100) }) ?? true
        else { return }
        shown = now
        write("\r\u{1b}[K\(name): \(Int(max(0, min(1, part)) * 100)) %")
    }

    /// Takes the line away.
    func end() {
        guard shown != nil else { return }
        shown = nil
        write("\r\u{1b}[K")
    }

    private func write(_ text: String) {
        _ = try? FileDescriptor.standardError.writeAll(text.utf8)
    }
}
