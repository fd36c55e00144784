import BlockImage
import Glibc
import HostStorage
import ImageFormats
import PartitionTable
import Synchronization
import SystemPackage

/// One image of the mount, opened when it is first looked into. Every method may be called from any thread.
final class ImageNode: Entry {
    /// How long a failure to open stands before it is tried again: long enough for one `ls`, short for a person who
    /// has just put the missing file there.
    private static let failureLifetime = Duration.seconds(1)

    /// How many of its disks are kept for who comes next.
    private static let diskLimit = 4096
    /// How many of the sizes that the kernel got are kept.
    private static let knownLimit = 1 << 16

    private struct State {
        var opened: OpenedImage?
        var openedAt = ContinuousClock.now
        var handles = 0
        /// The file that changed under a reader.
        var changedFile: String?
        /// The files that what the kernel has cached of each disk was read from: of the last reader who is done.
        var cached: [DiskView: [FileStamp]] = [:]
        /// The size of each disk that the kernel got last.
        var knownSizes: [DiskView: UInt64] = [:]
        var counters: [DiskView: MountCounters] = [:]
        /// The folder names of the open image's snapshots, once they were asked for.
        var snapshotNames: [[UInt8]]?
        /// The snapshots by their folders' names, once one was looked for.
        var snapshotIndices: [[UInt8]: Int]?
        /// The partition tables of the open image's disk and of the snapshot that was asked for last, under its place in the
        /// snapshot table.
        var partitionTables: [Int?: PartitionTable] = [:]
        var mapSize: UInt64?
        /// The disks of the open image that were asked for.
        var disks: [DiskView: OpenedDisk] = [:]

        mutating func forgetOpened() {
            opened = nil
            snapshotNames = nil
            snapshotIndices = nil
            partitionTables = [:]
            mapSize = nil
            disks = [:]
        }
    }

    private let id: EntryNumber
    var number: UInt64 { id.value }
    /// The file's path, or that of the archive and the file's name in it.
    let location: FilePath
    /// What the name says of the format; nil: the content decides.
    let format: ImageFormat?
    /// Bounds the threads that serve it.
    let requests: RequestGate
    var gate: RequestGate? { requests }
    /// Bounds the threads that read ahead of its readers.
    private let readAheadGate = RequestGate(limit: ReadAheadQueue.limitPerImage)
    /// What the layers of the image count.
    let layerCounters = ReadCounters()
    private let open: @Sendable (ReadCounters) -> OpenedImage
    private let state = Guarded(State())
    /// Whether the file has lost its name, so that it will not be opened any more.
    private let hasLostName = Atomic(false)

    /// The image that `open` opens, which counts in the counters it is given.
    init(
        number: consuming EntryNumber, at location: FilePath, format: ImageFormat?, gate: RequestGate? = nil,
        open: @escaping @Sendable (ReadCounters) -> OpenedImage
    ) {
        id = number
        self.location = location
        self.format = format
        self.open = open
        requests = gate ?? RequestGate()
    }

    /// The image: the one that is open, unless a file of it has changed since and it has no readers.
    func opened() -> OpenedImage {
        state.withLock { opened(&$0) }
    }

    /// What happened to one of its disks.
    func counters(_ view: DiskView) -> MountCounters {
        state.withLock { state in
            if let counters = state.counters[view] { return counters }
            let counters = MountCounters()
            state.counters[view] = counters
            return counters
        }
    }

    /// The folder names of its snapshots, in the order of the snapshot table.
    func snapshotNames() -> [[UInt8]] {
        state.withLock { snapshotNames(&$0) }
    }

    private func snapshotNames(_ state: inout State) -> [[UInt8]] {
        let opened = opened(&state)
        let names =
            state.snapshotNames ?? SnapshotNames.unique(of: opened.snapshots.map { ($0.nameBytes, $0.idBytes) })
        state.snapshotNames = names
        return names
    }

    /// The place in the snapshot table of the one whose folder is called `name`; nil where there is none.
    func snapshot(called name: [UInt8]) -> Int? {
        state.withLock { state in
            let names = snapshotNames(&state)
            let indices =
                state.snapshotIndices
                ?? Dictionary(names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
            state.snapshotIndices = indices
            return indices[name]
        }
    }

    /// The partition table of its disk, or of the one that the snapshot at that place in the snapshot table keeps; nil where
    /// there is no disk.
    func partitionTable(of snapshot: Int?) -> PartitionTable? {
        state.withLock { partitionTable(of: snapshot, &$0) }
    }

    /// The size of `map.json`; 0, as files have whose text is made while it is read, where the map is long. Nil where
    /// there is no disk.
    func mapSize() -> UInt64? {
        state.withLock { state in
            guard let disk = opened(&state).disk.image else { return nil }
            let size = state.mapSize ?? MapText(disk).size() ?? 0
            state.mapSize = size
            return size
        }
    }

    /// One of its disks, or why it cannot be read.
    func disk(_ view: DiskView) -> OpenedDisk {
        state.withLock { disk(view, &$0) }
    }

    /// Opens a disk for a reader, who must call `closeDisk` in the end; `keepsCache`: whether what the kernel cached
    /// at an earlier opening is of the same content. Throws why there is no disk.
    ///
    /// `reading` says where and how much may be read ahead. `isCached`: whether the kernel will cache what is read of
    /// it. Throws `system` with ESTALE where a reader still reads what the image was before it changed: then the kernel
    /// looks the name up again, and finds a new node. So it does where the disk has another size than the kernel knows,
    /// which would cut it off there: then the kernel looks the name up again, and finds the size.
    func openDisk(
        _ view: DiskView, reading: ReadAheadQueue, isCached: Bool = true
    ) throws(ImageError) -> (disk: OpenDisk, keepsCache: Bool) {
        let counters = self.counters(view)
        let (result, keepsCache) = state.withLock { state -> (Result<OpenDisk, ImageError>, Bool) in
            let image = opened(&state)
            if state.handles > 0, !image.isCurrent { return (.failure(leftBehind), false) }
            let result = self.disk(view, &state).result.map {
                OpenDisk(
                    $0, view, of: image, node: self, counters: counters,
                    readAhead: ReadAhead(of: $0, on: reading, through: readAheadGate))
            }
            guard case .success(let disk) = result else { return (result, false) }
            if isCached, let known = state.knownSizes[view], known != disk.image.virtualSize {
                return (.failure(leftBehind), false)
            }
            state.handles += 1
            return (result, state.cached[view] == image.stamp)
        }
        let disk = try result.get()
        if isCached { counters.countOpen() }
        return (disk, keepsCache)
    }

    /// What people should know of changes to the image's files, in sentences.
    var changeNotes: [ErrorText] {
        state.withLock { state in state.changedFile.map { [Self.changeNote($0)] } ?? [] }
    }

    /// The file at `path` was changed, or replaced by another, while it had readers.
    func noteChange(of path: String) {
        state.withLock { $0.changedFile = path }
    }

    private static func changeNote(_ path: String) -> ErrorText {
        "\(path: path): was changed or replaced while the image was open; who had it open goes on reading a file that "
            + "was replaced, and is refused (ESTALE) where a file was written to"
    }

    /// Whether its name leads to another file by now: it has lost it, or it has readers whose files are no longer those of
    /// their names.
    var isLeftBehind: Bool {
        if hasLostName.load(ordering: .relaxed) { return true }
        return state.withLock { state in
            guard state.handles > 0, let opened = state.opened else { return false }
            return !opened.isCurrent
        }
    }

    private var leftBehind: ImageError {
        ImageError(.system(errno: ESTALE), path: location.text, "has changed; look up its name again")
    }

    /// A reader is done; `view` is the disk that the kernel cached for them, nil where it did not.
    ///
    /// Only now is it certain that the kernel holds nothing older of it: it drops that when it takes in the answer to an
    /// opening, and may take in the answer to a later one, which lets it keep what it has, before that.
    func closeDisk(cached view: DiskView? = nil) {
        state.withLock { state in
            state.handles -= 1
            // File systems count time in ticks: another file, of the same number and size, that is made within one tick
            // looks the same. While this one is open there is none.
            if let view, let opened = state.opened {
                let isSettled = opened.layers.allSatisfy { $0.file.modified.age > FolderNode.tick }
                state.cached[view] = isSettled ? opened.stamp : nil
            }
            if state.handles == 0, hasLostName.load(ordering: .relaxed) { state.forgetOpened() }
        }
    }

    /// The file has lost its name: closes it, now or with the last reader.
    func letGo() {
        hasLostName.store(true, ordering: .relaxed)
        _ = closeIfIdle()
    }

    /// The kernel gets `size` bytes as the disk's size.
    func noteKnown(_ size: UInt64, of view: DiskView) {
        state.withLock { state in
            // An image may have millions. What goes was asked for long before: the kernel asks again after a second.
            if state.knownSizes.count >= Self.knownLimit, state.knownSizes[view] == nil {
                state.knownSizes.remove(at: state.knownSizes.startIndex)
            }
            state.knownSizes[view] = size
        }
    }

    /// Closes the image's files unless it is read, counted or about to be opened, and answers whether they are closed.
    func closeIfIdle() -> Bool {
        state.withLockIfAvailable { state in
            // What is being counted would be lost, and counted anew by the next reader.
            guard state.handles == 0, state.opened?.isBeingCounted != true else { return false }
            state.forgetOpened()
            return true
        } ?? false
    }

    private func opened(_ state: inout State) -> OpenedImage {
        if let opened = state.opened {
            if state.handles > 0 { return opened }
            let isFresh = state.openedAt.duration(to: .now) < Self.failureLifetime
            if opened.disk.error == nil ? opened.isCurrent && !opened.mayBeOutdated : isFresh { return opened }
        }
        state.forgetOpened()
        let opened = open(layerCounters)
        state.opened = opened
        state.openedAt = .now
        return opened
    }

    private func partitionTable(of snapshot: Int?, _ state: inout State) -> PartitionTable? {
        guard let disk = disk(DiskView(snapshot: snapshot), &state).image else { return nil }
        if let table = state.partitionTables[snapshot] { return table }
        let table = PartitionTable(of: disk)
        state.partitionTables = state.partitionTables.filter { $0.key == nil }
        state.partitionTables[snapshot] = table
        return table
    }

    private func disk(_ view: DiskView, _ state: inout State) -> OpenedDisk {
        let opened = opened(&state)
        if let disk = state.disks[view] { return disk }
        let disk = makeDisk(view, of: opened, &state)
        // A reader holds its own. An image may have 65,535 snapshots, each with many partitions.
        if state.disks.count >= Self.diskLimit { state.disks = [:] }
        state.disks[view] = disk
        return disk
    }

    private func makeDisk(_ view: DiskView, of opened: OpenedImage, _ state: inout State) -> OpenedDisk {
        let missing = OpenedDisk(
            .failure(
                ImageError(
                    .system(errno: ENOENT), path: location.text, "there is no such disk any more")))
        switch view.part {
        case .whole: return view.snapshot.map { opened.snapshotDisk($0) ?? missing } ?? opened.disk
        case .layer(0): return opened.disk
        case .vmState:
            do throws(ImageError) {
                let image = try view.snapshot.flatMap { index throws(ImageError) in try opened.vmState(index) }
                return image.map { opened.part(.success($0)) } ?? missing
            } catch {
                return OpenedDisk(.failure(error))
            }
        case .partition(let number):
            let disk = disk(DiskView(snapshot: view.snapshot), &state)
            guard let image = disk.image, let partition = partitionTable(of: view.snapshot, &state)?.partition(number)
            else { return missing }
            return opened.part(.success(partition.image(in: image)))
        case .layer(let depth):
            return opened.disk.image?.layer(depth).map { opened.part(.success($0)) } ?? missing
        }
    }
}
