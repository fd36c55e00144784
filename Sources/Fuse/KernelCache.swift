internal import CFuse3
import Dispatch
import Synchronization

/// What the kernel keeps in the page cache of files of one session. Every method may be called from any thread.
public final class KernelCache: Sendable {
    // Safe: libfuse's session is used under the mutex alone, and no more after `end`.
    @safe private struct Live: @unchecked Sendable {
        let session: OpaquePointer
    }

    /// Nil once the session has ended.
    private let live: Mutex<Live?>
    /// The kernel waits for reads of the pages that it forgets: no thread that answers reads may wait for that.
    private let queue = DispatchQueue(label: "page-cache")

    init(of session: OpaquePointer) {
        live = unsafe Mutex(Live(session: session))
    }

    /// Has the kernel forget the `count` bytes from `offset` on of the file `inode`, and then does `work`, on a thread that may
    /// answer requests, but must not wait for one.
    public func forget(_ count: UInt64, at offset: UInt64, of inode: Inode, then work: @escaping @Sendable () -> Void) {
        queue.async { [self] in
            live.withLock { live in
                guard let live else { return }
                // Safe: the session is live until `end`. What the kernel knows nothing of it need not forget.
                unsafe _ = fuse_lowlevel_notify_inval_inode(
                    live.session, inode.rawValue, off_t(clamping: offset), off_t(clamping: count))
            }
            work()
        }
    }

    /// The session goes: waits for what is being forgotten.
    func end() {
        live.withLock { $0 = nil }
    }
}
