import BlockImage
import FormatCore
import Glibc
import ImageFormats
import PartitionTable

/// A disk that a server offers under a name: an image, or a disk that it holds (`DiskPlace`). Open, and as it was when it
/// was opened. Every method may be called from any thread.
package struct Export: Sendable {
    /// The image's name, and that of the disk in it: `image@snapshot/p1`.
    package let name: String
    /// What it is, for people.
    package internal(set) var summary: String
    /// The disk.
    package let image: Image
    /// The image that it is or is a part of: its layers, snapshots and bitmaps.
    package let opened: OpenedImage
    /// Whether it is the image's own disk, and none that it holds.
    package let isWhole: Bool
    /// Whether all of its files are on disks of this host: see `HostFile`.
    package let isPrompt: Bool
    /// What answers to clients say of the host's paths.
    package let paths: HostPaths

    /// Throws `system` with ESTALE where a file of the image was written to since it was opened: what is read from then
    /// on would be a mixture. Costs next to nothing: the files are looked at every 20 milliseconds.
    package func checkUnchanged() throws(ImageError) {
        guard let file = opened.fileChangedLately else { return }
        throw ImageError(
            .system(errno: ESTALE), path: file.path,
            "was written to while it was served, and what is read now would be a mixture; open the export anew")
    }

    /// The dirty bitmaps that say something of this disk: those of the image, where it is the current disk, and whole.
    package var bitmaps: [DirtyBitmap] {
        guard isWhole, let image = opened.layers.first?.image as? any BitmapImage else { return [] }
        return image.bitmaps.filter { !$0.isInconsistent }
    }

    /// What of the disk from `start` on `bitmap`, one of `bitmaps`, calls dirty. Throws what is wrong with it.
    package func dirtyRanges(of bitmap: DirtyBitmap, from start: GuestOffset) throws(ImageError) -> any DirtyRangeReader
    {
        guard let image = opened.layers.first?.image as? any BitmapImage else {
            throw ImageError(.unsupported, about: .named(name), "has no bitmaps, only QCOW2 images do")
        }
        return try image.dirtyRanges(of: bitmap, from: start)
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
    private let only: Result<Image, ImageError>?
    private let all = Guarded<[Export]?>(nil)

    /// The image called `name`, which can be read, with at most `partitionLimit` partitions: a small file can have thousands
    /// of snapshots that share a table of a thousand.
    ///
    /// `only`: the disk of it that is offered, and nothing else, in place of all.
    init(
        _ opened: OpenedImage, name: String, paths: HostPaths, partitionLimit: Int = 1 << 15,
        only: Result<Image, ImageError>? = nil
    ) {
        self.opened = opened
        self.only = only
        self.partitionLimit = partitionLimit
        self.name = name
        self.paths = paths
        isPrompt = opened.layers.allSatisfy { $0.files.allSatisfy(\.isPrompt) }
    }

    /// What `exports` answers, where that has been asked and answered before.
    var knownExports: [Export]? { all.withLockIfAvailable { $0 } ?? nil }

    /// The current disk. Throws why it cannot be read.
    func whole() throws(ImageError) -> Export {
        if let only {
            return Export(
                name: name, summary: "disk of an image", image: try only.get(), opened: opened, isWhole: false,
                isPrompt: isPrompt, paths: paths)
        }
        return Export(
            name: name, summary: "\(opened.layers.first?.format.rawValue ?? "raw") image",
            image: try opened.disk.result.get(), opened: opened, isWhole: true, isPrompt: isPrompt,
            paths: paths)
    }

    /// The disk, its partitions, the images of its chain, and each snapshot that can be read with its partitions and saved
    /// state. Where a disk that the image holds was named, that alone. Reads the partition tables when first
    /// asked, and that of several snapshots with the same clusters once. Throws why the image itself cannot be read.
    func exports() throws(ImageError) -> [Export] {
        let whole = try whole()
        return all.withLock { all in
            if let all { return all }
            let exports = only == nil ? exports(of: whole) : [whole]
            all = exports
            return exports
        }
    }

    private func exports(of whole: Export) -> [Export] {
        /// What makes snapshots have the same disk.
        struct Content: Hashable {
            var content: DiskSnapshot.ContentID
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
            exports += partitions.map {
                part(
                    of: disk, "/p\($0.number)", "partition \($0.number)\($0.typeName.map { ": \($0)" } ?? "")",
                    $0.image(in: disk.image))
            }
        }
        add(whole, PartitionTable(of: whole.image).partitions)
        exports += layers(of: whole)
        let names = SnapshotNames.unique(of: opened.snapshots.map { ($0.nameBytes, $0.idBytes) })
        for (index, name) in names.enumerated() {
            guard let image = opened.snapshotDisk(index)?.image else { continue }
            let snapshot = opened.snapshots[index]
            let content = Content(content: snapshot.content, size: image.virtualSize)
            let partitions = known[content] ?? PartitionTable(of: image).partitions
            known[content] = partitions
            let disk = part(of: whole, "@\(SnapshotNames.text(of: name))", "snapshot \"\(snapshot.name)\"", image)
            add(disk, partitions)
            if let state = (try? opened.vmState(index)) ?? nil {
                exports.append(part(of: disk, "/vmstate", "saved state of the machine", state))
            }
        }
        return exports
    }

    /// The images of the chain: numbered as a mount has them, 0 is the image itself.
    private func layers(of whole: Export) -> [Export] {
        guard opened.layers.count > 1 else { return [] }
        return opened.layers.indices.compactMap { depth in
            whole.image.layer(depth).map {
                part(of: whole, "/layers/\(depth)", "\(opened.layers[depth].format.rawValue) image in the chain", $0)
            }
        }
    }

    private func part(of disk: Export, _ name: String, _ summary: String, _ image: Image) -> Export {
        Export(
            name: disk.name + name, summary: summary, image: image, opened: opened, isWhole: false, isPrompt: isPrompt,
            paths: paths)
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
