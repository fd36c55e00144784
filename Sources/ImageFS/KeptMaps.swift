import BlockImage
import Catalog
import Glibc
import ImageFormats
import KernelMap

/// The maps of the disks of one image, each made when it is first asked for, and kept with what the page cache has of it
/// while the image is open. Every method may be called from any thread, and only those who need the same map wait for it.
final class KeptMaps: Sendable {
    /// A map, or a place for one that is being made.
    private final class Slot: Sendable {
        /// Nil until it is made; held while it is.
        let result = Guarded<Result<MappedDisk, ImageError>?>(nil)
    }

    private struct Kept {
        /// The image that it is a map of; it may be opened anew, and be another.
        weak var image: OpenedImage?
        let slot = Slot()
    }

    /// The most that are kept: an image may have any number of snapshots.
    private static let limit = 16

    /// Held for a look at it only: a folder that is looked into may wait for it.
    private let kept = Guarded<[DiskID: Kept]>([:])

    /// The map of the disk `view` of `image`, or why there is none; else what `make` answers, which others who ask for the
    /// same wait for, unless `budget` has no place for one more.
    func map(
        of view: DiskID, in image: OpenedImage, within budget: MapBudget,
        else make: () -> Result<MappedDisk, ImageError>
    ) -> Result<MappedDisk, ImageError> {
        slot(of: view, in: image).result.withLock { result in
            if let result { return result }
            let drop: @Sendable () -> Void = { [weak self] in self?.drop(view) }
            guard let made = budget.map(dropped: drop, making: make) else {
                // That may be another matter the next time.
                return .failure(
                    ImageError(
                        .unsupported, about: .disk, "has no map: \(budget.limit) disks of the mount are open by maps"))
            }
            result = made
            return made
        }
    }

    private func drop(_ view: DiskID) {
        let dropped = kept.withLock { $0.removeValue(forKey: view) }
        withExtendedLifetime(dropped) {}
    }

    private func slot(of view: DiskID, in image: OpenedImage) -> Slot {
        kept.withLock { kept in
            if let known = kept[view], known.image === image { return known.slot }
            kept = kept.filter { $0.value.image === image }
            if kept.count >= Self.limit { kept.removeAll() }
            let new = Kept(image: image)
            kept[view] = new
            return new.slot
        }
    }

    /// The map of `view` of `image`, or why there is none; nil where it was not asked for yet, or is being made.
    func known(_ view: DiskID, of image: OpenedImage) -> Result<MappedDisk, ImageError>? {
        let slot = kept.withLock { kept -> Slot? in
            guard let known = kept[view], known.image === image else { return nil }
            return known.slot
        }
        return slot?.result.withLockIfAvailable { $0 } ?? nil
    }

    /// Lets go of all: the image is closed. What of them is open is read on, and what is being made is only for those who
    /// wait for it.
    func forget() {
        // They end when the lock is released.
        let all = kept.withLock { kept in
            defer { kept = [:] }
            return kept
        }
        withExtendedLifetime(all) {}
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
