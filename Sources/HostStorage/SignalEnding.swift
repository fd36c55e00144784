import CLinux
import SystemPackage

/// What is undone when SIGINT, SIGTERM, SIGHUP or SIGPIPE ends this process: the one place that handles these signals in
/// the commands. Afterwards the process ends by the signal, as it would have without this.
public enum SignalEnding {
    /// Has the line that the cursor is in erased on standard error. May be called from any thread.
    public static func erasesLine() {
        clinux_ending_erase_line()
    }
}

/// A file that is removed when a signal ends this process, for as long as this object lives. May be used from any thread.
// Safe to send: the C functions that the entry is handed to may be called from any thread.
@safe final class RemovedAtEnding: @unchecked Sendable {
    private let entry: UnsafeMutableRawPointer?

    /// The file at `location`, absolute, whether it is there already or not.
    init(_ location: FilePath) {
        // Safe: the string ends in NUL, and is copied.
        unsafe entry = location.withPlatformString { unsafe clinux_ending_remove($0) }
    }

    deinit {
        // Safe: it was answered by clinux_ending_remove, and is forgotten once.
        unsafe clinux_ending_forget(entry)
    }
}
