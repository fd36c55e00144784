import BlockImage
import Catalog
import Glibc
import HostStorage
import ImageFormats
import KernelMap
import Logging
import PartitionTable
import Synchronization
import SystemPackage

/// One image of the mount, opened when it is first looked into. Every method may be called from any thread.
final class ImageNode: Entry, Closable {
    /// How long a failure to open stands: long enough for one `ls`, short for a person that has put the missing file there.
    private static let failureLifetime = Duration.seconds(1)
    private struct State {
        /// The file that changed under a reader.
        var changedFile: String?
        /// The files that were written to while the node before this one had readers.
        var written: Set<FileIdentity> = []
        /// Nil until a disk is opened.
        var paths: OpenPaths?
        /// The files that what the kernel has cached of each disk was read from: of the last reader who is done.
        var cached: [DiskID: [FileStamp]] = [:]
        var knownSizes = KnownSizes()
        var counters: [DiskID: MountCounters] = [:]
        /// Bounds the threads that read ahead of its readers; nil until it has one.
        var readAheadGate: RequestGate?
        /// Nil until `map.json` is looked at.
        var mapSize: MapSize?
    }

    /// The size of each disk that the kernel got last.
    private struct KnownSizes {
        /// How many are kept.
        private static let limit = 1 << 16

        /// That of the disk that the image is: most images have no other that is looked at.
        private var current: UInt64?
        private var others: [DiskID: UInt64] = [:]

        subscript(view: DiskID) -> UInt64? { view == .current ? current : others[view] }

        mutating func note(_ size: UInt64, of view: DiskID) {
            guard view != .current else {
                current = size
                return
            }
            // An image may have millions. What goes was asked for long before: the kernel asks again after a second.
            if others.count >= Self.limit, others[view] == nil { others.remove(at: others.startIndex) }
            others[view] = size
        }
    }

    /// The size of `map.json`, of the disks that it was last asked of.
    private final class MapSize: Sendable {
        private struct Known {
            weak var disks: ImageDisks?
            var size: UInt64
        }

        /// Held while the size is found out: it is the same for all.
        private let known = Guarded<Known?>(nil)

        func of(_ disk: Image, _ disks: ImageDisks) -> UInt64 {
            known.withLock { known in
                if let known, known.disks === disks { return known.size }
                let size = MapText(disk).size() ?? 0
                known = Known(disks: disks, size: size)
                return size
            }
        }
    }

    private let id: EntryNumber
    var number: UInt64 { id.value }
    /// The file's path, or that of the archive and the file's name in it.
    let location: FilePath
    /// The file of the host that it is, or lies in.
    let hostFile: FilePath
    /// What the name says of the format; nil: the content decides.
    let format: ImageFormat?
    /// Whether a person said the format.
    let isFormatSaid: Bool
    /// Bounds the threads that serve it.
    let requests: RequestGate
    var gate: RequestGate? { requests }
    /// The files of its disk that are open.
    let aliases = DiskAliases()
    private let source: CatalogImage
    private let maps = KeptMaps()
    private let keptGuests = OnceReference<KeptGuests>()
    private let state = Guarded(State())

    /// The image that `open` opens, which counts in the counters it is given; `container`: the file that it lies in, unless
    /// it is one itself.
    init(
        number: consuming EntryNumber, at location: FilePath, in container: FilePath? = nil, format: ImageFormat?,
        isFormatSaid: Bool = false,
        gate: RequestGate? = nil, open: @escaping @Sendable (ReadCounters) -> OpenedImage
    ) {
        id = number
        self.location = location
        hostFile = container ?? location
        self.format = format
        self.isFormatSaid = isFormatSaid
        source = CatalogImage(failureLifetime: Self.failureLifetime, open: open)
        requests = gate ?? RequestGate()
    }

    /// What the layers of the image count.
    var layerCounters: ReadCounters { source.counters }

    /// Its disks: of the image that is open, unless a file of it has changed since and it has no readers.
    func disks() -> ImageDisks { source.disks() }

    /// The image, of which the same holds.
    func opened() -> OpenedImage { source.disks().opened }

    /// What happened to one of its disks.
    func counters(_ view: DiskID) -> MountCounters {
        state.withLock { state in
            if let counters = state.counters[view] { return counters }
            let counters = MountCounters()
            state.counters[view] = counters
            return counters
        }
    }

    /// The file systems of its guest.
    var guests: KeptGuests { keptGuests.load() ?? keptGuests.storeIfNil(KeptGuests(location.text)) }

    /// Its disks for a reader of files of its guest, who calls `giveBack` in the end; nil where a reader still reads what the image was
    /// before it changed.
    func take() -> ImageDisks? { source.take() }

    /// Who called `take` is done.
    func giveBack() { source.giveBack() }

    /// The size of `map.json`; 0, as files have whose text is made while it is read, where the map is long. Nil where
    /// there is no disk.
    func mapSize() -> UInt64? {
        let disks = disks()
        guard let disk = disks.opened.disk.image else { return nil }
        let mapSize = state.withLock { state in
            let mapSize = state.mapSize ?? MapSize()
            state.mapSize = mapSize
            return mapSize
        }
        return mapSize.of(disk, disks)
    }

    /// One of its disks, or why it cannot be read.
    func disk(_ view: DiskID) -> OpenedDisk { disks().disk(view) ?? missing }

    private var missing: OpenedDisk {
        OpenedDisk(
            .failure(ImageError(.system(errno: ENOENT), path: location.text, "there is no such disk any more")))
    }

    /// Opens a disk for a reader, who must call `closeDisk` in the end; `keepsCache`: whether what the kernel cached
    /// at an earlier opening is of the same content. Throws why there is no disk.
    ///
    /// `reading` says where and how much may be read ahead, `paths` on which way the kernel gets its bytes; nil: it gets none,
    /// and caches none. Throws `system` with ESTALE where a reader still reads what the image was before it changed: then the kernel
    /// looks the name up again, and finds a new node. So it does where the disk has another size than the kernel knows,
    /// which would cut it off there: then the kernel looks the name up again, and finds the size.
    func openDisk(
        _ view: DiskID, reading: ReadAheadQueue, by paths: KernelPaths?, for use: PathUse = .opening
    ) throws(ImageError) -> (disk: OpenDisk, keepsCache: Bool) {
        let counters = self.counters(view)
        guard let disks = source.take() else { throw leftBehind }
        do throws(ImageError) {
            let (opened, image) = disks.open(view) ?? (missing, disks.opened)
            let disk = try opened.result.get()
            let (known, cached, gate) = state.withLock { state in
                let gate = state.readAheadGate ?? RequestGate(limit: ReadAheadQueue.limitPerImage)
                state.readAheadGate = gate
                return (state.knownSizes[view], state.cached[view], gate)
            }
            if paths != nil, let known, known != disk.virtualSize { throw leftBehind }
            if paths != nil { counters.countOpen() }
            let way = try paths.map { paths throws(ImageError) in
                try path(of: view, opened, in: disks, by: paths, for: use)
            }
            let open = OpenDisk(
                disk, view, of: image, on: way, node: self, counters: counters,
                readAhead: ReadAhead(of: disk, on: reading, through: gate))
            return (open, cached == image.stamp)
        } catch {
            source.giveBack()
            throw error
        }
    }

    /// The way on which the kernel gets the bytes of a disk of `disks`, which `disk` is: as long as it is kept, the same for
    /// all. For who opens the disk, `disks` are those that were taken for a reader.
    ///
    /// Throws `system` with EINVAL where it is read by a map, and is to be read past the page cache.
    func path(
        of view: DiskID, _ disk: OpenedDisk, in disks: ImageDisks, by kernelPaths: KernelPaths, for use: PathUse
    ) throws(ImageError) -> DiskPath {
        let (open, written) = state.withLock { state in
            let open = state.paths ?? OpenPaths()
            state.paths = open
            return (open, state.written)
        }
        let path: DiskPath
        let image = disks.opened(for: view)
        if let known = open.known(view, in: image) {
            path = known
        } else {
            // Before others have to wait for it.
            kernelPaths.prepare(disk)
            let isAsked = kernelPaths.reasonToAsk(for: disk, written: written) != nil
            let mapped = isAsked ? nil : map(of: view, disk, in: image, by: kernelPaths, for: use)
            let decide = { kernelPaths.path(of: disk, mapped: mapped, written: written) }
            path = use == .describing ? decide() : open.path(of: view, in: image, else: decide)
        }
        guard use == .openingPastCache, path.kind == .map else { return path }
        throw ImageError(
            .system(errno: EINVAL), path: location.text,
            "is read by a map of its files, which cannot be read past the page cache (O_DIRECT)")
    }

    /// The map of a disk that is to be used, or why there is none; nil where none is looked for.
    private func map(
        of view: DiskID, _ disk: OpenedDisk, in opened: OpenedImage, by kernelPaths: KernelPaths, for use: PathUse
    ) -> Result<MappedDisk, ImageError>? {
        guard kernelPaths.makesMaps, let image = disk.image, (try? disk.flatFile()) == nil else { return nil }
        switch use {
        case .opening:
            return maps.map(of: view, in: opened, within: kernelPaths.maps) {
                map(of: view, image, in: opened, logger: kernelPaths.logger)
            }
        case .openingPastCache:
            return .failure(
                ImageError(
                    .unsupported, about: .disk, "was opened with O_DIRECT, which is not for what is read by a map"))
        case .describing:
            return maps.known(view, of: opened)
                ?? .failure(ImageError(.unsupported, about: .disk, "is mapped when it is opened"))
        }
    }

    private func map(
        of view: DiskID, _ disk: Image, in opened: OpenedImage, logger: Logger
    ) -> Result<MappedDisk, ImageError> {
        let counters = self.counters(view)
        do throws(ImageError) {
            return .success(
                try opened.map(of: disk) { [weak self] count, offset, output throws(ImageError) in
                    do throws(ImageError) {
                        try opened.checkUnchanged { self?.noteChange(of: $0) }
                        try disk.read(count, at: GuestOffset(offset), into: &output)
                    } catch {
                        if counters.countFailure(error.description) { logger.warning("read error: \(error)") }
                        throw error
                    }
                })
        } catch {
            logger.info("\(location.text): no map: \(error)")
            return .failure(error)
        }
    }

    /// What people should know of changes to the image's files, in sentences.
    var changeNotes: [ErrorText] {
        state.withLock { state in state.changedFile.map { [Self.changeNote($0)] } ?? [] }
    }

    /// The file at `path` was changed, or replaced by another, while it had readers.
    func noteChange(of path: String) {
        state.withLock { $0.changedFile = path }
    }

    /// Goes on for `old`, whose file changed, or was replaced by another, while it had readers.
    func takeOver(from old: ImageNode) {
        let written = old.source.writtenFiles.union(old.state.withLock { $0.written })
        noteChange(of: location.text)
        state.withLock { $0.written = written }
    }

    private static func changeNote(_ path: String) -> ErrorText {
        "\(path: path): was changed or replaced while the image was open; who had it open goes on reading a file that "
            + "was replaced, and is refused (ESTALE) where a file was written to, unless the kernel reads it by itself"
    }

    /// Whether its name leads to another file by now: see `CatalogImage`.
    var isLeftBehind: Bool { source.isLeftBehind }

    private var leftBehind: ImageError {
        ImageError(.system(errno: ESTALE), path: location.text, "has changed; look up its name again")
    }

    /// A reader is done; `view` is the disk that the kernel cached for them, nil where it did not.
    ///
    /// Only now is it certain that the kernel holds nothing older of it: it drops that when it takes in the answer to an
    /// opening, and may take in the answer to a later one, which lets it keep what it has, before that.
    func closeDisk(cached view: DiskID? = nil) {
        if let view {
            let opened = disks().opened(for: view)
            // File systems count time in ticks: another file, of the same number and size, that is made within one tick
            // looks the same. While this one is open there is none.
            let isSettled = opened.layers.allSatisfy { $0.file.modified.age > FolderNode.tick }
            let stamp = isSettled ? opened.stamp : nil
            state.withLock { $0.cached[view] = stamp }
        }
        source.giveBack()
    }

    /// A writer is done: what is known of the disk, as its partitions, is found out anew once no program has it open.
    func forgetIfIdle() {
        requests.perform { [self] in
            _ = source.closeIfIdle()
            return nil
        }
    }

    /// The file has lost its name: closes it, now or with the last reader.
    func letGo() {
        source.letGo()
        maps.forget()
        _ = keptGuests.load()?.closeIfIdle()
    }

    /// The kernel gets `size` bytes as the disk's size.
    func noteKnown(_ size: UInt64, of view: DiskID) {
        state.withLock { $0.knownSizes.note(size, of: view) }
    }

    /// Closes the image's files unless it is read, counted or about to be opened, and answers whether they are closed.
    func closeIfIdle() -> Bool {
        guard source.closeIfIdle() else { return false }
        maps.forget()
        // They have the disks open still.
        return keptGuests.load()?.closeIfIdle() ?? true
    }
}
