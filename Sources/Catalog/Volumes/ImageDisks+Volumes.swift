import BlockImage
import ImageFormats
import LVM

/// The volumes of one disk of an image, open.
final class OpenVolumes: Sendable {
    /// What is known of them.
    let volumes: DiskVolumes
    private let disks: [String: (disk: OpenedDisk, opened: OpenedImage)]

    /// `volumes` of a disk of `image`.
    init(_ volumes: DiskVolumes, of image: OpenedImage) {
        self.volumes = volumes
        disks = Dictionary(
            volumes.volumes.map { volume in
                guard let disk = try? volume.result.get(), !volume.others.isEmpty else {
                    return (volume.name, (image.part(volume.result), image))
                }
                let all = image.joined(with: volume.others, as: disk)
                return (volume.name, (all.disk, all))
            }
        ) { first, _ in first }
    }

    /// The volume called `name`, or why it cannot be read, and the image whose files it lies on, with those of others.
    func disk(_ name: String) -> (disk: OpenedDisk, opened: OpenedImage)? { disks[name] }
}

extension ImageDisks {
    /// The groups of LVM volumes that the current disk has a part of, or the one that the snapshot at that place in the snapshot
    /// table keeps. Of a snapshot they are put together of its own disk only: what other disks had at that moment is not
    /// known. Looks at other images of the folder where this one has not all of a group.
    package func volumes(of snapshot: Int?) -> DiskVolumes { openVolumes(of: snapshot).volumes }

    /// One of its disks, or why it cannot be read, and the image whose files it lies on: see `opened(for:)`. Nil where there is
    /// none of that place.
    package func open(_ id: DiskID) -> (disk: OpenedDisk, image: OpenedImage)? {
        if case .volume(let name) = id.part {
            return openVolumes(of: id.snapshot).disk(name).map { ($0.disk, $0.opened) }
        }
        return disk(id).map { ($0, opened) }
    }

    /// The image whose files the disk `id` lies on: this one, with others where it is a volume that lies on several.
    package func opened(for id: DiskID) -> OpenedImage {
        guard case .volume(let name) = id.part else { return opened }
        return openVolumes(of: id.snapshot).disk(name)?.opened ?? opened
    }

    /// The volumes that a list has, each that can be read.
    func listedVolumes(of snapshot: Int?, after suffix: String) -> [Listed] {
        let open = openVolumes(of: snapshot)
        return open.volumes.volumes.compactMap { volume in
            guard let (disk, opened) = open.disk(volume.name), let image = disk.image else { return nil }
            return Listed(
                suffix: suffix + DiskPlace.text(of: .volume(volume.name)),
                summary: "\(volume.volume.type) volume of LVM", image: image,
                opened: opened === self.opened ? nil : opened)
        }
    }
}
