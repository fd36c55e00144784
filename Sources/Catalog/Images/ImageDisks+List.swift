import BlockImage
import FormatCore
import ImageFormats
import PartitionTable

extension ImageDisks {
    /// The most partitions that a list has: a small file can have thousands of snapshots that share a table of a thousand.
    static let listLimit = 1 << 15

    /// A disk of a list.
    package struct Listed: Sendable {
        /// What follows the image's name in that of the disk: see `DiskPlace`.
        package var suffix: String
        /// What it is, for people.
        package var summary: String
        /// The disk.
        package var image: Image
        /// The image whose files it lies on, where that is not this one alone.
        package var opened: OpenedImage?
        /// Whether it can be written to, where what is written has a place: see `DiskID.isWritable`.
        package var isWritable = false
    }

    /// The image's own disk. Throws why it cannot be read.
    func whole() throws(ImageError) -> Listed {
        Listed(suffix: "", summary: wholeSummary, image: try opened.disk.result.get(), isWritable: true)
    }

    private var wholeSummary: String { "\(opened.layers.first?.format.rawValue ?? "raw") image" }

    /// The disk, its partitions, its volumes, the images of its chain (0 is the image itself), and each snapshot that can be read
    /// with its partitions, volumes and saved state; at most `partitionLimit` partitions, which the summaries of disks without say. None where
    /// the image itself cannot be read.
    package func list(partitionLimit: Int = listLimit) -> [Listed] {
        if let list = knownList { return list }
        let changes = changeCount
        let volumes = openVolumes(of: nil)
        let list = makeList(partitionLimit)
        keep(list, volumes, changes)
        return list
    }

    private func makeList(_ partitionLimit: Int) -> [Listed] {
        var left = partitionLimit
        var list: [Listed] = []
        func add(_ image: Image, _ suffix: String, _ summary: String, _ snapshot: Int? = nil) {
            let partitions = partitionTable(of: snapshot)?.partitions ?? []
            let isLeftOut = partitions.count > left
            let more = isLeftOut ? "; its partitions are left out: the image has more than \(partitionLimit)" : ""
            list.append(
                Listed(suffix: suffix, summary: summary + more, image: image, isWritable: snapshot == nil))
            guard !isLeftOut else { return }
            left -= partitions.count
            list += partitions.map {
                Listed(
                    suffix: suffix + DiskPlace.text(of: .partition($0.number)),
                    summary: "partition \($0.number)\($0.typeName.map { ": \($0)" } ?? "")", image: $0.image(in: image),
                    isWritable: snapshot == nil)
            }
            list += listedVolumes(of: snapshot, after: suffix)
        }
        guard let whole = try? whole().image else { return [] }
        add(whole, "", wholeSummary)
        for depth in opened.layers.indices where opened.layers.count > 1 {
            guard let image = whole.layer(depth) else { continue }
            let format = opened.layers[depth].format.rawValue
            let suffix = DiskPlace.text(of: .layer(depth))
            list.append(Listed(suffix: suffix, summary: "\(format) image in the chain", image: image))
        }
        for (index, name) in snapshotNames.enumerated() {
            guard let image = opened.snapshotDisk(index)?.image else { continue }
            let suffix = "@\(SnapshotNames.text(of: name))"
            add(image, suffix, "snapshot \"\(opened.snapshots[index].name)\"", index)
            if let saved = (try? opened.vmState(index)) ?? nil {
                list.append(
                    Listed(
                        suffix: suffix + DiskPlace.text(of: .vmState), summary: "saved state of the machine",
                        image: saved))
            }
        }
        return list
    }
}
