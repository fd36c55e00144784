import BlockImage
import ImageFormats
import Synchronization

/// An image that a catalog has: opened when it is first asked for, and anew when its files have changed since. Every method
/// may be called from any thread; those that open it wait for each other.
package final class CatalogImage: Closable {
    private struct State {
        var disks: ImageDisks?
        /// The same, also after it was let go: it is open still where it is used.
        weak var lastDisks: ImageDisks?
        var openedAt = ContinuousClock.now
        var readers = 0
    }

    /// What the layers of the image count.
    package let counters = ReadCounters()
    private let failureLifetime: Duration
    private let open: @Sendable (ReadCounters) -> OpenedImage
    private let state = Guarded(State())
    /// Whether the file has lost its name, so that it will not be opened any more.
    private let hasLostName = Atomic(false)

    /// The image that `open` opens, which counts in the counters it is given. A failure to open it stands for
    /// `failureLifetime` before it is tried again.
    package init(failureLifetime: Duration = .zero, open: @escaping @Sendable (ReadCounters) -> OpenedImage) {
        self.failureLifetime = failureLifetime
        self.open = open
    }

    /// Its disks: of the image that is open, unless a file of it has changed since and it has no readers.
    package func disks() -> ImageDisks {
        state.withLock { disks(&$0) }
    }

    /// The same where that needs no look at a disk that may not answer; nil where it may.
    package func promptDisks() -> ImageDisks? {
        state.withLockIfAvailable { state in
            guard let disks = state.disks, disks.opened.isPrompt, isFresh(disks.opened, state) else { return nil }
            return disks
        } ?? nil
    }

    /// Its disks for a reader, who must call `giveBack` in the end; until then they stay the same. Nil where a reader still
    /// reads what the image was before it changed.
    package func take() -> ImageDisks? {
        state.withLock { state in
            let disks = disks(&state)
            if state.readers > 0, !disks.opened.isCurrent { return nil }
            state.readers += 1
            return disks
        }
    }

    /// A reader is done.
    package func giveBack() {
        state.withLock { state in
            state.readers -= 1
            if state.readers == 0, hasLostName.load(ordering: .relaxed) { state.disks = nil }
        }
    }

    /// Whether its name leads to another file by now: it has lost it, or it has readers whose files are no longer those of
    /// their names.
    package var isLeftBehind: Bool {
        if hasLostName.load(ordering: .relaxed) { return true }
        return state.withLock { state in
            guard state.readers > 0, let disks = state.disks else { return false }
            return !disks.opened.isCurrent
        }
    }

    /// The files that were written to since the image was opened; none where it is not open.
    package var writtenFiles: Set<FileIdentity> {
        state.withLock { $0.disks?.opened.writtenFiles ?? [] }
    }

    /// The file has lost its name: closes it, now or with the last reader.
    package func letGo() {
        hasLostName.store(true, ordering: .relaxed)
        _ = closeIfIdle()
    }

    /// Lets go of the image unless it is read, counted or about to be opened, and answers whether it did. Its files are closed
    /// unless its disks are used still.
    package func closeIfIdle() -> Bool {
        state.withLockIfAvailable { state in
            // What is being counted would be lost, and counted anew by the next reader.
            guard state.readers == 0, state.disks?.opened.isBeingCounted != true else { return false }
            state.disks = nil
            // A weak reference to what is gone has memory until it is set.
            if state.lastDisks == nil { state.lastDisks = nil }
            return true
        } ?? false
    }

    private func disks(_ state: inout State) -> ImageDisks {
        if let disks = state.disks ?? state.lastDisks {
            if state.readers > 0 || isFresh(disks.opened, state) {
                state.disks = disks
                return disks
            }
        }
        state.disks = nil
        let disks = ImageDisks(of: open(counters))
        state.disks = disks
        state.lastDisks = disks
        state.openedAt = .now
        return disks
    }

    /// Whether `opened` is what opening the image now would lead to, as far as that can be known.
    private func isFresh(_ opened: OpenedImage, _ state: State) -> Bool {
        guard opened.disk.error == nil else { return state.openedAt.duration(to: .now) < failureLifetime }
        return opened.isCurrent && !opened.mayBeOutdated
    }
}
