import BlockImage
import FormatCore
import Glibc
import ImageFormats
import Overlays

/// A disk that a server offers under a name: an image, or a disk that it holds (`DiskPlace`). Open, and as it was when it
/// was opened. Every method may be called from any thread.
package struct Export: Sendable {
    /// The image's name, and that of the disk in it: `image@snapshot/p1`.
    package let name: String
    /// What it is, for people.
    package let summary: String
    /// The disk.
    package let image: Image
    /// The image that it is or is a part of: its layers, snapshots and bitmaps.
    package let opened: OpenedImage
    /// Whether it is the image's own disk, and none that it holds.
    package let isWhole: Bool
    /// Where it is written to; nil where it cannot be.
    let range: WritableRange?
    /// Whether its bytes may be others later: it, or the disk that it is a part of, can be written.
    package let mayChange: Bool
    /// What answers to clients say of the host's paths.
    package let paths: HostPaths

    /// The one of `disks` that `listed` says, of the image called `name`; `isWhole`: whether it is the image's own.
    init(
        _ name: String, _ listed: ImageDisks.Listed, of disks: ImageDisks, isWhole: Bool, paths: HostPaths,
        mayChange: Bool
    ) {
        self.name = name + listed.suffix
        summary = listed.summary
        image = listed.image
        self.isWhole = isWhole
        opened = listed.opened ?? disks.opened
        range = listed.isWritable ? WritableRange(of: listed.image) : nil
        self.mayChange = mayChange
        self.paths = paths
    }

    /// Whether a thread that must not wait for a disk may try to read it: all of its files are on disks of this host (see
    /// `HostFile`), and nothing is written to it meanwhile.
    package var isPrompt: Bool {
        guard opened.isPrompt else { return false }
        return range.map { !$0.layer.disk.isThere } ?? !mayChange
    }

    /// Throws `system` with ESTALE where a file of the image was written to since it was opened: what is read from then
    /// on would be a mixture. Costs next to nothing: the files are looked at every 20 milliseconds.
    package func checkUnchanged() throws(ImageError) {
        guard let file = opened.fileChangedLately else { return }
        throw ImageError(
            .system(errno: ESTALE), path: file.path,
            "was written to while it was served, and what is read now would be a mixture; open the export anew")
    }

    /// The dirty bitmaps that say something of this disk: those of the image, where it is the current disk, and whole, and nothing
    /// can be written to it: they would be about the disk as it was.
    package var bitmaps: [DirtyBitmap] {
        guard isWhole, range == nil, let image = opened.layers.first?.image as? any BitmapImage else { return [] }
        return image.bitmaps.filter { !$0.isInconsistent }
    }

    /// What of the disk from `start` on `bitmap`, one of `bitmaps`, calls dirty. Throws what is wrong with it.
    package func dirtyRanges(of bitmap: DirtyBitmap, from start: GuestOffset) throws(ImageError) -> any DirtyRangeReader
    {
        guard let image = opened.layers.first?.image as? any BitmapImage else {
            throw ImageError(.unsupported, about: .named(name), "has no dirty bitmaps")
        }
        return try image.dirtyRanges(of: bitmap, from: start)
    }
}

/// What clients call the file `name`: its text, in which bytes that are not UTF-8 are written as `\xfc`. The protocols have
/// Unicode only (NBD, "String values"; RFC 8259, section 8.1).
///
/// Where such a text is the name of another file, as a whole or up to a slash, the caller tells them apart.
func exportName(_ name: [UInt8]) -> String {
    let text = nameText(name)
    return text.hasRawBytes ? printable(text) : text
}
