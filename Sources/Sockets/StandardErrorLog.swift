import BlockImage
import Glibc
import Logging
import SystemPackage

/// Writes log lines of a program that serves to standard error: the time, the level and the message, and nothing of how the
/// program is made. systemd's journal knows the time by itself, and reads the priority from the start of a line
/// (sd-daemon(3)).
package struct StandardErrorLog: LogHandler {
    /// Said of all messages; nothing of it is written.
    package var metadata: Logger.Metadata = [:]
    /// What is not written where it is less.
    package var logLevel = Logger.Level.info
    private let program: String
    private let isJournal = Self.isJournal
    private let write: @Sendable (String) -> Void

    /// The log of `program`; `write` gets each line, with its end.
    package init(
        of program: String,
        _ write: @escaping @Sendable (String) -> Void = { _ = try? FileDescriptor.standardError.writeAll($0.utf8) }
    ) {
        self.program = program
        self.write = write
    }

    /// What is said of all messages under a name; nothing of it is written.
    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes a message.
    package func log(event: LogEvent) {
        let begin = isJournal ? "<\(event.level.priority)>" : "\(utcTimestamp()) \(event.level) \(program): "
        write("\(event.message)".split(whereSeparator: \.isNewline).map { "\(begin)\($0)\n" }.joined())
    }

    /// Whether standard error is the journal: systemd passes its device and inode in JOURNAL_STREAM.
    private static var isJournal: Bool {
        var attributes = stat()
        // Safe: getenv returns NULL or a C string, which is copied at once; fstat fills a structure of ours.
        guard let value = unsafe getenv("JOURNAL_STREAM"), unsafe fstat(STDERR_FILENO, &attributes) == 0 else {
            return false
        }
        return unsafe String(cString: value) == "\(attributes.st_dev):\(attributes.st_ino)"
    }
}

extension Logger.Level {
    /// The priority of syslog(3) and of the journal.
    package var priority: CInt {
        switch self {
        case .trace, .debug: LOG_DEBUG
        case .info: LOG_INFO
        case .notice: LOG_NOTICE
        case .warning: LOG_WARNING
        case .error: LOG_ERR
        case .critical: LOG_CRIT
        }
    }
}
