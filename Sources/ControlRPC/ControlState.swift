import BlockImage
import ImageTools

/// What all clients share. Every method may be called from any thread.
final class ControlState: Sendable {
    /// The most bytes of answers that may wait for clients who do not read.
    static let waitingLimit = 256 << 20

    /// What happened so far.
    struct Counters {
        /// The clients who are connected.
        var connections = 0
        /// Requests, also of batches, and those that were refused or failed.
        var requests: UInt64 = 0
        var errors: UInt64 = 0
        /// How often each method was called.
        var calls: [String: UInt64] = [:]
        /// Bytes of disks that were read for clients.
        var bytesRead: UInt64 = 0
        /// Bytes of answers that were not taken yet.
        var waitingBytes = 0
    }

    let catalog: ExportCatalog
    let started = ContinuousClock.now
    /// Ends the server.
    let shutdown: @Sendable () -> Void
    private let counters = Guarded(Counters())

    init(serving catalog: ExportCatalog, shutdown: @escaping @Sendable () -> Void) {
        self.catalog = catalog
        self.shutdown = shutdown
    }

    /// What happened so far.
    var figures: Counters { counters.withLock { $0 } }

    /// One request more, of `method` where that is known.
    func count(_ method: String?, failed: Bool) {
        counters.withLock { counters in
            counters.requests &+= 1
            if failed { counters.errors &+= 1 }
            if let method { counters.calls[method, default: 0] &+= 1 }
        }
    }

    /// So many bytes more were read of disks.
    func countRead(_ bytes: Int) {
        counters.withLock { $0.bytesRead &+= UInt64(bytes) }
    }

    /// So many clients more, or less.
    func countConnection(_ clients: Int) {
        counters.withLock { $0.connections += clients }
    }

    /// So many bytes more, or less, wait for clients.
    func countWaiting(_ bytes: Int) {
        counters.withLock { $0.waitingBytes += bytes }
    }
}
