import BlockImage

/// How far the hashing of images has got, several of which are under way at once: of one image its bytes, of several how
/// much of all is done. May be used from any thread.
final class HashProgress: Sendable {
    private struct State {
        /// Made when the first bytes are done.
        var bar: ProgressBar?
        /// What of each image under way is done, 0 to 1.
        var parts: [Int: Double] = [:]
        var ended = 0
    }

    private let images: [String]
    private let state = Guarded(State())

    /// For `images`, of which none is begun.
    init(_ images: [String]) {
        self.images = images
    }

    /// `done` of the `total` bytes of the image at `index` are done. Shown later where another thread shows its own now.
    func update(_ index: Int, _ done: UInt64, of total: UInt64) {
        _ = state.withLockIfAvailable { state in
            guard images.count > 1 else {
                let bar = state.bar ?? ProgressBar(images[index], total: total)
                state.bar = bar
                bar.update(done)
                return
            }
            let bar = state.bar ?? ProgressBar("\(images.count) images")
            state.bar = bar
            state.parts[index] = Double(done) / Double(max(total, 1))
            bar.update(part: (state.parts.values.reduce(0, +) + Double(state.ended)) / Double(images.count))
        }
    }

    /// No more is done of the image at `index`.
    func end(_ index: Int) {
        state.withLock { state in
            state.parts[index] = nil
            state.ended += 1
        }
    }

    /// Erases what is shown, until more is done.
    func hide() {
        state.withLock { $0.bar?.hide() }
    }
}
