import BlockImage
import Glibc
import ImageFormats
import LVM
import PartitionTable

/// The groups of LVM volumes that a disk has a part of, and their volumes as disks. Immutable; may be used from any thread.
package struct DiskVolumes: Sendable {
    /// A volume.
    package struct Volume: Sendable {
        /// Its name among those of the image: `VG-LV`, as the guest has it below /dev/mapper.
        package let name: String
        /// What the metadata says of it.
        package let volume: LogicalVolume
        /// The disk, or why it cannot be read.
        package let result: Result<Image, ImageError>
        /// Whether it can be read.
        package var isReadable: Bool { (try? result.get()) != nil }
        /// The other images that it lies on.
        let others: [OpenedImage]
    }

    /// A physical volume of a group.
    package struct Member: Sendable {
        /// What the metadata says of it.
        package let member: VolumeGroup.Member
        /// The number of the partition that it is; nil for a whole disk, and where it is not on this one.
        package let partition: Int?
        /// Whether it is on this disk.
        package let isHere: Bool
        /// The name of the other image that has it; nil where none has.
        package let image: [UInt8]?
    }

    /// A group.
    package struct Group: Sendable {
        package let group: VolumeGroup
        package let members: [Member]
        package let volumes: [Volume]
        package let notes: [ErrorText]
    }

    /// The groups, in the order in which the disk has parts of them.
    package let groups: [Group]
    /// The physical volumes that no group is known of.
    package let others: [(id: VolumeID, partition: Int?)]
    /// What is wrong, in sentences.
    package let notes: [ErrorText]
    /// The other images that were opened for volumes.
    private let images: [OpenedImage]
    /// Whether what is missing may be there by now.
    private let isComplete: Bool
    private let madeAt = ContinuousClock.now
    /// How long it stands that something is missing: as long as a failure to open an image.
    private static let failureLifetime = Duration.seconds(1)

    /// None.
    init() {
        (groups, others, notes, images, isComplete) = ([], [], [], [], true)
    }

    /// Those of `disk`, whose partition table is `table`; `opened`: the image, whose neighbours are
    /// looked into only where this disk has not all of a group; nil: they are not. `path`: the image, for errors.
    package init(of disk: Image, _ table: PartitionTable, path: String, beside opened: OpenedImage?) {
        let own = PhysicalVolumes(on: disk, table)
        guard !own.found.isEmpty else {
            (groups, others, notes, images, isComplete) = ([], [], own.notes, [], true)
            return
        }
        var assembly = GroupAssembly(own.found, path: path, beside: opened)
        let groups = assembly.groups()
        self.groups = groups
        others = own.found.filter { found in !groups.contains { $0.group.has(found.volume.id) } }
            .map { ($0.volume.id, $0.partition) }
        notes = own.notes + assembly.notes
        images = assembly.images
        isComplete = assembly.isComplete
    }

    /// Whether asking anew would not lead to another answer, as far as that can be known.
    var isCurrent: Bool {
        guard images.allSatisfy(\.isCurrent) else { return false }
        return isComplete || madeAt.duration(to: .now) < Self.failureLifetime
    }

    /// All volumes, in the order of their groups.
    package var volumes: [Volume] { groups.flatMap(\.volumes) }

    /// The volume called `name`; nil where there is none.
    package func volume(_ name: String) -> Volume? { volumes.first { $0.name == name } }

    /// Whether nothing of LVM is on the disk.
    package var isEmpty: Bool { groups.isEmpty && others.isEmpty && notes.isEmpty }

    /// What follows `IMAGE/` in the name of the volume `volume` of the group `group`, as device mapper has it: hyphens inside of
    /// the names are doubled, so that no two volumes have the same.
    static func name(_ volume: String, of group: String) -> String {
        func escaped(_ name: String) -> String { name.reduce(into: "") { $0 += $1 == "-" ? "--" : String($1) } }
        return "\(escaped(group))-\(escaped(volume))"
    }
}
