import BlockImage
import Dispatch
import Glibc

/// Work that many may wait for, each for a bounded time, and that is done once for all of them: a host file that does not
/// answer holds one thread, however many ask for it. May be used from any thread.
final class SharedWork<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private final class Piece: Sendable {
        let began = ContinuousClock.now
        let isDone = DispatchGroup()
        let result = Guarded<Result<Value, ImageError>?>(nil)

        init() { isDone.enter() }
    }

    private let threads: KeyedThreads<Key>
    private let pieces = Guarded<[Key: Piece]>([:])

    /// Work that at most `threadLimit` threads do.
    init(threadLimit: Int) {
        threads = KeyedThreads(threadsPerKey: 1, threadLimit: threadLimit)
    }

    /// What `work` answers for `key`; where that is under way already, what that comes to. Throws `system` with ETIMEDOUT
    /// where it is not done within `limit` of its beginning; `what` names what is waited for. It goes on then, and whoever
    /// asks again hears at once that it is not done, until it is.
    func value(
        for key: Key, of what: ImageError.Subject, within limit: Duration,
        _ work: @escaping @Sendable () throws(ImageError) -> Value
    ) throws(ImageError) -> Value {
        let (piece, isNew) = pieces.withLock { pieces -> (Piece, Bool) in
            if let piece = pieces[key] { return (piece, false) }
            let piece = Piece()
            pieces[key] = piece
            return (piece, true)
        }
        if isNew, !threads.run(for: key, { [self] in finish(piece, of: key, with: work) }) {
            // The first piece of a key is always taken.
            preconditionFailure("no work waits for \(key)")
        }
        let left = max(.zero, ContinuousClock.now.duration(to: piece.began + limit)).components
        let nanoseconds = Int(left.seconds) * 1_000_000_000 + Int(left.attoseconds / 1_000_000_000)
        _ = piece.isDone.wait(timeout: .now() + .nanoseconds(nanoseconds))
        guard let result = piece.result.withLock({ $0 }) else {
            throw ImageError(.system(errno: ETIMEDOUT), about: what, "does not answer")
        }
        return try result.get()
    }

    private func finish(_ piece: Piece, of key: Key, with work: () throws(ImageError) -> Value) {
        let result: Result<Value, ImageError>
        do throws(ImageError) { result = .success(try work()) } catch { result = .failure(error) }
        piece.result.withLock { $0 = result }
        pieces.withLock { $0[key] = nil }
        piece.isDone.leave()
    }
}
