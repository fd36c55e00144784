import BlockImage
import Synchronization

/// How long reads took, in steps of a quarter of each power of two: a quantile of it is at most a fifth too high.
struct LatencyFigures: Sendable {
    fileprivate var counts: [UInt64] = []
    /// The longest, in microseconds.
    fileprivate(set) var longest: UInt64 = 0

    /// How many were counted.
    var total: UInt64 { counts.reduce(0, &+) }

    /// The microseconds that `share`, of a thousand, of all took at most; 0 where there are none.
    func quantile(_ share: UInt64) -> UInt64 {
        let total = total
        var left = (total * share + 999) / 1000
        for (bucket, count) in counts.enumerated() where total > 0 {
            if count >= left { return min(LatencyHistogram.end(of: bucket), longest) }
            left -= count
        }
        return longest
    }
}

/// Counts how long reads took, without a lock.
private struct LatencyHistogram: ~Copyable, Sendable {
    /// Buckets for 1 µs to 2^30 µs, which are 18 minutes: the first is for all below 4 µs, the last for all above.
    static let octaves = 28
    private let counts = InlineArray<113, Atomic<UInt64>> { _ in Atomic(0) }
    private let longest = Atomic<UInt64>(0)

    /// Counts one that took `duration`.
    func add(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let microseconds =
            UInt64(clamping: max(0, seconds)) * 1_000_000 + UInt64(clamping: attoseconds / 1_000_000_000_000)
        counts[Self.bucket(of: microseconds)].add(1, ordering: .relaxed)
        if microseconds > longest.load(ordering: .relaxed) { longest.max(microseconds, ordering: .relaxed) }
    }

    var figures: LatencyFigures {
        LatencyFigures(
            counts: counts.indices.map { counts[$0].load(ordering: .relaxed) },
            longest: longest.load(ordering: .relaxed))
    }

    private static func bucket(of microseconds: UInt64) -> Int {
        guard microseconds >= 4 else { return 0 }
        let octave = 63 - microseconds.leadingZeroBitCount
        return min(4 * octaves, 1 + (octave - 2) * 4 + Int(microseconds >> UInt64(octave - 2) & 3))
    }

    /// The most microseconds that a bucket is for.
    static func end(of bucket: Int) -> UInt64 {
        guard bucket > 0 else { return 3 }
        let octave = (bucket - 1) / 4 + 2
        return (UInt64((bucket - 1) % 4 + 5) << UInt64(octave - 2)) - 1
    }
}

/// What happened to a disk through the mount.
struct ReadFigures: Sendable {
    /// How often the file was opened.
    var opens: UInt64 = 0
    /// How many reads of it the kernel asked for, those that failed included.
    var reads: UInt64 = 0
    /// How many bytes they gave.
    var bytesRead: UInt64 = 0
    /// How many of them failed.
    var readErrors: UInt64 = 0
    /// What the last of these said.
    var lastError: String?
    /// How long those took that succeeded.
    var latencies = LatencyFigures()
}

/// What happened to one disk, or to all, through the mount, since it was mounted. Every method may be called from any
/// thread.
final class MountCounters: Sendable {
    /// How many failures are distinguished, so that each is logged once.
    private static let failureLimit = 64

    private struct Failures {
        /// How many there were.
        var count: UInt64 = 0
        var last: String?
        /// Those that were logged.
        var logged: Set<String> = []
    }

    private let opens = Atomic<UInt64>(0)
    private let bytesRead = Atomic<UInt64>(0)
    private let latencies = LatencyHistogram()
    private let failures = Guarded(Failures())

    /// How things stand.
    var figures: ReadFigures {
        var figures = ReadFigures()
        figures.opens = opens.load(ordering: .relaxed)
        figures.bytesRead = bytesRead.load(ordering: .relaxed)
        figures.latencies = latencies.figures
        (figures.readErrors, figures.lastError) = failures.withLock { ($0.count, $0.last) }
        figures.reads = figures.latencies.total + figures.readErrors
        return figures
    }

    /// The file was opened.
    func countOpen() {
        opens.add(1, ordering: .relaxed)
    }

    /// A read gave `count` bytes, and took `duration`.
    func countRead(_ count: Int, in duration: Duration) {
        bytesRead.add(UInt64(count), ordering: .relaxed)
        latencies.add(duration)
    }

    /// A read failed. Answers whether that was the first failure with this reason, and one to log: a damaged image must
    /// not fill the log of the host.
    func countFailure(_ reason: String) -> Bool {
        failures.withLock { failures in
            failures.count += 1
            failures.last = reason
            guard failures.logged.count < Self.failureLimit else { return false }
            return failures.logged.insert(reason).inserted
        }
    }
}
