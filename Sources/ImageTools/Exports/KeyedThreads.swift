import BlockImage
import Dispatch
import Glibc
import HostStorage

/// Threads for work that may take long or never end, such as reading a file of a disk that does not answer.
///
/// Work has a key: what it waits for. Work of one key takes a bounded number of threads, so that a key whose work never
/// ends leaves threads for all others; and keys take turns. Threads begin when there is work, and end when there has been
/// none for some seconds. Nothing waits for them: a process may end while they hang. May be used from any thread.
public final class KeyedThreads<Key: Hashable & Sendable>: Sendable {
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
        /// Those that wait for work, each at its own semaphore.
        var idle: [DispatchSemaphore] = []
    }

    private let threadsPerKey: Int
    private let threadLimit: Int
    private let waitingLimit: Int
    private let state = Guarded(State())

    /// At most `threadsPerKey` threads do work of one key, and `threadLimit` of all; at most `waitingLimit` pieces of work
    /// wait for each key.
    public init(threadsPerKey: Int, threadLimit: Int, waitingLimit: Int = 4096) {
        self.threadsPerKey = threadsPerKey
        self.threadLimit = threadLimit
        self.waitingLimit = waitingLimit
    }

    /// Does `work` on a thread of `key`, after what waits for that key already. False where it is not done, because too
    /// much waits.
    public func run(for key: Key, _ work: @escaping @Sendable () -> Void) -> Bool {
        var isNew = false
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
            } else if state.threads < threadLimit {
                state.threads += 1
                isNew = true
            }
            return true
        }
        if isNew, !startThread({ [self] in serve() }) {
            // Those that there are will do it.
            state.withLock { $0.threads -= 1 }
        }
        return isTaken
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
        while true {
            let next = state.withLock { state -> (key: Key, work: Work)? in
                if let done { finish(done, &state) }
                guard !state.ready.isEmpty else {
                    state.idle.append(signal)
                    return nil
                }
                let key = state.ready.removeFirst()
                guard let work = state.queues[key]?.waiting.removeFirst() else { return nil }
                state.queues[key]?.announced -= 1
                state.queues[key]?.running += 1
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
public func giveBackMemory() {
    giveBackHeap()
}
