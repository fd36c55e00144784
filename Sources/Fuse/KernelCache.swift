internal import CFuse3
import Dispatch
import Synchronization

/// What the kernel keeps in the page cache of files of one session. Every method may be called from any thread.
public final class KernelCache: Sendable {
    // Safe: libfuse's session is used between `begin` and the end of what that began, and `end` waits for these.
    @safe private struct Live: @unchecked Sendable {
        let session: OpaquePointer
    }

    /// How long the end waits for what is being forgotten.
    private static let patience = 5.0

    /// Whether files that are read and written past the page cache can be mapped into memory, also for writing (Linux 6.6).
    public let mapsDirectFiles: Bool
    /// Nil once the session has ended.
    private let live: Mutex<Live?>
    private let underWay = DispatchGroup()

    init(of session: OpaquePointer, mapsDirectFiles: Bool) {
        self.mapsDirectFiles = mapsDirectFiles
        live = unsafe Mutex(Live(session: session))
    }

    /// Has the kernel forget the `count` bytes from `offset` on of the file `inode`, and then does `work`, on a thread that may
    /// answer requests, but must not wait for one. Once the session has ended, does nothing.
    public func forget(_ count: UInt64, at offset: UInt64, of inode: Inode, then work: @escaping @Sendable () -> Void) {
        guard let live = begin() else { return }
        // The kernel waits for reads of the pages that it forgets: no thread that answers reads may wait for that, and neither may
        // other files, or what else the process has its threads do. A queue of its own has a thread at once.
        DispatchQueue(label: "page-cache").async { [underWay] in
            // Safe: the session is live until this is left. What the kernel knows nothing of it need not forget.
            unsafe _ = fuse_lowlevel_notify_inval_inode(
                live.session, inode.rawValue, off_t(clamping: offset), off_t(clamping: count))
            work()
            underWay.leave()
        }
    }

    private func begin() -> Live? {
        live.withLock { live in
            if live != nil { underWay.enter() }
            return live
        }
    }

    /// The session goes: waits for what is being forgotten. Answers false where that does not end.
    func end() -> Bool {
        live.withLock { $0 = nil }
        return underWay.wait(timeout: .now() + Self.patience) == .success
    }
}
