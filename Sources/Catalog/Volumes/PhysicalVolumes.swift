import BlockImage
import LVM
import PartitionTable

/// The physical volumes of LVM on one disk.
struct PhysicalVolumes: Sendable {
    /// How many partitions are looked at, and how many physical volumes are read.
    private static let limits = (partitions: 1024, volumes: 256)

    /// One of them.
    struct Found: Sendable {
        var volume: PhysicalVolume
        /// The disk or the partition.
        var disk: Image
        /// The number of the partition; nil: the whole disk.
        var partition: Int?
    }

    var found: [Found] = []
    /// What is wrong, in sentences.
    var notes: [ErrorText] = []
    /// Whether all places where there may be some could be read.
    var isRead = true
    /// Whether there are more, or of other groups, than was found: labels or metadata are damaged, or too many.
    var isDamaged = false

    /// Those on `disk`, whose partition table is `table`: on its partitions, or, where it has none, on itself.
    init(on disk: Image, _ table: PartitionTable) {
        var places: [(disk: Image, partition: Int?)] = []
        isRead = table.fault == nil
        isDamaged = table.partitions.count > Self.limits.partitions
        // A part of a BSD's disklabel may begin where the partition does.
        var starts: Set<GuestOffset> = []
        for partition in table.partitions.prefix(Self.limits.partitions) where starts.insert(partition.start).inserted {
            places.append((partition.image(in: disk), partition.number))
        }
        if table.partitions.isEmpty { places = [(disk, nil)] }
        var budget = PhysicalVolume.Budget()
        for place in places where found.count < Self.limits.volumes {
            let name: ErrorText = place.partition.map { "partition \($0)" } ?? "the disk"
            do throws(ImageError) {
                guard let volume = try PhysicalVolume(on: place.disk, within: &budget) else { continue }
                guard MemberType(of: place.disk) != .raid else {
                    notes.append("\(name): is a member of a Linux RAID, and what that has of LVM is not read")
                    continue
                }
                found.append(Found(volume: volume, disk: place.disk, partition: place.partition))
                notes += volume.notes.map { "\(name): \($0)" }
                if volume.copies.isEmpty, !volume.notes.isEmpty { isDamaged = true }
            } catch {
                if error.code == .corrupt { isDamaged = true } else { isRead = false }
                // That the disk cannot be read is said where it is read.
                if error.code == .corrupt, error.offset != nil { notes.append("\(name): \(error)") }
            }
        }
        if found.count >= Self.limits.volumes { isDamaged = true }
    }
}
