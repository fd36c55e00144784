import BlockImage
import Dispatch
import HostStorage
import ImageFormats

import struct SystemPackage.FilePath

/// Counts what the images folder, and the folders below it, hold and the mount does not show. Looks on a thread of its own: a
/// folder that does not answer delays no other caller. Every method may be called from any thread.
final class SkippedSurvey: Sendable {
    /// The most folders and names that are looked at.
    private static let limit = 100_000
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

    private let source: ImageSource
    /// Nil where a single image is shown.
    private let root: FilePath?
    private let queue = DispatchQueue(label: "rblockfs.skipped")
    private let state = Guarded(State())

    /// Of `folder`, as the nodes from `source` show it.
    init(of folder: ImageFolder, from source: ImageSource) {
        self.source = source
        root = folder.isImage ? nil : folder.location
    }

    /// Looks at what is there, and passes it to `whenDone`.
    func look(_ whenDone: @escaping @Sendable (SkippedFiles) -> Void) {
        guard let root else { return whenDone(SkippedFiles()) }
        let isFirst = state.withLock { state in
            state.waiting.append(whenDone)
            guard !state.isLooking else { return false }
            state.isLooking = true
            state.began = .now
            return true
        }
        guard isFirst else { return }
        queue.async { [self] in
            var walk = Walk(source: source, left: Self.limit)
            walk.look(into: root, named: "", below: [])
            let found = walk.found
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

/// One walk through the folders.
private struct Walk {
    let source: ImageSource
    /// How many names may still be looked at.
    var left: Int
    var found = SkippedFiles()

    init(source: ImageSource, left: Int) {
        self.source = source
        self.left = left
    }

    /// `ancestors`: the folders that `folder` lies in. A link back to one of them would make the tree endless.
    mutating func look(into folder: FilePath, named prefix: String, below ancestors: [FilePath]) {
        guard let entries = source.policy.list(folder)?.entries else {
            return found.add(prefix.isEmpty ? "." : prefix, .unreadable)
        }
        let (parts, probed) = source.contents(of: entries, in: folder)
        for entry in entries.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }) {
            guard left > 0 else { return }
            left -= 1
            let name = prefix + nameText(entry.name)
            let location = folder.appending(FilePath(bytes: entry.name).components)
            let isShown =
                source.naming(of: entry.name).isShown || ImageFormat.isAppliance(entry.name)
                || probed[entry.name].isImage
            let place = entry.kind == .file ? nil : source.policy.place(of: location)
            if place?.kind == .folder, let place {
                guard place.location != folder, !ancestors.contains(place.location) else { continue }
                look(into: place.location, named: "\(name)/", below: ancestors + [folder])
            } else if parts.contains(entry.name) {
                found.add(name, .part)
            } else if entry.kind != .file, place == nil, !isShown || entry.kind == .folder {
                found.add(name, .unreadable)
            } else if !isShown {
                found.add(name, .noKnownExtension)
            }
        }
    }
}
