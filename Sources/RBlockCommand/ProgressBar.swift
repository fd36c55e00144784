import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// How far a verb has got, on standard error: per cent, speed, and the time that is left. Only on a terminal, and only
/// once it has taken a second; nothing of it stays, also where a signal ends the process. Used by one thread.
final class ProgressBar {
    private static let interval = Duration.milliseconds(100)

    /// The parts of work that is not measured in bytes.
    private static let parts: UInt64 = 1 << 20

    private let what: String
    private let total: UInt64
    private let isInBytes: Bool
    private let isOnTerminal = isatty(STDERR_FILENO) == 1
    private let start = ContinuousClock.now
    private var due: ContinuousClock.Instant
    private var isShown = false

    /// For work on `total` bytes that people know as `what`.
    init(_ what: String, total: UInt64) {
        self.what = printable(what)
        self.total = total
        isInBytes = true
        due = start + .seconds(1)
    }

    /// For work that people know as `what`, of which only the part that is done is known.
    init(_ what: String) {
        self.what = printable(what)
        total = Self.parts
        isInBytes = false
        due = start + .seconds(1)
    }

    deinit {
        hide()
    }

    /// Shows that `done` of the bytes are done, if the bar is to be shown and it was not just drawn. Answers whether it
    /// was drawn now.
    @discardableResult
    func update(_ done: UInt64) -> Bool {
        guard isOnTerminal else { return false }
        let now = ContinuousClock.now
        guard now >= due else { return false }
        due = now + Self.interval
        if !isShown { SignalEnding.erasesLine() }
        isShown = true
        write("\r\(text(done, after: start.duration(to: now)))\u{1B}[K")
        return true
    }

    /// Shows that `part` of the work is done, 0 to 1, as `update` does.
    func update(part: Double) {
        update(part > 0 ? UInt64(min(part, 1) * Double(total)) : 0)
    }

    /// Erases it; it comes back with the next `update`.
    func hide() {
        guard isShown else { return }
        isShown = false
        write("\r\u{1B}[K")
    }

    private func text(_ done: UInt64, after elapsed: Duration) -> String {
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        let speed = Double(done) / seconds
        var text = "\(what)  \(total == 0 ? 100 : Int(Double(min(done, total)) / Double(total) * 100))%"
        if isInBytes { text += "  \(humanSize(UInt64(min(speed, 1e18))))/s" }
        if speed > 0 { text += "  \(Self.time(Double(total - min(done, total)) / speed)) left" }
        return text
    }

    /// "0:07", "1:02:03".
    private static func time(_ seconds: Double) -> String {
        let seconds = Int(min(seconds, 1e9))
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60)
        return (hours > 0 ? "\(hours):\(two(minutes))" : "\(minutes)") + ":\(two(seconds % 60))"
    }

    private func write(_ text: String) {
        _ = try? FileDescriptor.standardError.writeAll(text.utf8)
    }
}
