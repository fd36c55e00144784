import BlockImage
import FormatCore
import Glibc
import ImageFormats

/// The disk that a person named, open. May be used from any thread.
package struct NamedDisk: Sendable {
    /// The disk.
    package let image: Image
    package let opened: OpenedImage
    /// Gets what people should know at once of the files that were opened.
    package let onNote: (@Sendable (String) -> Void)?
    /// What the files whose times tell nothing had when the disk was opened.
    private let samples: [(file: any HostFile, sample: FileSample)]

    package init(image: Image, opened: OpenedImage, onNote: (@Sendable (String) -> Void)?) {
        self.image = image
        self.opened = opened
        self.onNote = onNote
        samples = opened.layers.flatMap(\.files).filter(\.isDatedByClock).map { ($0, FileSample(of: $0)) }
    }

    /// The format of the image itself.
    package var format: ImageFormat { opened.layers[0].format }

    /// The files that its bytes come from, those of its chain among them.
    package var files: [any HostFile] { opened.layers.flatMap(\.files) }

    /// To be asked when all was read. Throws `system` with ESTALE where a file of the image was written to since it was
    /// opened: what was read may be of no one moment.
    package func checkUnchanged() throws(ImageError) {
        var changed = opened.changedFile
        for (file, sample) in samples where changed == nil {
            if FileSample(of: file) != sample { changed = file }
        }
        guard let changed else { return }
        throw ImageError(
            .system(errno: ESTALE), path: changed.path,
            "was written to while it was read, and what was read may be a mixture; read a snapshot, or read it when no program writes to it",
            hint: "--ignore-changes goes on")
    }

    /// What people should know where it is unchanged as far as that can be known.
    package var changeNotes: [ErrorText] {
        samples.map {
            "\(path: $0.file.path): its file system dates it by the clock, so that nothing tells whether it was written to "
                + "meanwhile; of its content, \(FileSample.count) samples are as they were"
        }
    }
}

/// What a file has at its start, at its end, and in pieces evenly between them: where the metadata of images and of what
/// lies on them is, some of it has changed as a rule where anything has.
private struct FileSample: Equatable {
    /// How many pieces are read.
    static let count = 64
    /// The bytes of the first and the last piece, and of the others.
    private static let endSize: UInt64 = 64 << 10
    private static let pieceSize: UInt64 = 4096

    private let digest: Int

    /// Of `file` as it is now, as far as its size when it was opened goes. A piece that cannot be read counts as its error.
    init(of file: any HostFile) {
        var hasher = Hasher()
        for index in 0..<Self.count {
            let isEnd = index == 0 || index == Self.count - 1
            let size = min(isEnd ? Self.endSize : Self.pieceSize, file.size)
            // A quotient first: the product of both could be too large.
            let step = (file.size - size) / UInt64(Self.count - 1)
            let start = index == Self.count - 1 ? file.size - size : step * UInt64(index)
            do throws(ImageError) {
                hasher.combine(try file.bytes(Int(size), at: HostOffset(start), of: "sample"))
            } catch {
                hasher.combine(error.code)
            }
        }
        digest = hasher.finalize()
    }
}

extension NamedDisk {
    /// What the dirty bitmap `name` of the image marks, and whether it is kept up to date: one that is disabled knows
    /// nothing of what was written since.
    ///
    /// Throws `unsupported` where the format has no bitmaps, and for one from which nothing can be learned, `outOfRange`
    /// where there is none of that name, and `corrupt` about its directory entry.
    package func dirtyRanges(of name: String) throws(ImageError) -> (ranges: any DirtyRangeReader, isEnabled: Bool) {
        let layer = opened.layers[0]
        guard let image = layer.image as? any BitmapImage else {
            throw ImageError(
                .unsupported, path: layer.file.path,
                "is \(layer.format.rawValue), which has no dirty bitmaps")
        }
        let bitmaps = image.bitmaps
        let found = try NameMatch.find(
            name.nameBytes, among: bitmaps.map(\.nameBytes), kind: "bitmap", of: .file(layer.file.path))
        guard let found else {
            if let fault = image.bitmapFault { throw fault }
            let names = bitmaps.map { "\"\(nameText($0.nameBytes))\"" }.joined(separator: ", ")
            throw ImageError(
                .outOfRange, path: layer.file.path,
                "has no bitmap \"\(name)\"; it has \(names.isEmpty ? "none" : names)")
        }
        if let note = found.note { onNote?(note.description) }
        let bitmap = bitmaps[found.index]
        return (try image.dirtyRanges(of: bitmap, from: GuestOffset(0)), bitmap.isEnabled)
    }
}
