import BlockImage
import Glibc
import ImageFormats
import Synchronization
import SystemPackage

/// What happened to one disk through the mount, since it was mounted.
final class MountCounters: Sendable {
    /// How often the file was opened.
    let opens = Atomic<UInt64>(0)
    /// How many reads of it the kernel asked for.
    let reads = Atomic<UInt64>(0)
    /// How many bytes they gave.
    let bytesRead = Atomic<UInt64>(0)
    /// How many of them failed.
    let readErrors = Atomic<UInt64>(0)
}

/// One image of the mount, opened when it is first looked into. Every method may be called from any thread.
final class ImageNode: Sendable {
    /// How long a failure to open stands before it is tried again: long enough for one `ls`, short for a person who
    /// has just put the missing file there.
    private static let failureLifetime = Duration.seconds(1)

    private struct State {
        var opened: OpenedImage?
        var openedAt = ContinuousClock.now
        var handles = 0
        /// The files that what the kernel has cached of each disk was read from.
        var cached: [DiskView: [FileStamp]] = [:]
        var counters: [DiskView: MountCounters] = [:]
        /// The folder names of the open image's snapshots, once they were asked for.
        var snapshotNames: [[UInt8]]?
    }

    let number: UInt64
    /// The file's path, or that of the archive and the file's name in it.
    let location: FilePath
    /// What the name says of the format; nil: the content decides.
    let format: ImageFormat?
    /// What the layers of the image count.
    let layerCounters = ReadCounters()
    private let open: @Sendable (ReadCounters) -> OpenedImage
    private let state = Guarded(State())

    /// The image that `open` opens, which counts in the counters it is given.
    init(
        number: UInt64, at location: FilePath, format: ImageFormat?,
        open: @escaping @Sendable (ReadCounters) -> OpenedImage
    ) {
        self.number = number
        self.location = location
        self.format = format
        self.open = open
    }

    /// The image: the one that is open, unless a file of it has changed since and nobody reads it.
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
        state.withLock { state in
            let opened = opened(&state)
            let names =
                state.snapshotNames ?? SnapshotNames.folderNames(of: opened.snapshots.map { ($0.name, $0.id) })
            state.snapshotNames = names
            return names
        }
    }

    /// Opens a disk for a reader, who must call `closeDisk` in the end; `keepsCache`: whether what the kernel cached
    /// at an earlier opening is of the same content. Throws why there is no disk.
    func openDisk(_ view: DiskView) throws(ImageError) -> (image: Image, keepsCache: Bool) {
        let (result, keepsCache) = state.withLock { state in
            let opened = opened(&state)
            let result = opened.result(view)
            guard case .success = result else { return (result, false) }
            state.handles += 1
            let stamp = opened.stamp
            defer { state.cached[view] = stamp }
            return (result, state.cached[view] == stamp)
        }
        let image = try result.get()
        counters(view).opens.add(1, ordering: .relaxed)
        return (image, keepsCache)
    }

    /// Whether somebody reads it whose files are no longer those that their names lead to.
    var isLeftBehind: Bool {
        state.withLock { state in
            guard state.handles > 0, let opened = state.opened else { return false }
            return !opened.isCurrent
        }
    }

    /// A reader is done.
    func closeDisk() {
        state.withLock { $0.handles -= 1 }
    }

    /// Closes the image's files unless somebody reads it, and answers whether they are closed.
    func closeIfIdle() -> Bool {
        state.withLock { state in
            guard state.handles == 0 else { return false }
            state.opened = nil
            state.snapshotNames = nil
            return true
        }
    }

    private func opened(_ state: inout State) -> OpenedImage {
        if let opened = state.opened {
            if state.handles > 0 { return opened }
            let isFresh = state.openedAt.duration(to: .now) < Self.failureLifetime
            if opened.disk.error == nil ? opened.isCurrent : isFresh { return opened }
        }
        let opened = open(layerCounters)
        state.opened = opened
        state.snapshotNames = nil
        state.openedAt = .now
        return opened
    }
}

extension OpenedImage {
    /// One of its disks, or why it cannot be read.
    func result(_ view: DiskView) -> Result<Image, ImageError> {
        let path = layers.first?.file.path ?? ""
        let missing = ImageError(.system(errno: ENOENT), path: path, "there is no such snapshot any more")
        switch view {
        case .current: return disk.result
        case .snapshot(let index): return snapshotDisk(index)?.result ?? .failure(missing)
        case .vmState(let index):
            do throws(ImageError) {
                return try vmState(index).map { .success($0) } ?? .failure(missing)
            } catch {
                return .failure(error)
            }
        }
    }

    /// The disk of a view that has an allocation of its own.
    func disk(_ view: DiskView) -> OpenedDisk? {
        switch view {
        case .current: disk
        case .snapshot(let index): snapshotDisk(index)
        case .vmState: nil
        }
    }
}
