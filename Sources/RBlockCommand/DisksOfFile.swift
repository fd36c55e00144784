import BlockImage
import Catalog
import Completion
import FormatCore
import HostStorage
import ImageFormats
import PartitionTable
import SystemPackage

/// The disks that may follow the name of a file where it is completed: `IMAGE@SNAPSHOT`, `IMAGE/p1`, `APPLIANCE.ova/DISK`, and
/// `IMAGE:1` of `mount`, as far as the verb takes them.
struct DisksOfFile {
    /// What of the disks that a file holds a verb takes.
    private enum Kind {
        case all
        /// Whole images, those in an appliance among them.
        case images
        /// A new file, or one that is meant as a whole.
        case none
    }

    private let word: Completer.FileWord

    init(_ word: Completer.FileWord) { self.word = word }

    private var kind: Kind {
        switch (word.verb, word.place) {
        case ("create", _), ("commit", _), ("discard", _), ("convert", 1), ("delta", 2), ("rpc", _), ("mount", 1): .none
        case ("check", _), ("inspect", _), ("delta", 0): .images
        default: .all
        }
    }

    /// What may follow the mark; none where that cannot be said.
    var names: [String] {
        let path = FilePath(text: word.path)
        if word.mark == ":" { return word.verb == "mount" && word.place == 0 ? partitionNumbers(path) : [] }
        // A folder is looked into by the shell.
        guard kind != .none, !isFolder(path) else { return [] }
        let image = NamedImage.called(path)
        guard image.isInContainer || (try? FileStatus(at: image.path).kind) == .regular else { return [] }
        if word.mark == "@" {
            guard kind == .all, image.place == DiskPlace() else { return [] }
            return SnapshotNames.unique(of: image.snapshots.map { ($0.nameBytes, $0.idBytes) })
                .map { SnapshotNames.text(of: $0) }
        }
        return disksOfContainer(image) + (kind == .all ? parts(of: image) : [])
    }

    private func partitionNumbers(_ path: FilePath) -> [String] {
        let image = NamedImage.called(path)
        guard image.isInContainer || (try? FileStatus(at: image.path).kind) == .regular,
            let disks = (try? image.open()).map({ ImageDisks(of: $0) }), let id = try? image.find(in: disks),
            id.part == .whole
        else { return [] }
        return disks.partitionTable(of: id.snapshot)?.partitions.map { "\($0.number)" } ?? []
    }

    private func isFolder(_ path: FilePath) -> Bool { (try? FileStatus(at: path).kind) == .folder }

    private func disksOfContainer(_ image: NamedImage) -> [String] {
        guard let place = image.containerPlace, place.disk == nil, image.place == DiskPlace() else { return [] }
        return (try? image.openContainer(place).container.disks.map { nameText($0.name) }) ?? []
    }

    /// The partitions of its disk, the saved state of the machine, and the images of its chain.
    private func parts(of image: NamedImage) -> [String] {
        guard image.place.part == .whole, let opened = try? image.open() else { return [] }
        let disks = ImageDisks(of: opened)
        guard let id = try? image.find(in: disks) else { return [] }
        var parts = disks.partitionTable(of: id.snapshot)?.partitions.map { DiskPart.partition($0.number) } ?? []
        parts += disks.volumes(of: id.snapshot).volumes.compactMap { $0.isReadable ? .volume($0.name) : nil }
        if id.snapshot == nil {
            if opened.layers.count > 1 { parts += opened.layers.indices.map { .layer($0) } }
        } else if disks.disk(DiskID(snapshot: id.snapshot, part: .vmState)) != nil {
            parts.append(.vmState)
        }
        return parts.map { part in
            var place = DiskPlace()
            place.part = part
            return String(place.text.dropFirst())
        }
    }
}
