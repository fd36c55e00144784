import Synchronization

/// A reference to an object that is stored once, by the first thread that has one, and read by all without a lock.
///
/// `Synchronization.AtomicLazyReference` is the same, but its methods are compiled into its library, where the thread
/// sanitizer does not see their ordering (Swift 6.3, Linux): it reports the object's initialization as a race with its use.
// Safe: the object is retained when it is stored, and released with this; the word is atomic.
@safe public struct OnceReference<Instance: AnyObject & Sendable>: ~Copyable, Sendable {
    private let stored = unsafe Atomic<Unmanaged<Instance>?>(nil)

    /// Holds nothing yet.
    public init() {}

    deinit {
        unsafe stored.load(ordering: .acquiring)?.release()
    }

    /// The object, if one was stored. May be called from any thread.
    public borrowing func load() -> Instance? {
        unsafe stored.load(ordering: .acquiring)?.takeUnretainedValue()
    }

    /// Stores `instance` if there is none yet, and returns the one that is stored. May be called from any thread.
    public borrowing func storeIfNil(_ instance: Instance) -> Instance {
        let retained = unsafe Unmanaged.passRetained(instance)
        let (isFirst, current) = unsafe stored.compareExchange(
            expected: nil, desired: retained, ordering: .acquiringAndReleasing)
        guard !isFirst, let current = unsafe current else { return instance }
        unsafe retained.release()
        return unsafe current.takeUnretainedValue()
    }
}
