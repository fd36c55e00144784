import BlockImage
import Glibc
import ImageFormats
import LVM
import PartitionTable

/// Puts groups together of the physical volumes of one disk, and of those that other images in the folder have.
///
/// A group is the one with its identifier, whatever its name. Another image's part is taken only where that says itself that
/// it is of this group and that a physical volume of this disk is, too: a guest can write to its own disk what it likes, and
/// must not come by another one's that way. A part without metadata is taken only if a third image has it in this group, and the
/// groups of all images are known. Where an identifier is there twice, as with clones, nothing tells which part is of which
/// guest, and none is taken; and so none is where an image of the folder cannot be read, which may be a clone.
struct GroupAssembly {
    private typealias Entry = NeighbourVolumes.Entry

    private let own: [PhysicalVolumes.Found]
    private let path: String
    private let image: OpenedImage?
    private var neighbours: NeighbourVolumes?
    /// The neighbours that were opened, by name.
    private var opened: [[UInt8]: OpenedImage] = [:]
    private(set) var notes: [ErrorText] = []
    /// Whether nothing failed that another state of the folder would mend.
    private(set) var isComplete = true

    /// Of `own`, those of one disk; `image`: the one whose neighbours may have other parts; nil: these are not looked into.
    init(_ own: [PhysicalVolumes.Found], path: String, beside image: OpenedImage?) {
        (self.own, self.path, self.image) = (own, path, image)
    }

    /// The neighbours that were opened.
    var images: [OpenedImage] { Array(opened.values) }

    /// The groups in the order in which the disk has parts of them.
    mutating func groups() -> [DiskVolumes.Group] {
        var ids: [VolumeID] = []
        for found in own { if let id = groupID(of: found.volume), !ids.contains(id) { ids.append(id) } }
        let groups = ids.compactMap { group($0) }
        return Self.named(groups)
    }

    /// The group that a physical volume is of, by its own word; for one that has no metadata, by that of others.
    private mutating func groupID(of volume: PhysicalVolume) -> VolumeID? {
        if let group = volume.copies.first { return group.id }
        let here = Set(own.flatMap(\.volume.copies).filter { $0.has(volume.id) }.map(\.id))
        if !here.isEmpty || volume.hasMetadataAreas { return here.count == 1 ? here.first : nil }
        let claims = Set(claims(of: volume.id).map(\.id))
        if claims.count != 1 { noteNeighbourFault() }
        if let gap = lookAround().groupGap {
            noteNeighbourFault()
            notes.append(
                "the physical volume \(volume.id) has no metadata, and is in no group that is known, as \(gap)")
            return nil
        }
        if claims.count > 1 {
            notes.append(
                "the physical volume \(volume.id) has no metadata, and \(claims.count) groups of the folder claim it")
        }
        return claims.count == 1 ? claims.first : nil
    }

    /// What other images say of groups with the member `id`.
    private mutating func claims(of id: VolumeID) -> [VolumeGroup] {
        entries.flatMap(\.volumes).flatMap(\.copies).filter { $0.has(id) }
    }

    private var entries: [Entry] {
        mutating get { lookAround().entries }
    }

    /// Has what depends on the other images of the folder be looked up anew before long: they change.
    private mutating func noteNeighbourFault() {
        if image != nil { isComplete = false }
    }

    /// The images of the folder, looked for when they are first needed.
    private mutating func lookAround() -> NeighbourVolumes {
        if let neighbours { return neighbours }
        let found = NeighbourVolumes(of: image)
        neighbours = found
        if let gap = found.gap {
            noteNeighbourFault()
            notes.append("volumes are not put together of several images: \(gap)")
        }
        return found
    }

    /// The group `id` as its newest metadata has it; nil where that is not of this disk any more.
    private mutating func group(_ id: VolumeID) -> DiskVolumes.Group? {
        var copies = own.flatMap(\.volume.newestCopies).filter { $0.id == id }
        let here = Set(own.map(\.volume.id))
        let named = Set(copies.flatMap { $0.members.map(\.id) })
        if copies.isEmpty || !named.isSubset(of: here) {
            // Of others those that know a part of this disk.
            copies += entries.flatMap(\.volumes).compactMap { $0.copies.first }
                .filter { group in group.id == id && here.contains { group.has($0) } }
        }
        guard let newest = copies.max(by: { $0.sequence < $1.sequence }) else { return nil }
        guard newest.members.contains(where: { here.contains($0.id) }) else {
            noteNeighbourFault()
            notes.append(
                "the disk was in the group \(newest.name) (\(id)), which by its newest metadata it is not in any more")
            return nil
        }
        var notes: [ErrorText] = []
        let isContradicted = copies.contains { $0.sequence == newest.sequence && $0 != newest }
        if isContradicted { noteNeighbourFault() }
        if copies.contains(where: { $0.sequence < newest.sequence }) {
            notes.append("not all copies of its metadata have the newest number, \(newest.sequence), whose is used")
        }
        var places: [VolumeID: Result<Image, ImageError>] = [:]
        var members: [DiskVolumes.Member] = []
        var images: [VolumeID: [UInt8]] = [:]
        for member in newest.members {
            let found = isContradicted ? .failure(contradiction(newest)) : place(of: member, in: newest, &images)
            places[member.id] = found
            let here = own.first { $0.volume.id == member.id }
            members.append(
                DiskVolumes.Member(
                    member: member, partition: here?.partition, isHere: here != nil, image: images[member.id]))
        }
        let volumes = newest.volumes.map { volume(in: newest, $0, on: places, images) }
        return DiskVolumes.Group(group: newest, members: members, volumes: volumes, notes: notes)
    }

    private func contradiction(_ group: VolumeGroup) -> ImageError {
        ImageError(
            .corrupt, path: path,
            "of whose group there are descriptions with the number \(group.sequence) that differ, so that nothing tells which holds"
        )
    }

    private func volume(
        in group: VolumeGroup, _ volume: LogicalVolume, on places: [VolumeID: Result<Image, ImageError>],
        _ images: [VolumeID: [UInt8]]
    ) -> DiskVolumes.Volume {
        let result: Result<Image, ImageError>
        var others: [OpenedImage] = []
        let name = DiskVolumes.name(volume.name, of: group.name)
        do throws(ImageError) {
            // DM_NAME_LEN of the kernel: no guest has such a one, and it may be too long for a file.
            guard name.utf8.count < 128 else {
                throw fault(.corrupt, "volume \(name): has a name that is too long for it")
            }
            result = .success(try group.disk(of: volume, on: places, path: path))
            let used = Set(volume.segments.flatMap(\.stripes).map(\.source))
            let names = Set(group.members.filter { used.contains($0.name) }.compactMap { images[$0.id] })
            others = names.sorted { $0.lexicographicallyPrecedes($1) }.compactMap { opened[$0] }
        } catch {
            result = .failure(error)
        }
        return DiskVolumes.Volume(name: name, volume: volume, result: result, others: others)
    }

    // MARK: Members

    /// The disk or partition that `member` of `group` is, or why there is none; `images` gets the name of the other image.
    private mutating func place(
        of member: VolumeGroup.Member, in group: VolumeGroup, _ images: inout [VolumeID: [UInt8]]
    ) -> Result<Image, ImageError> {
        let here = own.filter { $0.volume.id == member.id }
        do throws(ImageError) {
            guard here.isEmpty else {
                guard here.count == 1 else {
                    let numbers = here.compactMap(\.partition).map { "\($0)" }.joined(separator: " and ")
                    throw fault(.corrupt, "which the partitions \(numbers) both are")
                }
                // It may have come into another group since.
                if let other = here[0].volume.copies.first, other.id != group.id {
                    throw fault(.corrupt, "which is in the group \(other.name) by its own metadata")
                }
                return .success(here[0].disk)
            }
            let (disk, name) = try neighbour(with: member, of: group)
            images[member.id] = name
            return .success(disk)
        } catch {
            if here.isEmpty { noteNeighbourFault() }
            return .failure(error)
        }
    }

    private func fault(_ code: ImageError.Code, _ detail: ErrorText) -> ImageError {
        ImageError(code, path: path, detail)
    }

    /// The physical volume `member` on another image of the folder.
    private mutating func neighbour(
        with member: VolumeGroup.Member, of group: VolumeGroup
    ) throws(ImageError) -> (disk: Image, name: [UInt8]) {
        let around = lookAround()
        let ours = own.filter { group.has($0.volume.id) }.map(\.volume.id)
        let found = around.entries.filter { $0.volumes.contains { $0.id == member.id } }
        guard let entry = found.first else {
            throw fault(
                .system(errno: ENOENT),
                image == nil
                    ? "which is not on this disk, and other images are not looked into for this"
                    : "which is neither on this disk nor on another image of the folder")
        }
        // Which of two clones the other part belongs to, nothing tells.
        guard found.count == 1, entry.volumes.count(where: { $0.id == member.id }) == 1 else {
            let names = found.map(\.text)
            throw fault(
                .unsupported,
                "which is on several images of the folder (\(ErrorText(names, separator: ", "))), so that nothing tells which is meant"
            )
        }
        if let gap = around.gap {
            throw fault(.denied, "which is on another image, \(entry.text), and not read there, as \(gap)")
        }
        if let above = around.above {
            throw fault(
                .unsupported,
                "which is on another image, \(entry.text), and this image lies under \(above.text): that has the newer state of this disk"
            )
        }
        if let twin = around.entries.first(where: { $0.volumes.contains { ours.contains($0.id) } }) {
            throw fault(
                .unsupported,
                "which is on another image, \(entry.text); but \(twin.text) has the same physical volume as this one, so that nothing tells to which of both it belongs"
            )
        }
        try checkConsent(of: entry, for: member, to: group, ours)
        return (try disk(of: member, on: entry), entry.name)
    }

    /// Throws where the other image does not say itself that its part is of the group of this disk.
    private mutating func checkConsent(
        of entry: Entry, for member: VolumeGroup.Member, to group: VolumeGroup, _ ours: [VolumeID]
    ) throws(ImageError) {
        func agrees(_ copy: VolumeGroup) -> Bool { copy.id == group.id && ours.contains { copy.has($0) } }
        let other = entry.volumes.first { $0.id == member.id }
        if let copy = other?.copies.first, agrees(copy) { return }
        guard let other, other.copies.isEmpty, !other.hasMetadataAreas else {
            throw fault(
                .denied,
                "which is on another image, \(entry.text), whose own metadata does not say that this disk is in its group"
            )
        }
        if let gap = lookAround().groupGap {
            throw fault(
                .denied,
                "which is on another image, \(entry.text), without metadata, and not read there, as \(gap)")
        }
        // This disk may say of it what it likes: another image must have it in this group, and none in another one.
        let claims = claims(of: member.id)
        guard !claims.isEmpty else {
            throw fault(
                .denied,
                "which is on another image, \(entry.text), without metadata, and no third image has it in this group")
        }
        guard claims.allSatisfy(agrees) else {
            throw fault(
                .denied,
                "which is on another image, \(entry.text), without metadata, and other images have it in a group without this disk"
            )
        }
    }

    /// Opens the image of `entry`, and answers where it has the physical volume `member`.
    private mutating func disk(of member: VolumeGroup.Member, on entry: Entry) throws(ImageError) -> Image {
        do throws(ImageError) {
            let part = try lookAround().part(member.id, on: entry, opened[entry.name], path: path)
            opened[entry.name] = part.image
            return part.disk
        } catch {
            throw fault(error.code, "which is on another image, \(entry.text): \(error)")
        }
    }

    /// The groups with names that tell their volumes apart: where two groups have one name, the identifier's first characters
    /// are a part of it.
    private static func named(_ groups: [DiskVolumes.Group]) -> [DiskVolumes.Group] {
        var counts: [String: Int] = [:]
        for group in groups { counts[group.group.name, default: 0] += 1 }
        func mark(of group: DiskVolumes.Group) -> Substring {
            let id = group.group.id.description
            let isUnique = groups.count { $0.group.id.description.hasPrefix(id.prefix(6)) } == 1
            return isUnique ? id.prefix(6) : id[...]
        }
        return groups.map { group in
            guard counts[group.group.name] ?? 0 > 1 else { return group }
            let mark = mark(of: group)
            let volumes = group.volumes.map {
                DiskVolumes.Volume(
                    name: "\($0.name)~\(mark)", volume: $0.volume, result: $0.result,
                    others: $0.others)
            }
            return DiskVolumes.Group(
                group: group.group, members: group.members, volumes: volumes, notes: group.notes)
        }
    }
}
