import BlockImage
import Catalog
import LVM
import PartitionTable

/// A group of LVM volumes that a disk has a part of.
package struct VolumeGroupReport: Encodable, Sendable {
    /// A physical volume of it.
    package struct Member: Encodable, Sendable {
        package var id: String
        /// Where the guest found it last.
        package var device: String?
        /// Whether it is on this disk, and the number of the partition that it is.
        package var here: Bool
        package var partition: Int?
        /// The other image of the folder that it was found on.
        package var image: PathText?
        /// True where the metadata says that what it holds is out of date.
        package var missing: Bool?
    }

    /// A volume.
    package struct Volume: Encodable, Sendable {
        /// What the group calls it, and what follows the image's name in that of the disk.
        package var name: String
        package var disk: String
        /// Its file in a mount.
        package var file: String?
        package var id: String?
        package var size: UInt64
        /// `linear`, `striped`, or another, which is not read.
        package var type: String
        /// Why it cannot be read.
        package var error: ImageError?
    }

    package var name: String
    package var id: String
    /// How often its metadata was changed.
    package var sequence: UInt64
    package var extentSize: UInt64
    package var physicalVolumes: [Member]
    package var volumes: [Volume]
    package var notes: [ErrorText]?

    private enum CodingKeys: String, CodingKey {
        case name, id, volumes, notes
        case sequence = "seqno"
        case extentSize = "extent-size"
        case physicalVolumes = "physical-volumes"
    }

    /// The facts of `group`; `file` answers the file of a volume's name in a mount.
    init(_ found: DiskVolumes.Group, file: (String) -> String?) {
        let group = found.group
        (name, id, sequence, extentSize) = (group.name, group.id.description, group.sequence, group.extentSize)
        physicalVolumes = found.members.map { place in
            Member(
                id: place.member.id.description, device: place.member.device, here: place.isHere,
                partition: place.partition, image: place.image.map { PathText(nameText($0)) },
                missing: place.member.isMissing ? true : nil)
        }
        volumes = found.volumes.map { found in
            let volume = found.volume
            var error: ImageError?
            if case .failure(let reason) = found.result { error = reason }
            return Volume(
                name: volume.name, disk: found.name, file: error == nil ? file(found.name) : nil,
                id: volume.id?.description, size: volume.size, type: volume.type, error: error)
        }
        notes = found.notes.isEmpty ? nil : found.notes
    }
}

extension ImageReport.More {
    /// Adds what the partitions of `disk`, by `table`, and its volumes are; `files` names those of partitions and volumes, where
    /// they have any.
    mutating func add(_ table: PartitionTable, of disk: Image, _ volumes: DiskVolumes?, _ files: ImageReport.Files) {
        partitionTable = PartitionTableInfo(table, on: disk, file: files.partition)
        if table.partitions.isEmpty { content = MemberType(of: disk) }
        guard let volumes, !volumes.isEmpty else { return }
        volumeGroups = volumes.groups.isEmpty ? nil : volumes.groups.map { VolumeGroupReport($0, file: files.volume) }
        volumeNotes = volumes.notes.isEmpty ? nil : volumes.notes
    }
}

extension ImageReport {
    /// Names the files of a mount that parts of a disk have.
    package struct Files {
        /// By the number of a partition.
        var partition: (Int) -> String?
        /// By the name of a volume.
        var volume: (String) -> String?

        /// Those that both answer.
        package init(
            partition: @escaping (Int) -> String? = { _ in nil }, volume: @escaping (String) -> String? = { _ in nil }
        ) {
            (self.partition, self.volume) = (partition, volume)
        }
    }
}
