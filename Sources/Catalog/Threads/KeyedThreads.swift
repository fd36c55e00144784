import BlockImage
import Dispatch
import Glibc
import HostStorage

/// Threads for work that may take long or never end, such as reading a file of a disk that does not answer.
///
/// Work has a key: what it waits for. Work of one key takes a bounded number of threads, so that a key whose work never
/// ends leaves threads for all others; and keys take turns. A thread whose work takes longer than it is expected to is not
/// counted among those of all keys: keys whose work never ends leave threads for the others, too. Threads begin when there is work, and end when there has been
/// none for some seconds. Nothing waits for them: a process may end while they hang. May be used from any thread.
package final class KeyedThreads<Key: Hashable & Sendable>: Sendable {
    /// How long a thread waits for more work.
    private static var idleTime: DispatchTimeInterval { .seconds(5) }

    private typealias Work = @Sendable () -> Void

    private struct Queue {
        var waiting: [Work] = []
        var running = 0
        /// How often the key stands in `State.ready`.
        var announced = 0
    }

    private struct State {
        var queues: [Key: Queue] = [:]
        /// The keys whose work may begin, as often as it may.
        var ready: [Key] = []
        var threads = 0
        /// When the work began that is under way, by a number for each thread.
        var begun: [Int: ContinuousClock.Instant] = [:]
        var nextNumber = 0
        /// Whether it is to be looked whether threads take longer than expected.
        var isLookDue = false
        /// Those that wait for work, each at its own semaphore.
        var idle: [DispatchSemaphore] = []
    }

    private let threadsPerKey: Int
    private let threadLimit: Int
    private let waitingLimit: Int
    private let patience: Duration
    private let state = Guarded(State())

    /// The most threads, also of those that are not counted.
    private static var hardLimit: Int { 1024 }

    /// At most `threadsPerKey` threads do work of one key, and `threadLimit` of all, but for those that are busy with one
    /// piece for longer than `patience`; at most `waitingLimit` pieces of work wait for each key.
    package init(threadsPerKey: Int, threadLimit: Int, waitingLimit: Int = 4096, patience: Duration = .seconds(1)) {
        self.patience = patience
        self.threadsPerKey = threadsPerKey
        self.threadLimit = threadLimit
        self.waitingLimit = waitingLimit
    }

    /// Does `work` on a thread of `key`, after what waits for that key already. False where it is not done, because too
    /// much waits.
    package func run(for key: Key, _ work: @escaping @Sendable () -> Void) -> Bool {
        var (isNew, isLookDue) = (false, false)
        let isTaken = state.withLock { state in
            var queue = state.queues[key] ?? Queue()
            guard queue.waiting.count < waitingLimit else { return false }
            queue.waiting.append(work)
            let mayBegin = announce(&queue)
            if mayBegin { state.ready.append(key) }
            state.queues[key] = queue
            guard mayBegin else { return true }
            if let thread = state.idle.popLast() {
                thread.signal()
            } else if mayGrow(state) {
                state.threads += 1
                isNew = true
            } else if !state.isLookDue {
                state.isLookDue = true
                isLookDue = true
            }
            return true
        }
        if isNew { start(1) }
        if isLookDue { lookLater() }
        return isTaken
    }

    /// Whether one more thread may begin.
    private func mayGrow(_ state: State) -> Bool {
        guard state.threads >= threadLimit else { return true }
        guard state.threads < Self.hardLimit else { return false }
        let start = ContinuousClock.now - patience
        return state.threads - state.begun.values.count { $0 < start } < threadLimit
    }

    private func start(_ count: Int) {
        for _ in 0..<count where !startThread({ [self] in serve() }) {
            // Those that there are will do it.
            state.withLock { $0.threads -= 1 }
        }
    }

    /// Looks, once threads may have taken longer than expected, whether others are to begin in their place.
    private func lookLater() {
        let nanoseconds = Int(patience / .nanoseconds(1))
        DispatchQueue.global().asyncAfter(deadline: .now() + .nanoseconds(nanoseconds)) { [self] in
            let (count, isLookDue) = state.withLock { state -> (Int, Bool) in
                var count = 0
                while count < state.ready.count, mayGrow(state) {
                    state.threads += 1
                    count += 1
                }
                state.isLookDue = count < state.ready.count
                return (count, state.isLookDue)
            }
            start(count)
            if isLookDue { lookLater() }
        }
    }

    private func announce(_ queue: inout Queue) -> Bool {
        guard queue.waiting.count > queue.announced, queue.running + queue.announced < threadsPerKey else {
            return false
        }
        queue.announced += 1
        return true
    }

    /// What a thread does from its first to its last moment.
    private func serve() {
        let signal = DispatchSemaphore(value: 0)
        var done: Key?
        let number = state.withLock { state in
            state.nextNumber += 1
            return state.nextNumber
        }
        while true {
            let next = state.withLock { state -> (key: Key, work: Work)? in
                state.begun[number] = nil
                if let done { finish(done, &state) }
                guard !state.ready.isEmpty else {
                    state.idle.append(signal)
                    return nil
                }
                let key = state.ready.removeFirst()
                guard let work = state.queues[key]?.waiting.removeFirst() else { return nil }
                state.queues[key]?.announced -= 1
                state.queues[key]?.running += 1
                state.begun[number] = .now
                return (key, work)
            }
            done = next?.key
            if let next {
                next.work()
            } else if signal.wait(timeout: .now() + Self.idleTime) == .timedOut, isLeaving(signal) {
                return
            }
        }
    }

    private func finish(_ key: Key, _ state: inout State) {
        guard var queue = state.queues[key] else { return }
        queue.running -= 1
        if announce(&queue) { state.ready.append(key) }
        state.queues[key] = queue.running == 0 && queue.waiting.isEmpty ? nil : queue
    }

    /// Whether the thread that has waited at `signal` is not wanted; false where it was called at the last moment.
    private func isLeaving(_ signal: DispatchSemaphore) -> Bool {
        state.withLock { state in
            guard let index = state.idle.firstIndex(where: { $0 === signal }) else { return false }
            state.idle.remove(at: index)
            state.threads -= 1
            return true
        }
    }
}

/// What a thread does, on its way there.
private final class ThreadStart: Sendable {
    let work: @Sendable () -> Void

    init(_ work: @escaping @Sendable () -> Void) {
        self.work = work
    }
}

/// Starts a detached thread; false where the system has none.
private func startThread(_ work: @escaping @Sendable () -> Void) -> Bool {
    let start = unsafe Unmanaged.passRetained(ThreadStart(work))
    var thread = pthread_t()
    // Safe: the thread takes over the object, which is retained for it.
    let result = unsafe pthread_create(
        &thread, nil,
        { argument in
            if let argument = unsafe argument {
                unsafe Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue().work()
            }
            return nil
        }, start.toOpaque())
    guard result == 0 else {
        unsafe start.release()
        return false
    }
    pthread_detach(thread)
    return true
}

/// Gives memory that clients no longer make a server hold back to the system.
package func giveBackMemory() {
    giveBackHeap()
}
