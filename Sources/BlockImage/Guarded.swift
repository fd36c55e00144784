import Glibc

/// A value that one thread at a time may use.
///
/// The lock is a plain pthread mutex. `Synchronization.Mutex` hands a contended lock from thread to thread inside the
/// kernel (a priority-inheriting futex): for the short look-ups here, with as many threads as wait for reads, each of
/// them then sleeps for nearly every lock, and reading falls to an eighth of the speed. Here whoever comes first takes it.
// Safe: the value is touched only by the thread that holds the mutex, which is allocated so that it never moves.
@safe public struct Guarded<Value: ~Copyable>: ~Copyable, @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let value: UnsafeMutablePointer<Value>

    /// Guards `value`.
    public init(_ value: consuming sending Value) {
        // Both in one allocation: who mounts ten thousand images has some sixty thousand of these.
        let alignment = unsafe max(MemoryLayout<pthread_mutex_t>.alignment, MemoryLayout<Value>.alignment)
        let start = unsafe (MemoryLayout<pthread_mutex_t>.size + alignment - 1) / alignment * alignment
        let both = UnsafeMutableRawPointer.allocate(
            byteCount: start + MemoryLayout<Value>.size, alignment: alignment)
        unsafe mutex = both.bindMemory(to: pthread_mutex_t.self, capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        unsafe _ = pthread_mutex_init(mutex, nil)
        unsafe self.value = (both + start).bindMemory(to: Value.self, capacity: 1)
        unsafe self.value.initialize(to: value)
    }

    deinit {
        unsafe value.deinitialize(count: 1)
        unsafe _ = pthread_mutex_destroy(mutex)
        unsafe UnsafeMutableRawPointer(mutex).deallocate()
    }

    /// Lets `body` use the value while no other thread does.
    public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe _ = pthread_mutex_unlock(mutex) }
        return try unsafe body(&value.pointee)
    }

    /// Lets `body` use the value if no other thread does; nil if one does.
    public borrowing func withLockIfAvailable<Result, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result? {
        guard unsafe pthread_mutex_trylock(mutex) == 0 else { return nil }
        defer { unsafe _ = pthread_mutex_unlock(mutex) }
        return try unsafe body(&value.pointee)
    }
}
