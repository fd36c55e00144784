import Glibc

/// How the calling thread reads host files: blocking as usual, without ever blocking, or only while there is a reader for what it
/// reads.
///
/// This is a property of the thread and no parameter: a read passes through images, formats and caches on its way to the
/// file, and only the two ends of the way know of it.
public final class ReadScope: Sendable {
    /// The reason of a read that would have blocked.
    private static let wouldBlock = ImageError.Code.system(errno: EAGAIN)
    /// The reason of a read that was cancelled.
    private static let cancelled = ImageError.Code.system(errno: ECANCELED)

    private let mayBlock: Bool
    private let isCancelled: @Sendable () -> Bool

    private init(mayBlock: Bool, isCancelled: @escaping @Sendable () -> Bool) {
        self.mayBlock = mayBlock
        self.isCancelled = isCancelled
    }

    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        // Safe: the call fills an integer of ours. It fails when a process has a thousand keys; this one has a few.
        unsafe _ = pthread_key_create(&key, nil)
        return key
    }()

    private static var current: ReadScope? {
        // Safe: what is stored is a scope that `run` holds while it is stored.
        unsafe pthread_getspecific(key).map { unsafe Unmanaged<ReadScope>.fromOpaque($0).takeUnretainedValue() }
    }

    private func run<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        // Safe: the scope lives until the end of this call, and is not stored any more by then.
        let outer = unsafe pthread_getspecific(Self.key)
        unsafe _ = pthread_setspecific(Self.key, Unmanaged.passUnretained(self).toOpaque())
        defer {
            unsafe _ = pthread_setspecific(Self.key, outer)
            withExtendedLifetime(self) {}
        }
        return try body()
    }

    private static let withoutBlocking = ReadScope(mayBlock: false) { false }

    /// Does `body`, in which reads of files throw an error that `isWouldBlock` knows instead of waiting for a disk.
    public static func withoutBlocking<Result, Failure: Error>(
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try withoutBlocking.run(body)
    }

    /// Does `body`, in which reads of files throw an error that `isCancelled` knows once `isCancelled` answers true.
    public static func cancelled<Result, Failure: Error>(
        when isCancelled: @escaping @Sendable () -> Bool, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try ReadScope(mayBlock: true, isCancelled: isCancelled).run(body)
    }

    /// Whether this thread may wait for a disk, or for another thread that does.
    public static var mayBlock: Bool { current?.mayBlock ?? true }

    /// Throws where what this thread does was cancelled: for loops that read little. Costs a few nanoseconds.
    public static func checkWanted() throws(ImageError) {
        guard let current, current.isCancelled() else { return }
        throw ImageError(Self.cancelled, about: .named("request"), "was cancelled")
    }

    /// What a read throws that would block.
    public static func blocked(_ path: String) -> ImageError {
        ImageError(Self.wouldBlock, path: path, "would wait for the disk")
    }
}

extension ImageError {
    /// Whether it only says that a read would have blocked where it must not.
    public var isWouldBlock: Bool { code == .system(errno: EAGAIN) }
    /// Whether it only says that the request was cancelled.
    public var isCancelled: Bool { code == .system(errno: ECANCELED) }
}
