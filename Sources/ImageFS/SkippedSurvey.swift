import BlockImage
import Catalog
import Dispatch
import ImageFormats

/// Counts what the images folder, and the folders below it, hold and the mount does not show. Looks on a thread of its own: a
/// folder that does not answer delays no other caller. Every method may be called from any thread.
final class SkippedSurvey: Sendable {
    /// How long what was found is taken for what is there.
    private static let lifetime = Duration.seconds(1)
    /// How long a reader waits for what is there now, before what was found last must do.
    private static let patience = DispatchTimeInterval.milliseconds(500)

    private struct State {
        var latest = SkippedFiles()
        /// When looking began and ended last.
        var began: ContinuousClock.Instant?
        var ended: ContinuousClock.Instant?
        var isLooking = false
        var waiting: [@Sendable (SkippedFiles) -> Void] = []
    }

    /// Nil where a single image is shown.
    private let images: FolderImages?
    private let queue = DispatchQueue(label: "rblockfs.skipped")
    private let state = Guarded(State())

    /// Of `folder`, as the nodes from `source` show it.
    init(of folder: ImageFolder, from source: ImageSource) {
        images = folder.isImage ? nil : FolderImages(folder.location, source.rules)
    }

    /// Looks at what is there, and passes it to `whenDone`.
    func look(_ whenDone: @escaping @Sendable (SkippedFiles) -> Void) {
        guard let images else { return whenDone(SkippedFiles()) }
        let isFirst = state.withLock { state in
            state.waiting.append(whenDone)
            guard !state.isLooking else { return false }
            state.isLooking = true
            state.began = .now
            return true
        }
        guard isFirst else { return }
        queue.async { [self] in
            let found = images.look().skipped
            let waiting = state.withLock { state in
                defer { state.waiting = [] }
                state.latest = found
                state.ended = .now
                state.isLooking = false
                return state.waiting
            }
            for whenDone in waiting { whenDone(found) }
        }
    }

    /// What is there, or was lately.
    func latest() -> SkippedFiles {
        let (known, isWorthWaiting) = state.withLock { state in
            func isRecent(_ time: ContinuousClock.Instant?) -> Bool {
                time.map { $0.duration(to: .now) < Self.lifetime } ?? false
            }
            // What takes long does not answer, or has much to look at.
            return (state.latest, state.isLooking ? isRecent(state.began) : !isRecent(state.ended))
        }
        guard isWorthWaiting else { return known }
        let done = DispatchSemaphore(value: 0)
        look { _ in done.signal() }
        guard done.wait(timeout: .now() + Self.patience) == .success else { return known }
        return state.withLock { $0.latest }
    }
}
