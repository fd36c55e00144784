/// How many threads wait for requests at a time.
///
/// The kernel hands each request to the thread that has waited longest. So with more threads than requests under way,
/// each request wakes a thread that sleeps, on a processor that may sleep, too, while the one that has just answered,
/// and is awake, goes to sleep; and with more than there are processors they also take these from the readers. On 4
/// virtual processors, 8 readers of 4 KiB got 28,000 reads a second from 16 threads and 93,000 from 4. More threads pay
/// only while requests wait for a disk.
struct ThreadPoolSize {
    /// Requests that take less than this on the average gain nothing from more threads.
    static let quick = Duration.microseconds(100)

    /// The fewest threads.
    let least: Int
    /// The most threads.
    let most: Int
    /// How many threads can compute at a time.
    let processors: Int
    /// How many threads wait for requests, or answer one.
    private(set) var active: Int
    /// Whether all were busy, and most blocked, when this was looked at last.
    private var wasBlocked = false

    /// A pool of at most `limit` threads, at least one, on so many `processors`.
    init(limit: Int, processors: Int) {
        most = max(1, limit)
        // Quick requests gain nothing beyond four: the kernel's own work for them does not get quicker.
        least = min(most, max(2, min(4, processors)))
        self.processors = min(most, max(1, processors))
        active = least
    }

    /// Adapts to what was seen: of the active threads, `waiting` have no request now, and `blocked` have one that waits
    /// for something else than a processor; all together have `answered` so many in the last `time`.
    mutating func adapt(after time: Duration, waiting: Int, blocked: Int, answered: Int) {
        let isBlocked = waiting == 0 && blocked * 2 >= active
        // Once may be chance: a thread that holds a lock lost its processor.
        defer { wasBlocked = isBlocked }
        if isBlocked {
            if wasBlocked { active = min(most, active * 2) }
        } else if waiting == 0 {
            // All compute, for long each, as for decompression, or for a moment.
            let isQuick = answered > 0 && time * active / answered < Self.quick
            active = isQuick ? least : max(least, processors)
        } else if waiting * 2 >= active {
            active = max(least, active / 2)
        }
    }
}
