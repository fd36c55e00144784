import BlockImage
import Glibc
import ImageFormats

/// An open disk: as it was when it was opened. Every method may be called from any thread.
final class OpenDisk: Sendable {
    let node: ImageNode
    /// Which of the image's disks it is.
    let view: DiskView
    let counters: MountCounters
    let image: Image
    let readAhead: ReadAhead
    private let opened: OpenedImage

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
        guard let file = opened.fileChangedLately else { return }
        node.noteChange(of: file.path)
        throw ImageError(
            .system(errno: ESTALE), path: file.path,
            "was written to while the image was open, and what is read now would be a mixture; open the disk anew")
    }
}
