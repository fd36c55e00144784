import Glibc

/// A value that one thread at a time may use, and whose changes others wait for.
// Safe: the value is touched only by the thread that holds the mutex; both are allocated so that they never move.
@safe public final class Awaited<Value: Sendable>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let changed: UnsafeMutablePointer<pthread_cond_t>
    private var value: Value

    /// Guards `value`.
    public init(_ value: Value) {
        self.value = value
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe _ = pthread_mutex_init(mutex, nil)
        unsafe changed = .allocate(capacity: 1)
        unsafe changed.initialize(to: pthread_cond_t())
        unsafe _ = pthread_cond_init(changed, nil)
    }

    deinit {
        unsafe _ = pthread_cond_destroy(changed)
        unsafe changed.deallocate()
        unsafe _ = pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    /// Lets `body` change the value while no other thread uses it, and has all that wait look again.
    public func change<Result>(_ body: (inout Value) -> Result) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer {
            unsafe _ = pthread_cond_broadcast(changed)
            unsafe _ = pthread_mutex_unlock(mutex)
        }
        return body(&value)
    }

    /// Waits until `body` has an answer: it is asked at once, and after each change by another thread. What it does to the
    /// value when it answers nil, and when it answers, is seen by nothing that waits.
    public func wait<Result>(for body: (inout Value) -> Result?) -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe _ = pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&value) { return result }
            unsafe _ = pthread_cond_wait(changed, mutex)
        }
    }
}
