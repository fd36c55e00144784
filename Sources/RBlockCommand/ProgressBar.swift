import BlockImage
import Glibc
import HostStorage
import Reports
import Synchronization
import SystemPackage

/// Whether SIGUSR1 has come, which asks for the progress, since it was last printed.
private let isProgressAsked = Atomic(false)

/// How far a verb has got, on standard error: per cent, speed, and the time that is left. On a terminal it is a line that
/// changes, once it has taken a second; nothing of it stays, also where a signal ends the process. Elsewhere it is printed
/// where that was asked for, and, as by qemu-img, on SIGUSR1. Used by one thread.
final class ProgressBar {
    /// How it is printed where it was asked for.
    enum Form {
        /// A line each, for people.
        case lines
        /// A document each, in a line.
        case json
    }

    private struct Document: Encodable {
        private struct Progress: Encodable {
            var what: String
            var done: UInt64
            var total: UInt64
        }

        private var progress: Progress

        init(_ what: String, _ done: UInt64, of total: UInt64) {
            progress = Progress(what: what, done: min(done, total), total: total)
        }
    }

    private static let interval = Duration.milliseconds(100)
    private static let lineInterval = Duration.seconds(1)
    private static let form = Guarded<Form?>(nil)

    /// Has all progress printed in `form` from now on.
    static func print(as form: Form) { Self.form.withLock { $0 = form } }

    /// Whether it is shown by itself: on a terminal, and where it was asked for.
    static var isWanted: Bool { isatty(STDERR_FILENO) == 1 || form.withLock { $0 } != nil }

    /// Has SIGUSR1 ask for it from now on.
    static func listensToSignal() {
        isProgressAsked.store(false, ordering: .relaxed)
        // What the handler does may be done in one, and system calls go on after it.
        signal(SIGUSR1) { _ in isProgressAsked.store(true, ordering: .relaxed) }
    }

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
        if isProgressAsked.load(ordering: .relaxed), isProgressAsked.exchange(false, ordering: .relaxed) {
            hide()
            write(text(done, after: start.duration(to: .now)) + "\n")
        }
        let form = Self.form.withLock { $0 }
        guard isOnTerminal || form != nil else { return false }
        let now = ContinuousClock.now
        guard now >= due else { return false }
        if let form, form == .json || !isOnTerminal {
            due = now + Self.lineInterval
            write((form == .json ? json(done) : text(done, after: start.duration(to: now))) + "\n")
            return false
        }
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
        let speed = Double(done) / max(seconds, 0.001)
        var text = "\(what)  \(total == 0 ? 100 : Int(Double(min(done, total)) / Double(total) * 100))%"
        if isInBytes { text += "  \(humanSize(UInt64(min(speed, 1e18))))/s" }
        if speed > 0 { text += "  \(Self.time(Double(total - min(done, total)) / speed)) left" }
        return text
    }

    private func json(_ done: UInt64) -> String {
        (try? jsonLine(Document(what, done, of: total))) ?? ""
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
