import BlockImage
import Glibc
import ImageFormats
import PartitionTable
import QCOW2

/// A disk that a server offers under a name: an image, what one of its snapshots keeps, or a partition of either. Open,
/// and as it was when it was opened. Every method may be called from any thread.
public struct Export: Sendable {
    /// `image`, `image@snapshot`, `image/p1` or `image@snapshot/p1`.
    public let name: String
    /// What it is, for people.
    public internal(set) var summary: String
    /// The disk.
    public let image: Image
    /// The image that it is or is a part of: its layers, snapshots and bitmaps.
    public let opened: OpenedImage
    /// The place of its snapshot in the image's snapshot table; nil for the current disk.
    public let snapshot: Int?
    /// The partition that it is; nil for a whole disk.
    public let partition: Partition?
    /// Whether all of its files are on disks of this host: see `HostFile`.
    public let isPrompt: Bool
    /// What answers to clients say of the host's paths.
    public let paths: HostPaths

    /// Throws `system` with ESTALE where a file of the image was written to since it was opened: what is read from then
    /// on would be a mixture. Costs next to nothing: the files are looked at every 20 milliseconds.
    public func checkUnchanged() throws(ImageError) {
        guard let file = opened.fileChangedLately else { return }
        throw ImageError(
            .system(errno: ESTALE), path: file.path,
            "was written to while it was served, and what is read now would be a mixture; open the export anew")
    }

    /// The dirty bitmaps that say something of this disk: those of the image, where it is the current disk, and whole.
    public var bitmaps: [Bitmap] {
        guard snapshot == nil, partition == nil, case .qcow2(let description, _)? = opened.layers.first?.facts else {
            return []
        }
        return description.bitmaps.filter { !$0.isInconsistent }
    }

    /// What of the disk from `start` on `bitmap`, one of `bitmaps`, calls dirty. Throws what is wrong with it.
    public func dirtyRanges(of bitmap: Bitmap, from start: GuestOffset) throws(ImageError) -> DirtyRanges {
        guard let top = opened.layers.first, case .qcow2(let description, _) = top.facts else {
            throw ImageError(.unsupported, path: name, "has no bitmaps, only QCOW2 images do")
        }
        return try description.dirtyRanges(of: bitmap, in: top.file, from: start)
    }
}

/// An image while it is served: all disks that it offers. Every method may be called from any thread.
final class ServedImage: Sendable {
    let opened: OpenedImage
    /// Whether all of its files are on disks of this host: see `HostFile`.
    let isPrompt: Bool
    private let name: String
    private let paths: HostPaths
    private let partitionLimit: Int
    private let all = Guarded<[Export]?>(nil)

    /// The image called `name`, which can be read, with at most `partitionLimit` partitions: a small file can have thousands
    /// of snapshots that share a table of a thousand.
    init(_ opened: OpenedImage, name: String, paths: HostPaths, partitionLimit: Int = 1 << 15) {
        self.opened = opened
        self.partitionLimit = partitionLimit
        self.name = name
        self.paths = paths
        isPrompt = opened.layers.allSatisfy { $0.files.allSatisfy(\.isPrompt) }
    }

    /// What `exports` answers, where that has been asked and answered before.
    var knownExports: [Export]? { all.withLockIfAvailable { $0 } ?? nil }

    /// The current disk. Throws why it cannot be read.
    func whole() throws(ImageError) -> Export {
        Export(
            name: name, summary: "\(opened.layers.first?.format.rawValue ?? "raw") image",
            image: try opened.disk.result.get(), opened: opened, snapshot: nil, partition: nil, isPrompt: isPrompt,
            paths: paths)
    }

    /// The disk, its partitions, and those of each snapshot that can be read. Reads the partition tables when first
    /// asked, and that of several snapshots with the same clusters once. Throws why the image itself cannot be read.
    func exports() throws(ImageError) -> [Export] {
        let whole = try whole()
        return all.withLock { all in
            if let all { return all }
            let exports = exports(of: whole)
            all = exports
            return exports
        }
    }

    private func exports(of whole: Export) -> [Export] {
        /// What makes snapshots have the same content.
        struct Content: Hashable {
            var table: UInt64
            var count: UInt32
            var size: UInt64
        }
        var known: [Content: [Partition]] = [:]
        var left = partitionLimit
        var exports: [Export] = []
        func add(_ disk: Export, _ partitions: [Partition]) {
            var disk = disk
            if partitions.count > left {
                disk.summary += "; its partitions are left out: the image has more than \(partitionLimit)"
            }
            exports.append(disk)
            guard partitions.count <= left else { return }
            left -= partitions.count
            exports += partitions.map { Self.export(of: $0, in: disk) }
        }
        add(whole, PartitionTable(of: whole.image).partitions)
        let names = SnapshotNames.unique(of: opened.snapshots.map { ($0.nameBytes, $0.idBytes) })
        for (index, name) in names.enumerated() {
            guard let image = opened.snapshotDisk(index)?.image else { continue }
            let snapshot = opened.snapshots[index]
            let content = Content(table: snapshot.l1TableOffset, count: snapshot.l1Size, size: image.virtualSize)
            let partitions = known[content] ?? PartitionTable(of: image).partitions
            known[content] = partitions
            add(
                Export(
                    name: "\(self.name)@\(SnapshotNames.text(of: name))", summary: "snapshot \"\(snapshot.name)\"",
                    image: image, opened: opened, snapshot: index, partition: nil, isPrompt: isPrompt, paths: paths),
                partitions)
        }
        return exports
    }

    private static func export(of partition: Partition, in disk: Export) -> Export {
        Export(
            name: "\(disk.name)/p\(partition.number)",
            summary: "partition \(partition.number)\(partition.typeName.map { ": \($0)" } ?? "")",
            image: partition.image(in: disk.image), opened: disk.opened, snapshot: disk.snapshot,
            partition: partition, isPrompt: disk.isPrompt, paths: disk.paths)
    }
}

/// What clients call the file `name`: its text, in which bytes that are not UTF-8 are written as `\xfc`. The protocols have
/// Unicode only (NBD, "String values"; RFC 8259, section 8.1).
///
/// Where such a text is the name of another file, as a whole or up to a slash, the caller tells them apart.
func exportName(_ name: [UInt8]) -> String {
    let text = nameText(name)
    return text.hasRawBytes ? printable(text) : text
}
