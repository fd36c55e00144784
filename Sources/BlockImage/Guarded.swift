import Synchronization

/// A value that one thread at a time may use: `Mutex`, in a form that the thread sanitizer understands.
///
/// A contended `Mutex` is handed from thread to thread inside the kernel, where the sanitizer sees nothing, so that it
/// would report every value that is guarded by one. The mark says the same in terms that it knows, and costs a plain
/// load and a plain store.
public struct Guarded<Value: ~Copyable>: ~Copyable {
    private let mutex: Mutex<Value>
    private let mark = Atomic(false)

    /// Guards `value`.
    public init(_ value: consuming sending Value) {
        mutex = Mutex(value)
    }

    /// Lets `body` use the value while no other thread does.
    public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        try mutex.withLock { value throws(Failure) in
            _ = mark.load(ordering: .acquiring)
            defer { mark.store(true, ordering: .releasing) }
            return try body(&value)
        }
    }

    /// Lets `body` use the value if no other thread does; nil if one does.
    public borrowing func withLockIfAvailable<Result>(
        _ body: (inout sending Value) -> sending Result
    ) -> sending Result? {
        mutex.withLockIfAvailable { value in
            _ = mark.load(ordering: .acquiring)
            defer { mark.store(true, ordering: .releasing) }
            return body(&value)
        }
    }
}

extension Guarded: Sendable where Value: ~Copyable {}
