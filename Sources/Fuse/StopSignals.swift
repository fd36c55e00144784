internal import CFuse3
import Glibc

/// The signals that end `Session.run`. They are blocked and waited for, not handled: so none is missed, and the answer
/// to one runs as ordinary code.
enum StopSignals {
    /// Blocks them, and SIGURG, on the calling thread and on threads that it starts. Returns the mask from before.
    static func block() -> sigset_t {
        var signals = set
        var previous = sigset_t()
        // Safe: both are whole structures of ours.
        unsafe _ = sigaddset(&signals, SIGURG)
        unsafe _ = pthread_sigmask(SIG_BLOCK, &signals, &previous)
        return previous
    }

    /// Restores a mask that `block` returned.
    static func restore(_ mask: sigset_t) {
        var mask = mask
        // Safe: the mask is a whole structure of ours.
        unsafe _ = pthread_sigmask(SIG_SETMASK, &mask, nil)
    }

    /// Answers true when one of them has arrived, for the process or for the calling thread; false when SIGURG has, which
    /// the caller must block, or when `limit` is over. Without a limit it waits for ever.
    static func wait(for limit: Duration? = nil) -> Bool {
        var signals = set
        // Safe: sigaddset changes a whole structure of ours, and the calls below use such.
        unsafe _ = sigaddset(&signals, SIGURG)
        guard let limit else {
            var arrived: CInt = 0
            return unsafe sigwait(&signals, &arrived) == 0 && arrived != SIGURG
        }
        let (seconds, attoseconds) = limit.components
        var time = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
        let arrived = unsafe sigtimedwait(&signals, nil, &time)
        return arrived > 0 && arrived != SIGURG
    }

    /// SIGTERM always; SIGINT and SIGHUP unless the process was started to ignore them, as `nohup` does.
    private static var set: sigset_t {
        var signals = sigset_t()
        // Safe: sigemptyset and sigaddset change a whole structure of ours.
        unsafe _ = sigemptyset(&signals)
        for signal in [SIGTERM, SIGINT, SIGHUP] where signal == SIGTERM || !isIgnored(signal) {
            unsafe _ = sigaddset(&signals, signal)
        }
        return signals
    }

    private static func isIgnored(_ signal: CInt) -> Bool {
        var action = sigaction()
        // Safe: it only asks; SIG_IGN is the number 1, not a function that could be called.
        unsafe _ = sigaction(signal, nil, &action)
        return unsafe unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    }
}
