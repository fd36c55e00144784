import BlockImage
import Glibc
import Reports
import SystemPackage

/// What a verb prints, gathered into large writes. Used by one thread.
///
/// Whoever reads it may have had enough, as head(1) has: then this process ends quietly, by SIGPIPE, as others do.
final class StandardOutput {
    private static let capacity = 1 << 16
    private static let used = Guarded(false)

    /// Whether anything was printed, or is to be.
    static var isUsed: Bool { used.withLock { $0 } }

    /// How many characters a line of the terminal has that it goes to; nil where it goes to none, or that is not known.
    static let columns: Int? = {
        var size = winsize()
        // Safe: ioctl fills the structure that it is given.
        let isKnown = unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0
        return isKnown && size.ws_col > 0 ? Int(size.ws_col) : nil
    }()

    private var pending: [UInt8] = []
    private let bar: ProgressBar?
    private let isTerminal = isatty(STDOUT_FILENO) == 1

    /// Throws wrong usage where what is no text would go to a terminal, which may take it for commands; `instead`: what shows
    /// it.
    static func refuseTerminal(_ instead: String) throws(Failure) {
        guard isatty(STDOUT_FILENO) == 1 else { return }
        throw Failure("standard output is a terminal: \(instead); --force writes the bytes all the same", status: 64)
    }

    /// `bar`, which may be on the same terminal, makes way for what is printed.
    init(besides bar: ProgressBar? = nil) {
        self.bar = bar
        pending.reserveCapacity(Self.capacity)
    }

    /// Prints `text` sooner or later.
    func write(_ text: String) throws(ImageError) {
        if pending.isEmpty { Self.used.withLock { $0 = true } }
        pending += text.nameBytes
        if pending.count >= Self.capacity { try flush() }
    }

    /// Prints `text`, lines for people: on a terminal, what has no space in one goes on at the column `hanging` of the next,
    /// or by default four behind its first word.
    func write(lines text: String, hanging: Int? = nil) throws(ImageError) {
        try write(LineWrap(columns: Self.columns).lines(text, hanging: hanging))
    }

    /// Prints `bytes`, which stay where they are, after all that was to be printed before.
    func write(_ bytes: RawSpan) throws(ImageError) {
        Self.used.withLock { $0 = true }
        try flush()
        try writeAll(bytes)
    }

    /// Prints what was gathered, where it goes to a terminal; elsewhere it is kept until there is more.
    func show() throws(ImageError) {
        if isTerminal { try flush() }
    }

    /// Prints what was gathered. What cannot be printed is not tried again.
    func flush() throws(ImageError) {
        guard !pending.isEmpty else { return }
        defer { pending.removeAll(keepingCapacity: true) }
        // Safe: integers have no bytes that are not set.
        unsafe try writeAll(pending.span.bytes)
    }

    private func writeAll(_ bytes: RawSpan) throws(ImageError) {
        if isTerminal { bar?.hide() }
        // Safe: the pointer is used in this call only.
        try unsafe bytes.withUnsafeBytes { (bytes) throws(ImageError) in
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
                    let number = (error as? Errno) ?? .ioError
                    throw ImageError(.system(errno: number.rawValue), about: .named("standard output"), "\(number)")
                }
            }
        }
    }
}

/// Writes `document` to standard output as JSON, as every verb with --output json does.
func writeJSON(_ document: some Encodable) throws { try writeJSON(text: jsonText(document)) }

/// The same for an array of documents.
func writeJSON(_ documents: [some Encodable]) throws { try writeJSON(text: jsonText(documents)) }

private func writeJSON(text: String) throws {
    let output = StandardOutput()
    try output.write("\(text)\n")
    try output.flush()
}

/// An array of documents that is written while they are found: none is held. Used by one thread.
struct JSONListOutput {
    private let output: StandardOutput
    private var isEmpty = true

    /// An array on `output`, of which nothing is written yet.
    init(to output: StandardOutput) { self.output = output }

    /// Writes `document`.
    mutating func append(_ document: some Encodable) throws {
        let lines = try jsonText(document).split(separator: "\n").map { "  \($0)" }
        try output.write((isEmpty ? "[\n" : ",\n") + lines.joined(separator: "\n"))
        isEmpty = false
    }

    /// Ends the array.
    func end() throws { try output.write(isEmpty ? "[]\n" : "\n]\n") }
}
