import BlockImage
import Catalog
import Fuse
import Glibc
import ImageFormats
import Logging
import Overlays

/// A file that is a disk: `disk.raw`, a partition, an image of the chain, or a saved state.
struct DiskNode: ImagePart {
    let image: ImageNode
    /// Which of the image's disks it is.
    let view: DiskID
    var kind: FileKind { .regularFile }
    var layer: Int { if case .layer(let depth) = view.part { depth } else { 0 } }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        defer { mount.openImages.note(image) }
        let disk = image.disk(view)
        // An image that cannot be opened has no disk.raw.
        guard let size = disk.image?.virtualSize, let layer = image.opened().layers.first else { throw .noEntry }
        image.noteKnown(size, of: view)
        let range = view.isWritable ? disk.image.flatMap { WritableRange(of: $0, alsoRefused: true) } : nil
        let allocated = range.map { $0.isPart ? size : $0.layer.allocatedSize }
        return NodeStatus(
            time: range?.layer.disk.modified ?? layer.file.modified, size: size,
            allocatedSize: allocated ?? disk.allocatedSize ?? size, readSize: 1 << 20,
            isWritable: mount.isWritable && range.map { $0.layer.refusal == nil } == true)
    }

    func open(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        try open(in: mount, for: .opening)
    }

    func openPastCache(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        try open(in: mount, for: .openingPastCache)
    }

    func openForWriting(
        pastCache: Bool, in mount: ImageFileSystem
    ) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        let (disk, options) = try openDisk(in: mount, for: pastCache ? .openingPastCache : .opening)
        guard view.isWritable, let range = WritableRange(of: disk.image) else {
            let refusal = (disk.image.layer as? OverlayLayer)?.refusal
            disk.close(in: mount)
            if let refusal { mount.logger.warning("\(refusal)") }
            throw .readOnlyFileSystem
        }
        guard view == .current else {
            var options = options
            options.writesInParallel = mount.writing.mayBeParallel(pastCache: pastCache)
            return (WritableDisk(disk, range, isDirect: true), options)
        }
        let isDirect = mount.writing.isDirect
        return (
            WritableDisk(disk, range, isDirect: isDirect),
            isDirect
                ? OpenOptions(directIO: true, writesInParallel: mount.writing.mayBeParallel(pastCache: pastCache))
                : options
        )
    }

    private func open(
        in mount: ImageFileSystem, for use: PathUse
    ) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        try openDisk(in: mount, for: use)
    }

    private func openDisk(
        in mount: ImageFileSystem, for use: PathUse
    ) throws(ErrorNumber) -> (file: OpenDisk, options: OpenOptions) {
        let (disk, keepsCache) = try mount.openDisk(view, of: image, by: mount.kernelPaths, for: use)
        mount.counters.countOpen()
        guard mount.isWritable else {
            return (disk, OpenOptions(keepCache: keepsCache, backing: disk.path?.backing))
        }
        // A disk has one file whose pages the kernel keeps after it was closed: see `DiskAliases`.
        guard view == .current else {
            return (disk, OpenOptions(directIO: true, writesInParallel: mount.writing.mayBeParallel(pastCache: false)))
        }
        // A reader that was there while something was written may have left pages that are older.
        let isWritten = disk.range.map { image.aliases.isChanged(since: $0.layer.disk.changeCount) } ?? false
        return (disk, OpenOptions(keepCache: keepsCache && !isWritten, writesInParallel: !mount.writing.isDirect))
    }
}

extension ImageFileSystem {
    /// Opens one of the disks of `image`, as `ImageNode.openDisk` does. Logs why it cannot be opened.
    func openDisk(
        _ view: DiskID, of image: ImageNode, by paths: KernelPaths?, for use: PathUse = .opening
    ) throws(ErrorNumber) -> (disk: OpenDisk, keepsCache: Bool) {
        do throws(ImageError) {
            let result = try image.openDisk(view, reading: ahead, by: paths, for: use)
            openImages.note(image)
            return result
        } catch {
            if ErrorNumber(error) != .stale { logger.warning("\(error)") }
            throw ErrorNumber(error)
        }
    }

    /// A reader of a disk of `image` is done, of `view` where the kernel cached it.
    func closeDisk(of image: ImageNode, cached view: DiskID? = nil) {
        image.requests.perform { [openImages] in
            image.closeDisk(cached: view)
            openImages.note(image)
            return nil
        }
    }
}

/// An open disk: as it was when it was opened. Every method may be called from any thread.
final class OpenDisk: OpenFile {
    let node: ImageNode
    /// Which of the image's disks it is.
    let view: DiskID
    let image: Image
    private let counters: MountCounters
    private let readAhead: ReadAhead
    private let opened: OpenedImage
    /// How the kernel gets its bytes; nil where it gets none. It is kept while the disk is open.
    let path: DiskPath?
    /// Where it is on the disk that can be written; nil for others.
    let range: WritableRange?
    /// Whether what it shows changes when that is written to.
    private let isAlias: Bool
    var gate: RequestGate? { node.gate }

    /// A reader of `image`, the disk `view` of `node` that `opened` is.
    init(
        _ image: Image, _ view: DiskID, of opened: OpenedImage, on path: DiskPath?, node: ImageNode,
        counters: MountCounters, readAhead: ReadAhead
    ) {
        self.image = image
        self.readAhead = readAhead
        self.view = view
        self.opened = opened
        self.path = path
        self.node = node
        self.counters = counters
        range = WritableRange(of: image, alsoRefused: true)
        isAlias = opened.disk.image?.layer is OverlayLayer && view.snapshot == nil
        if isAlias { node.aliases.open(view, range) }
    }

    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply) {
        let begin = ContinuousClock.now
        let start = min(offset, image.virtualSize)
        let count = Int(min(UInt64(count), image.virtualSize - start))
        let buffer = mount.buffers.take(count)
        defer { mount.buffers.giveBack(buffer) }
        do throws(ImageError) {
            try opened.checkUnchanged(node.noteChange)
            readAhead.note(count, at: start)
            try buffer.fill(count) { output throws(ImageError) in
                try image.read(count, at: GuestOffset(start), into: &output)
            }
            // Counted before it is answered: a reader that got everything finds it counted.
            let duration = begin.duration(to: .now)
            counters.countRead(count, in: duration)
            mount.counters.countRead(count, in: duration)
            reply.bytes(buffer.bytes)
        } catch {
            let reason = error.description
            if counters.countFailure(reason) { mount.logger.warning("read error: \(reason)") }
            _ = mount.counters.countFailure(reason)
            // Never a short answer: the kernel would take it for the end of the file and fill up with zeros.
            reply.failure(ErrorNumber(error))
        }
    }

    func seek(from offset: UInt64, to target: SeekTarget, in mount: ImageFileSystem, reply: consuming SeekReply) {
        guard offset < image.virtualSize else { return reply.failure(.noSuchAddress) }
        do throws(ImageError) {
            guard let found = try image.next(hole: target == .hole, from: GuestOffset(offset)) else {
                return reply.failure(.noSuchAddress)
            }
            reply.offset(found.rawValue)
        } catch {
            mount.logger.warning("\(error)")
            reply.failure(ErrorNumber(error))
        }
    }

    /// sync(1) opens what others write to for reading.
    func synchronize(in mount: ImageFileSystem, reply: consuming DoneReply) {
        guard let range, range.layer.refusal == nil else { return reply.done() }
        range.flush(in: mount, after: node.aliases, reply: reply)
    }

    func close(in mount: ImageFileSystem) {
        if isAlias { node.aliases.close(view) }
        // Of what the kernel reads by itself it keeps nothing under the inode of the mount.
        mount.closeDisk(of: node, cached: path?.kind == .server ? view : nil)
    }
}
