import BlockImage
import FormatCore
import ImageFormats
import Overlays
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
        /// The list, and the volumes of the current disk and its `changeCount` when it was made.
        var list: (disks: [Listed], volumes: OpenVolumes, changes: UInt64)?
        /// The `changeCount` when the partition table of the current disk was read.
        var changes: UInt64 = 0
    }

    /// The image.
    package let opened: OpenedImage
    private let state = Guarded(State())
    /// The volumes of LVM that were asked for. They have a lock of their own: other images, which may not answer, are looked at
    /// for them.
    private let volumes = Guarded<[Content?: (open: OpenVolumes, changes: UInt64)]>([:])

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
        let changes = changeCount
        if let table = state.partitionTables[content], snapshot != nil || changes == state.changes { return table }
        let table = PartitionTable(of: disk)
        if snapshot == nil {
            // What was written may be another table. A partition that is open stays where it was.
            if let last = state.partitionTables[nil], last != table {
                state.disks = state.disks.filter { $0.key.snapshot != nil || !$0.key.part.isPartition }
            }
            state.changes = changes
        }
        if state.partitionTables.count >= Self.tableLimit {
            state.partitionTables = state.partitionTables.filter { $0.key == nil }
        }
        state.partitionTables[content] = table
        return table
    }

    /// `list`, where that has been asked and answered before, and another answer is not to be expected.
    var knownList: [Listed]? {
        guard let list = state.withLockIfAvailable({ $0.list }) ?? nil, list.volumes.volumes.isCurrent,
            list.changes == changeCount
        else { return nil }
        return list.disks
    }

    /// Keeps `list`, which has `volumes`, and was made when `changeCount` was `changes`.
    func keep(_ list: [Listed], _ volumes: OpenVolumes, _ changes: UInt64) {
        state.withLock { $0.list = (list, volumes, changes) }
    }

    /// A number that another one follows whenever something was written to the current disk.
    var changeCount: UInt64 { (opened.disk.image?.layer as? OverlayLayer)?.disk.changeCount ?? 0 }

    /// The volumes of LVM of the current disk, or of that of a snapshot, as they are now.
    func openVolumes(of snapshot: Int?) -> OpenVolumes {
        let disk = disk(DiskID(snapshot: snapshot))?.image
        let content = disk.flatMap { disk in
            snapshot.map { Content(content: opened.snapshots[$0].content, size: disk.virtualSize) }
        }
        return volumes.withLock { known in
            let changes = snapshot == nil ? changeCount : 0
            if let (open, then) = known[content], open.volumes.isCurrent, changes == then { return open }
            let table = partitionTable(of: snapshot)
            let path = opened.layers.first?.file.path ?? ""
            let found =
                disk.map {
                    DiskVolumes(
                        of: $0, table ?? PartitionTable(of: $0), path: path, beside: snapshot == nil ? opened : nil)
                }
                ?? DiskVolumes()
            let open = OpenVolumes(found, of: opened)
            if known.count >= Self.tableLimit { known = known.filter { $0.key == nil } }
            known[content] = (open, changes)
            return open
        }
    }

    /// One of its disks, or why it cannot be read; nil where there is none of that place.
    package func disk(_ id: DiskID) -> OpenedDisk? {
        if case .volume(let name) = id.part { return openVolumes(of: id.snapshot).disk(name)?.disk }
        return state.withLock { disk(id, &$0) }
    }

    private func disk(_ id: DiskID, _ state: inout State) -> OpenedDisk? {
        if id.snapshot == nil, id.part.isPartition { _ = partitionTable(of: nil, &state) }
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
        // Not under this lock: see `disk`.
        case .volume: return nil
        }
    }
}
