import BlockImage
import FormatCore
import HostStorage
import ImageFormats
import PartitionTable
import SystemPackage

extension NamedImage {
    /// What a person calls `path`: the file of that name, or disk of an appliance; where there is none, a disk that an image
    /// holds, whose name comes after that of the image. A folder that is one image is named by the file in it that says so.
    package static func called(_ path: FilePath, format: ImageFormat? = nil) -> NamedImage {
        let whole = NamedImage(descriptor(inFolder: path) ?? path, format: format)
        guard !whole.isThere else { return whole }
        let bytes = path.bytes
        for mark in bytes.indices.reversed().dropLast() where "@/".utf8.contains(bytes[mark]) {
            guard let place = DiskPlace(bytes[mark...]) else { continue }
            let path = FilePath(bytes: Array(bytes[..<mark]))
            var image = NamedImage(descriptor(inFolder: path) ?? path, format: format)
            guard image.isThere, (try? FileStatus(at: image.path).kind) != .folder else { continue }
            // A disk of that name that an appliance does not have.
            if case .volume = place.part, let container = image.containerPlace, container.disk == nil { continue }
            image.place = place
            return image
        }
        return whole
    }

    /// The file that makes the folder `path` one image, as `DiskDescriptor.xml` does; nil where there is none.
    private static func descriptor(inFolder path: FilePath) -> FilePath? {
        guard (try? FileStatus(at: path).kind) == .folder else { return nil }
        return ImageFormat.fileNames.lazy.map { path.appending(nameText($0)) }
            .first { (try? FileStatus(at: $0).kind) == .regular }
    }

    /// Whether there is a file of that name, or such a disk in an appliance.
    var isThere: Bool {
        if let place = containerPlace { return place.disk == nil || (try? openContainer(place).disk(place)) != nil }
        return (try? FileStatus(at: path)) != nil
    }

    /// Has the snapshot `name`, if it is not nil, be meant: its disk, or the partition of it that the image's name says. Throws
    /// `outOfRange` where that says a snapshot already, or what no snapshot has.
    package mutating func choose(snapshot name: String?) throws(ImageError) {
        guard let name else { return }
        let isPart =
            switch place.part {
            case .whole, .partition, .volume: true
            case .layer, .vmState: false
            }
        guard place.snapshot == nil, isPart else {
            throw ImageError(
                .outOfRange, path: path.text, "\(place.text): says already which disk is meant, without --snapshot")
        }
        place.snapshot = name
    }

    /// Throws `unsupported` where a disk that the image holds is meant, by what is done with whole images.
    package func checkIsWhole() throws(ImageError) {
        guard place != DiskPlace() else { return }
        throw ImageError(
            .unsupported, path: path.text + place.text, "is a disk that an image holds, and no image by itself",
            hint: "\(shellWord(path.text)) is the image")
    }

    /// The disk that is meant. Throws why it cannot be read, or that there is no such snapshot.
    package func disk(resources: LayerResources = LayerResources()) throws(ImageError) -> NamedDisk {
        let disks = ImageDisks(of: try open(resources: resources))
        let id = try find(in: disks)
        guard let (disk, opened) = disks.open(id) else { throw missing(id, in: disks) }
        return NamedDisk(image: try disk.result.get(), opened: opened, onNote: onNote)
    }

    /// The one of `disks`, those of the image that `open` answered, that is meant. Throws why the image cannot be read, and
    /// `outOfRange` where it has no such disk.
    package func disk(of disks: ImageDisks) throws(ImageError) -> OpenedDisk {
        let id = try find(in: disks)
        guard let disk = disks.disk(id) else { throw missing(id, in: disks) }
        return disk
    }

    /// The place of that disk.
    package func find(in disks: ImageDisks) throws(ImageError) -> DiskID {
        _ = try disks.opened.disk.result.get()
        var id = DiskID(part: place.part)
        if let snapshot = place.snapshot {
            id.snapshot = try index(of: snapshot, in: disks)
            guard id.snapshot != nil, let disk = disks.disk(DiskID(snapshot: id.snapshot)) else {
                // It may be one of those that the damaged table hides.
                if let fault = (disks.opened.layers.first?.image as? any SnapshotImage)?.snapshotFault { throw fault }
                throw ImageError(
                    .outOfRange, path: path.text,
                    "has no snapshot \"\(snapshot)\"; \(Self.list(of: disks.opened.snapshots))")
            }
            _ = try disk.result.get()
        }
        guard disks.disk(id) != nil else { throw missing(id, in: disks) }
        return id
    }

    /// Which of the snapshots is called `name`, or else has it for its ID, or is called so by mounts and servers.
    private func index(of name: String, in disks: ImageDisks) throws(ImageError) -> Int? {
        let bytes = name.nameBytes
        if place.isListed, let listed = disks.snapshot(called: bytes) { return listed }
        let snapshots = disks.opened.snapshots
        let named = try NameMatch.find(bytes, among: snapshots.map(\.nameBytes), kind: "snapshot", of: .file(path.text))
        if let named, named.note == nil { return named.index }
        if let index = snapshots.firstIndex(where: { $0.idBytes == bytes }) { return index }
        // As mounts and servers call them.
        let listed =
            disks.snapshot(called: bytes)
            ?? disks.snapshotNames.firstIndex {
                SnapshotNames.text(of: $0).utf8.elementsEqual(name.utf8)
            }
        if let listed { return listed }
        if let note = named?.note { onNote?(note.description) }
        return named?.index
    }

    /// Which snapshots there are, in words.
    private static func list(of snapshots: [DiskSnapshot]) -> String {
        guard !snapshots.isEmpty else { return "it has none" }
        let names = snapshots.prefix(16).map { "\"\($0.name)\"" }.joined(separator: ", ")
        return "it has \(names)" + (snapshots.count > 16 ? " and \(snapshots.count - 16) more" : "")
    }

    /// That `disks` have none of that place, and which they have.
    private func missing(_ id: DiskID, in disks: ImageDisks) -> ImageError {
        let (what, instead): (String, String)
        switch id.part {
        case .whole: (what, instead) = ("such disk", "it has its own")
        case .partition(let number):
            let numbers = disks.partitionTable(of: id.snapshot)?.partitions.map { "\($0.number)" } ?? []
            what = "partition \(number)"
            instead = numbers.isEmpty ? "it has none" : "it has \(numbers.joined(separator: ", "))"
        case .volume(let name):
            let names = disks.volumes(of: id.snapshot).volumes.map(\.name)
            what = "volume \"\(name)\""
            instead = names.isEmpty ? "it has none" : "it has \(names.prefix(16).joined(separator: ", "))"
        case .layer(let depth):
            (what, instead) = ("image \(depth) in its chain", "the last one is \(disks.opened.layers.count - 1)")
        case .vmState: (what, instead) = ("saved state of a machine", "the snapshot was taken of the disk alone")
        }
        return ImageError(.outOfRange, path: path.text, "has no \(what); \(instead)")
    }
}
