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

    /// Whether standard error is the journal: systemd tells its device and inode in JOURNAL_STREAM.
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
