import BlockImage
import FormatCore
import ImageFormats
import PartitionTable

/// The disks that an open image holds: its own, the partitions of that, the images of its chain, and of each snapshot the
/// disk, its partitions and the saved state of the machine. What the mount, the commands and the servers offer of an image
/// is found here, and nowhere else.
///
/// Each disk is opened when it is first asked for. Every method may be called from any thread; those that read the image
/// wait for each other.
package final class ImageDisks: Sendable {
    /// How many disks are kept for who comes next. A reader holds its own. An image may have 65,535 snapshots, each with
    /// many partitions.
    private static let diskLimit = 4096
    /// How many partition tables are kept.
    private static let tableLimit = 64

    /// What makes snapshots have the same disk.
    private struct Content: Hashable {
        var content: DiskSnapshot.ContentID
        var size: UInt64
    }

    private struct State {
        var snapshotNames: [[UInt8]]?
        /// The snapshots by their names, once one was looked for.
        var snapshotIndices: [[UInt8]: Int]?
        /// The partition tables that were asked for, by what they were read from; nil: the current disk.
        var partitionTables: [Content?: PartitionTable] = [:]
        var disks: [DiskID: OpenedDisk] = [:]
        var list: [Listed]?
    }

    /// The image.
    package let opened: OpenedImage
    private let state = Guarded(State())

    /// The disks of `opened`.
    package init(of opened: OpenedImage) {
        self.opened = opened
    }

    /// The names of its snapshots, in the order of the snapshot table: see `SnapshotNames`.
    package var snapshotNames: [[UInt8]] {
        state.withLock { snapshotNames(&$0) }
    }

    private func snapshotNames(_ state: inout State) -> [[UInt8]] {
        let names =
            state.snapshotNames ?? SnapshotNames.unique(of: opened.snapshots.map { ($0.nameBytes, $0.idBytes) })
        state.snapshotNames = names
        return names
    }

    /// The place in the snapshot table of the one with that of `snapshotNames`; nil where there is none.
    package func snapshot(called name: [UInt8]) -> Int? {
        state.withLock { state in
            let names = snapshotNames(&state)
            let indices =
                state.snapshotIndices
                ?? Dictionary(names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
            state.snapshotIndices = indices
            return indices[name]
        }
    }

    /// The partition table of the current disk, or of the one that the snapshot at that place in the snapshot table keeps;
    /// nil where there is no disk. Snapshots with the same content have one.
    package func partitionTable(of snapshot: Int?) -> PartitionTable? {
        state.withLock { partitionTable(of: snapshot, &$0) }
    }

    private func partitionTable(of snapshot: Int?, _ state: inout State) -> PartitionTable? {
        guard let disk = disk(DiskID(snapshot: snapshot), &state)?.image else { return nil }
        let content = snapshot.map { Content(content: opened.snapshots[$0].content, size: disk.virtualSize) }
        if let table = state.partitionTables[content] { return table }
        let table = PartitionTable(of: disk)
        if state.partitionTables.count >= Self.tableLimit {
            state.partitionTables = state.partitionTables.filter { $0.key == nil }
        }
        state.partitionTables[content] = table
        return table
    }

    /// One of its disks, or why it cannot be read; nil where there is none of that place.
    package func disk(_ id: DiskID) -> OpenedDisk? {
        state.withLock { disk(id, &$0) }
    }

    private func disk(_ id: DiskID, _ state: inout State) -> OpenedDisk? {
        if let disk = state.disks[id] { return disk }
        guard let disk = makeDisk(id, &state) else { return nil }
        if state.disks.count >= Self.diskLimit { state.disks = [:] }
        state.disks[id] = disk
        return disk
    }

    private func makeDisk(_ id: DiskID, _ state: inout State) -> OpenedDisk? {
        switch id.part {
        case .whole: return id.snapshot.map { opened.snapshotDisk($0) } ?? opened.disk
        case .layer(0): return opened.disk
        case .layer(let depth): return opened.disk.image?.layer(depth).map { opened.part(.success($0)) }
        case .vmState:
            do throws(ImageError) {
                let image = try id.snapshot.flatMap { index throws(ImageError) in try opened.vmState(index) }
                return image.map { opened.part(.success($0)) }
            } catch {
                return OpenedDisk(.failure(error))
            }
        case .partition(let number):
            guard let disk = disk(DiskID(snapshot: id.snapshot), &state)?.image,
                let partition = partitionTable(of: id.snapshot, &state)?.partition(number)
            else { return nil }
            return opened.part(.success(partition.image(in: disk)))
        }
    }
}

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
    }

    /// The image's own disk. Throws why it cannot be read.
    func whole() throws(ImageError) -> Listed {
        Listed(suffix: "", summary: wholeSummary, image: try opened.disk.result.get())
    }

    private var wholeSummary: String { "\(opened.layers.first?.format.rawValue ?? "raw") image" }

    /// `list`, where that has been asked and answered before.
    var knownList: [Listed]? { state.withLockIfAvailable { $0.list } ?? nil }

    /// The disk, its partitions, the images of its chain (0 is the image itself), and each snapshot that can be read with its
    /// partitions and saved state; at most `partitionLimit` partitions, which the summaries of disks without say. None where
    /// the image itself cannot be read.
    package func list(partitionLimit: Int = listLimit) -> [Listed] {
        state.withLock { state in
            if let list = state.list { return list }
            let list = makeList(partitionLimit, &state)
            state.list = list
            return list
        }
    }

    private func makeList(_ partitionLimit: Int, _ state: inout State) -> [Listed] {
        var left = partitionLimit
        var list: [Listed] = []
        func add(_ image: Image, _ suffix: String, _ summary: String, _ table: PartitionTable?) {
            let partitions = table?.partitions ?? []
            let isLeftOut = partitions.count > left
            let more = isLeftOut ? "; its partitions are left out: the image has more than \(partitionLimit)" : ""
            list.append(Listed(suffix: suffix, summary: summary + more, image: image))
            guard !isLeftOut else { return }
            left -= partitions.count
            list += partitions.map {
                Listed(
                    suffix: suffix + DiskPlace.text(of: .partition($0.number)),
                    summary: "partition \($0.number)\($0.typeName.map { ": \($0)" } ?? "")", image: $0.image(in: image))
            }
        }
        guard let whole = try? whole().image else { return [] }
        add(whole, "", wholeSummary, partitionTable(of: nil, &state))
        for depth in opened.layers.indices where opened.layers.count > 1 {
            guard let image = whole.layer(depth) else { continue }
            let format = opened.layers[depth].format.rawValue
            let suffix = DiskPlace.text(of: .layer(depth))
            list.append(Listed(suffix: suffix, summary: "\(format) image in the chain", image: image))
        }
        for (index, name) in snapshotNames(&state).enumerated() {
            guard let image = opened.snapshotDisk(index)?.image else { continue }
            let suffix = "@\(SnapshotNames.text(of: name))"
            add(image, suffix, "snapshot \"\(opened.snapshots[index].name)\"", partitionTable(of: index, &state))
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
