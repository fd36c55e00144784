import BlockImage

/// Contexts of a library that are worth keeping between calls, each with one borrower at a time. Every method may be
/// called from any thread.
final class ContextPool<Context: Sendable>: Sendable {
    /// As many as threads that are likely to compress or decompress at once.
    private static var limit: Int { 16 }

    /// Those that are not borrowed, the one used last at the end.
    private let idle = Guarded<[Context]>([])

    /// A context that `suits`; nil where none is idle.
    func take(where suits: @Sendable (Context) -> Bool = { _ in true }) -> Context? {
        idle.withLock { contexts in
            contexts.lastIndex(where: suits).map { contexts.remove(at: $0) }
        }
    }

    /// Keeps a context for the next borrower, in place of the one that was idle longest where there are many.
    func giveBack(_ context: Context) {
        // What is dropped is freed once the lock is released.
        let dropped = idle.withLock { contexts in
            contexts.append(context)
            return contexts.count > Self.limit ? contexts.removeFirst() : nil
        }
        _ = dropped
    }
}
