import CFuse3
import Glibc
import Logging
import SystemPackage

/// Writes log lines to standard error for systemd's journal, which knows the time by itself and reads the priority from
/// the start of a line (sd-daemon(3)).
struct JournalHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Whether standard error is the journal: systemd passes its device and inode in JOURNAL_STREAM.
    static var isStandardError: Bool {
        var attributes = stat()
        // Safe: getenv returns NULL or a C string, which is copied at once; fstat fills a structure of ours.
        guard let value = unsafe getenv("JOURNAL_STREAM"), unsafe fstat(STDERR_FILENO, &attributes) == 0 else {
            return false
        }
        return unsafe String(cString: value) == "\(attributes.st_dev):\(attributes.st_ino)"
    }

    func log(event: LogEvent) {
        let lines = "\(event.message)".split(separator: "\n").map { "<\(event.level.priority)>\($0)\n" }
        _ = try? FileDescriptor.standardError.writeAll(lines.joined().utf8)
    }
}

/// Sends log lines to syslog(3), for a server that has no terminal any more.
struct SyslogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let line = "rblockfs: \(event.message)"
        // Safe: the format takes one string, and that string lives during the call.
        unsafe line.withCString { text in
            unsafe withVaList([text]) { unsafe vsyslog(event.level.priority, "%s", $0) }
        }
    }
}

extension Logger.Level {
    /// The priority of syslog(3) and of the journal.
    var priority: CInt {
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
