import BlockImage

/// How long reads took, in steps of a quarter of each power of two: a quantile of it is at most a fifth too high.
struct LatencyHistogram: Sendable {
    /// Buckets for 1 µs to 2^30 µs, which are 18 minutes: the first is for all below 4 µs, the last for all above.
    private static let octaves = 28
    private var counts = [UInt64](repeating: 0, count: 1 + 4 * octaves)
    /// The longest, in microseconds.
    private(set) var longest: UInt64 = 0
    private var total: UInt64 = 0

    /// Counts one that took `duration`.
    mutating func add(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let microseconds =
            UInt64(clamping: max(0, seconds)) * 1_000_000 + UInt64(clamping: attoseconds / 1_000_000_000_000)
        counts[Self.bucket(of: microseconds)] += 1
        total += 1
        longest = max(longest, microseconds)
    }

    /// The microseconds that `share`, of a thousand, of all took at most; 0 where there are none.
    func quantile(_ share: UInt64) -> UInt64 {
        var left = (total * share + 999) / 1000
        for (bucket, count) in counts.enumerated() where total > 0 {
            if count >= left { return min(Self.end(of: bucket), longest) }
            left -= count
        }
        return longest
    }

    private static func bucket(of microseconds: UInt64) -> Int {
        guard microseconds >= 4 else { return 0 }
        let octave = 63 - microseconds.leadingZeroBitCount
        return min(4 * octaves, 1 + (octave - 2) * 4 + Int(microseconds >> UInt64(octave - 2) & 3))
    }

    /// The most microseconds that a bucket is for.
    private static func end(of bucket: Int) -> UInt64 {
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
    var latencies = LatencyHistogram()
}

/// What happened to one disk, or to all, through the mount, since it was mounted. Every method may be called from any
/// thread.
final class MountCounters: Sendable {
    /// How many failures are told apart, so that each is logged once.
    private static let failureLimit = 64

    private struct State {
        var figures = ReadFigures()
        /// The failures that were logged.
        var failures: Set<String> = []
    }

    private let state = Guarded(State())

    /// How things stand.
    var figures: ReadFigures { state.withLock { $0.figures } }

    /// The file was opened.
    func countOpen() {
        state.withLock { $0.figures.opens += 1 }
    }

    /// A read gave `count` bytes, and took `duration`.
    func countRead(_ count: Int, in duration: Duration) {
        state.withLock { state in
            state.figures.reads += 1
            state.figures.bytesRead += UInt64(count)
            state.figures.latencies.add(duration)
        }
    }

    /// A read failed. Answers whether that was the first failure with this reason, and one to log: a damaged image must
    /// not fill the log of the host.
    func countFailure(_ reason: String) -> Bool {
        state.withLock { state in
            state.figures.reads += 1
            state.figures.readErrors += 1
            state.figures.lastError = reason
            guard state.failures.count < Self.failureLimit else { return false }
            return state.failures.insert(reason).inserted
        }
    }
}
