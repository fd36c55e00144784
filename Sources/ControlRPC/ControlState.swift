import BlockImage
import Catalog
import Glibc

/// What all clients share. Every method may be called from any thread.
final class ControlState: Sendable {
    /// The most bytes of answers that may wait for clients who do not read.
    static let waitingLimit = 128 << 20
    /// The most bytes of answers that are not small.
    static let answerMemory = 64 << 20
    /// Answers that have no more bytes are always made: each client may have few of them under way.
    static let smallAnswer = 16 << 10
    /// Messages that have no more bytes are always taken.
    static let smallMessage = 64 << 10

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
    /// The answers that are not small, from before they are made until they were sent.
    let answers = MemoryBudget(limit: answerMemory)
    /// The messages that are not small, from before they have come until they are answered.
    let messages = MemoryBudget(limit: 32 << 20)
    /// Does what is to be done now and then.
    private let housekeeping = KeyedThreads<Int>(threadsPerKey: 1, threadLimit: 1, waitingLimit: 1)

    init(serving catalog: ExportCatalog, shutdown: @escaping @Sendable () -> Void) {
        self.catalog = catalog
        self.shutdown = shutdown
    }

    /// What happened so far.
    var figures: Counters { counters.withLock { $0 } }

    /// What is another when something was answered or sent.
    var progress: [UInt64] {
        counters.withLock { [$0.requests, UInt64(clamping: $0.waitingBytes), UInt64(clamping: $0.connections)] }
    }

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

    /// A client is gone: the system gets back what memory it had.
    func giveBackSoon() {
        _ = housekeeping.run(for: 0) {
            // What else goes now is given back with it.
            for microseconds: UInt32 in [200_000, 800_000] {
                usleep(microseconds)
                giveBackMemory()
            }
        }
    }
}
