import BlockImage
import Catalog
import Glibc
import ImageFormats
import KernelMap

/// The maps of the disks of one image, each made when it is first asked for, and kept with what the page cache has of it
/// while the image is open. Every method may be called from any thread.
final class KeptMaps: Sendable {
    private struct Kept {
        /// The image that it is a map of; it may be opened anew, and be another.
        weak var image: OpenedImage?
        let result: Result<MappedDisk, ImageError>
    }

    /// The most that are kept: an image may have any number of snapshots.
    private static let limit = 16

    private let kept = Guarded<[DiskID: Kept]>([:])

    /// The map of the disk `view` of `image`, or why there is none; else what `make` answers, which others wait for.
    func map(
        of view: DiskID, in image: OpenedImage, else make: () -> Result<MappedDisk, ImageError>
    ) -> Result<MappedDisk, ImageError> {
        kept.withLock { kept in
            if let known = kept[view], known.image === image { return known.result }
            kept = kept.filter { $0.value.image === image }
            if kept.count >= Self.limit { kept.removeAll() }
            let result = make()
            kept[view] = Kept(image: image, result: result)
            return result
        }
    }

    /// Whether there is one of `view` of `image`.
    func has(_ view: DiskID, of image: OpenedImage) -> Bool {
        kept.withLock { $0[view]?.image === image }
    }

    /// Lets go of all: the image is closed. What of them is open is read on.
    func forget() {
        kept.withLock { $0.removeAll() }
    }
}

extension OpenedImage {
    /// The map of `disk`, one of this image, for which `reading` reads what the kernel cannot find. Throws why there is none.
    func map(
        of disk: Image,
        reading: @escaping @Sendable (_ count: Int, _ offset: UInt64, inout OutputRawSpan) throws(ImageError) -> Void
    ) throws(ImageError) -> MappedDisk {
        let mapped = try MappedDisk(try ExtentMap(of: disk), of: disk, reading: reading)
        // What was looked up, and what was compared, is of one moment.
        guard let file = changedFile else { return mapped }
        throw Self.written(file)
    }

    /// Throws `system` with ESTALE where a file of the image was written to since it was opened: its tables and what they
    /// lead to are no longer of one moment, and what was read would be a mixture. `note` gets the path of the file.
    func checkUnchanged(_ note: (String) -> Void) throws(ImageError) {
        guard let file = fileChangedLately else { return }
        note(file.path)
        throw Self.written(file)
    }

    private static func written(_ file: any HostFile) -> ImageError {
        ImageError(
            .system(errno: ESTALE), path: file.path,
            "was written to while the image was open, and what is read now would be a mixture; open the disk anew")
    }
}
