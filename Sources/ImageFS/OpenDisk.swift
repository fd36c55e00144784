import BlockImage
import Glibc
import ImageFormats
import Synchronization

/// A disk that somebody has open: as it was when it was opened. Every method may be called from any thread.
final class OpenDisk: Sendable {
    /// How long the files of an image are trusted to be as they were: looking at each for every read would cost more
    /// than a small read does.
    private static let trust = Duration.milliseconds(20)

    let node: ImageNode
    /// Which of the image's disks it is.
    let view: DiskView
    let counters: MountCounters
    let image: Image
    let readAhead: ReadAhead
    private let opened: OpenedImage
    private let start = ContinuousClock.now
    /// When the files were last looked at, in nanoseconds after `start`; `changed` from when one was found changed.
    private let lookedAt = Atomic<Int64>(0)
    private static let changed = Int64.max

    /// A reader of `image`, the disk `view` of `node` that `opened` is.
    init(
        _ image: Image, _ view: DiskView, of opened: OpenedImage, node: ImageNode, counters: MountCounters,
        readAhead: ReadAhead
    ) {
        self.image = image
        self.readAhead = readAhead
        self.view = view
        self.opened = opened
        self.node = node
        self.counters = counters
    }

    /// Throws `system` with ESTALE where a file of the image was written to since it was opened: its tables and what they
    /// lead to are no longer of one moment, and what was read would be a mixture.
    func checkUnchanged() throws(ImageError) {
        let now = start.duration(to: .now)
        let elapsed = now.components.seconds * 1_000_000_000 + now.components.attoseconds / 1_000_000_000
        let last = lookedAt.load(ordering: .relaxed)
        if last != Self.changed {
            if elapsed - last < Self.trust.components.attoseconds / 1_000_000_000 { return }
            lookedAt.store(elapsed, ordering: .relaxed)
        }
        guard let file = opened.changedFile else { return }
        lookedAt.store(Self.changed, ordering: .relaxed)
        node.noteChange(of: file.path)
        throw ImageError(
            .system(errno: ESTALE), path: file.path,
            "was written to while the image was open, and what is read now would be a mixture; open the disk anew")
    }
}
