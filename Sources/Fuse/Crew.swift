internal import CFuse3
import Glibc

/// The threads that answer the requests of a session: as many at a time as `CrewSize` says. To be used by one thread, its
/// owner.
// Safe: the workers are threads that use their own element, by the atomic operations of cfuse3.h, until they are joined.
@safe final class Crew {
    /// How often the owner looks while there are requests: as long do requests that wait for a disk wait for more
    /// threads.
    private static let interval = Duration.milliseconds(10)
    /// After so many looks at which nothing was done, the owner sleeps until a request comes.
    private static let idleLooks = 100

    private let shared: UnsafeMutablePointer<cfuse3_crew>
    private let workers: UnsafeMutablePointer<cfuse3_worker>
    private let limit: Int
    private var size: CrewSize
    private var started = 0
    private var idle = 0
    private var last = (time: ContinuousClock.now, answered: 0)

    /// A crew of at most `limit` threads for `session`, which must outlive it.
    init(_ session: OpaquePointer, limit: Int) {
        self.limit = max(1, limit)
        size = CrewSize(limit: self.limit, processors: sysconf(CInt(_SC_NPROCESSORS_ONLN)))
        unsafe shared = .allocate(capacity: 1)
        unsafe workers = .allocate(capacity: self.limit)
        unsafe shared.initialize(
            to: cfuse3_crew(session: session, owner: pthread_self(), active: CInt(size.active), watched: 1))
        for index in 0..<self.limit { unsafe cfuse3_prepare_worker(workers + index, shared, CInt(index)) }
    }

    deinit {
        unsafe workers.deallocate()
        unsafe shared.deallocate()
    }

    /// Starts the threads. Returns an error number or 0; `end` must be called in any case.
    func start() -> CInt {
        cfuse3_prepare_waking()
        while started < limit {
            let worker = unsafe workers + started
            let error = unsafe pthread_create(&worker.pointee.thread, nil, cfuse3_work, worker)
            guard error == 0 else { return error }
            started += 1
        }
        return 0
    }

    /// How long the owner may wait for something else before it looks; nil: until it gets a SIGURG.
    var untilNextLook: Duration? { idle < Self.idleLooks ? Self.interval : nil }

    /// Sees how busy the threads are, and adapts how many there are.
    func look() {
        var waiting = 0
        var busy: [Int] = []
        var answered = 0
        for index in 0..<limit {
            let state = unsafe cfuse3_state(workers + index)
            if state == CFUSE3_WAITING, index < size.active { waiting += 1 }
            if state == CFUSE3_ANSWERING { busy.append(index) }
            answered &+= unsafe Int(bitPattern: cfuse3_answered(workers + index))
        }
        let now = (time: ContinuousClock.now, answered: answered)
        let isIdle = busy.isEmpty && answered == last.answered
        size.adapt(
            after: last.time.duration(to: now.time), waiting: waiting,
            blocked: waiting == 0 ? busy.count(where: isBlocked) : 0, answered: answered &- last.answered)
        last = now
        unsafe cfuse3_set_active(shared, workers, CInt(size.active))
        idle = isIdle ? idle + 1 : 0
        // What comes from now on calls the owner.
        unsafe cfuse3_set_watched(shared, idle < Self.idleLooks ? 1 : 0)
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

    /// Ends the threads, after the requests that they have: the session must have ended. Returns the error number of
    /// one that failed, or 0.
    func end() -> CInt {
        var error: CInt = 0
        for index in 0..<started {
            let worker = unsafe workers + index
            while unsafe cfuse3_wake(worker) == 0 { usleep(1000) }
            var result: UnsafeMutableRawPointer?
            unsafe pthread_join(worker.pointee.thread, &result)
            error = max(error, CInt(truncatingIfNeeded: Int(bitPattern: result)))
        }
        return error
    }
}
