internal import CFuse3
import Glibc

/// The threads that answer the requests of a session: as many at a time as `ThreadPoolSize` says, beside those that are stuck in
/// a request. To be used by one thread, its owner.
// Safe: the workers are threads that use their own element, by the atomic operations of cfuse3.h, until they are joined.
@safe final class ThreadPool {
    /// How often the owner looks while there are requests: as long do requests that wait for a disk wait for more
    /// threads.
    private static let interval = Duration.milliseconds(10)
    /// After so many looks at which nothing was done, the owner sleeps until a request comes.
    private static let idleLooks = 100

    private let shared: UnsafeMutablePointer<cfuse3_pool>
    private let workers: UnsafeMutablePointer<cfuse3_worker>
    private let limit: Int
    private var size: ThreadPoolSize
    private var started = 0
    private var idle = 0
    private var last = (time: ContinuousClock.now, answered: 0)
    /// In the place of a thread that is stuck, another one serves.
    private var progress = ThreadProgress()
    /// Whether threads are left that use the memory of the thread pool.
    private var isAbandoned = false

    /// A thread pool of at most `limit` threads that get on with their requests, and at most `replacements` more in the place of
    /// stuck ones, for `session`, which must outlive it.
    init(_ session: OpaquePointer, limit: Int, replacements: Int) {
        size = ThreadPoolSize(limit: max(1, limit), processors: sysconf(CInt(_SC_NPROCESSORS_ONLN)))
        self.limit = max(1, limit) + max(0, replacements)
        unsafe shared = .allocate(capacity: 1)
        unsafe workers = .allocate(capacity: self.limit)
        unsafe shared.initialize(
            to: cfuse3_pool(session: session, owner: pthread_self(), active: CInt(size.active), watched: 1))
        for index in 0..<self.limit { unsafe cfuse3_prepare_worker(workers + index, shared, CInt(index)) }
    }

    deinit {
        guard !isAbandoned else { return }
        unsafe workers.deallocate()
        unsafe shared.deallocate()
    }

    /// Starts the first threads. Returns an error number or 0; `end` must be called in any case.
    func start() -> CInt {
        cfuse3_prepare_waking()
        return start(size.active)
    }

    /// Sees to it that `count` threads were started. Returns an error number or 0.
    private func start(_ count: Int) -> CInt {
        while started < count {
            let worker = unsafe workers + started
            let error = unsafe pthread_create(&worker.pointee.thread, nil, cfuse3_work, worker)
            guard error == 0 else { return error }
            started += 1
            progress.add(at: .now)
        }
        return 0
    }

    /// How long the owner may wait for something else before it looks; nil: until it gets a SIGURG.
    var untilNextLook: Duration? { idle < Self.idleLooks ? Self.interval : nil }

    /// Sees how busy the threads are, and adapts how many there are.
    func look() {
        let now = ContinuousClock.now
        let hasSlept = untilNextLook == nil
        var waiting = 0
        var busy: [Int] = []
        var stuck: Set<Int> = []
        var answered = 0
        var isIdle = true
        for index in 0..<started {
            let state = unsafe cfuse3_state(workers + index)
            let count = unsafe cfuse3_answered(workers + index)
            answered &+= Int(bitPattern: count)
            if state == CFUSE3_WAITING { waiting += 1 }
            let isAnswering = state == CFUSE3_ANSWERING
            switch progress.look(at: index, isAnswering: isAnswering, answered: count, now, hasSlept: hasSlept) {
            case .free: break
            case .busy:
                busy.append(index)
                isIdle = false
            case .stuck(let isNew):
                stuck.insert(index)
                // The one in its place is to be looked at, too.
                if isNew { isIdle = false }
            }
        }
        if answered != last.answered { isIdle = false }
        size.adapt(
            after: last.time.duration(to: now), waiting: waiting,
            blocked: waiting == 0 ? busy.count(where: isBlocked) : 0, answered: answered &- last.answered)
        last = (now, answered)
        activate(beside: stuck)
        idle = isIdle ? idle + 1 : 0
        guard idle >= Self.idleLooks else { return unsafe cfuse3_set_watched(shared, 1) }
        // What comes from now on calls the owner; what came since the threads were looked at has not.
        unsafe cfuse3_set_watched(shared, 0)
        let isBusy = (0..<started).contains { index in
            let isAnswering = unsafe cfuse3_state(workers + index) == CFUSE3_ANSWERING
            return progress.isBusy(
                index, isAnswering: isAnswering, answered: unsafe cfuse3_answered(workers + index))
        }
        if isBusy {
            idle = 0
            unsafe cfuse3_set_watched(shared, 1)
        }
    }

    /// Lets as many of the threads that are not `stuck` answer as `size` says, and starts those that are missing.
    private func activate(beside stuck: Set<Int>) {
        var count = 0
        var left = size.active
        while left > 0, count < limit {
            if !stuck.contains(count) { left -= 1 }
            count += 1
        }
        // Where the system gives no more threads, the next look tries again.
        _ = start(count)
        unsafe cfuse3_set_active(shared, workers, CInt(min(count, started)))
    }

    /// Whether a thread waits for something else than a processor: its state is not "R" (proc_pid_stat(5)).
    private func isBlocked(_ index: Int) -> Bool {
        let path = unsafe "/proc/self/task/\(cfuse3_thread_number(workers + index))/stat"
        // Safe: a string of ours, and at most as many bytes are read as the array has.
        let file = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        var text = [UInt8](repeating: 0, count: 64)
        let count = unsafe text.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, $0.count) }
        // The state follows the name, which is in parentheses and may have any characters.
        guard count > 0, let end = text[..<count].lastIndex(of: UInt8(ascii: ")")), end + 2 < count else {
            return false
        }
        return text[end + 2] != UInt8(ascii: "R")
    }

    /// Ends the threads, after the requests that they have, if these are done `within` some time: the session must have
    /// ended. Answers the error number of one that failed, or 0; and how many are left behind, stuck in a request: then
    /// the session must live as long as the process.
    func end(within time: Duration) -> (error: CInt, stuck: Int) {
        let deadline = ContinuousClock.now + time
        var left = Set(0..<started)
        while true {
            left = left.filter { index in unsafe cfuse3_wake(workers + index) == 0 }
            guard !left.isEmpty, ContinuousClock.now < deadline else { break }
            usleep(1000)
        }
        isAbandoned = !left.isEmpty
        var error: CInt = 0
        for index in 0..<started where !left.contains(index) {
            var result: UnsafeMutableRawPointer?
            unsafe pthread_join(workers[index].thread, &result)
            error = max(error, CInt(truncatingIfNeeded: Int(bitPattern: result)))
        }
        return (error, left.count)
    }
}

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

/// What the threads of a pool were doing whenever its owner looked. To be used by one thread.
struct ThreadProgress {
    /// What a thread is doing.
    enum Finding: Hashable {
        /// It has no request.
        case free
        /// It has one, and has not had it for long.
        case busy
        /// It is stuck in one; `isNew`: it was not when it was looked at last.
        case stuck(isNew: Bool)
    }

    /// A thread that has one request for longer is taken for stuck.
    static let patience = Duration.milliseconds(100)

    private struct Thread {
        /// How many requests it had answered when it was looked at last, and since when it has not answered another.
        var answered: UInt
        var since: ContinuousClock.Instant
        var isStuck = false
    }

    private var threads: [Thread] = []

    /// Another thread was started.
    mutating func add(at now: ContinuousClock.Instant) { threads.append(Thread(answered: 0, since: now)) }

    /// Takes over what the thread `index` is doing `now`. `hasSlept`: whether the owner has not looked for any time, in which
    /// a request may have begun at the last moment.
    mutating func look(
        at index: Int, isAnswering: Bool, answered: UInt, _ now: ContinuousClock.Instant, hasSlept: Bool
    ) -> Finding {
        guard isAnswering, answered == threads[index].answered else {
            threads[index] = Thread(answered: answered, since: now)
            return isAnswering ? .busy : .free
        }
        if threads[index].isStuck { return .stuck(isNew: false) }
        if hasSlept { threads[index].since = now }
        guard threads[index].since.duration(to: now) > Self.patience else { return .busy }
        threads[index].isStuck = true
        return .stuck(isNew: true)
    }

    /// Whether the thread `index`, which has answered so many requests, has one that it was not known to be stuck in.
    func isBusy(_ index: Int, isAnswering: Bool, answered: UInt) -> Bool {
        isAnswering && !(threads[index].isStuck && threads[index].answered == answered)
    }
}
