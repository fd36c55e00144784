import CFuse3
import Glibc
import Logging
import Sockets

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
