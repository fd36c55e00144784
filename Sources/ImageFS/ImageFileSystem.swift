import BlockImage
import Fuse
import HostStorage
import ImageFormats
import Logging

/// How a mount shows its images.
public struct MountSettings: Sendable {
    /// Whether a `.img` is recognised by its content; otherwise it is raw.
    public var probesImg = true
    /// The passphrases of encrypted images.
    public var keys = ImageKeys()
    /// Whether a VMDK delta is read although its parent was changed after it was made.
    public var ignoresCID = false
    /// The most bytes that tables and decompressed clusters may take.
    public var cacheSize = LayerResources.defaultCacheSize
    /// The user and group that every file belongs to.
    public var owner: (userID: UInt32, groupID: UInt32) = (0, 0)
    /// The permission bits that no file and folder has, as umask(2) has them.
    public var permissionMask: UInt16 = 0

    /// What holds where nothing else is asked for; files belong to root.
    public init() {}
}

/// The mounted tree: a folder per image, and in it `disk.raw`, the flat disk, and `stats.json`; a folder per appliance,
/// and in it a folder per disk; and the subfolders.
///
/// Images are opened when their folder is first looked into. Every method may be called from any thread.
public final class ImageFileSystem: FileSystem {
    /// How long the kernel may keep names and attributes, in seconds. A changed image is noticed after that.
    private static let timeout = 1.0
    /// How many images stay open that nobody reads; each takes a descriptor per file of its chain.
    private static let idleImages = 128

    let folder: ImageFolder
    let source: ImageSource
    let resources: LayerResources
    let openImages = OpenImages(limit: idleImages)
    let files = OpenFiles()
    /// When the mount began.
    let startTime = FileTime.now
    /// What happened to all disks together.
    let counters = MountCounters()
    private let buffers = BufferPool()
    let userID: UInt32
    let groupID: UInt32
    let permissionMask: UInt16
    let logger: Logger
    private let onStart: @Sendable () -> Void

    /// Shows `folder`, whose images are opened under `policy`. `onStart` is called once the mount answers.
    public init(
        _ folder: ImageFolder, policy: ConfinedOpenPolicy, settings: MountSettings, logger: Logger,
        onStart: @escaping @Sendable () -> Void
    ) {
        let resources = LayerResources(cacheSize: settings.cacheSize)
        let source = ImageSource(
            policy: policy,
            opener: ImageOpener(
                policy: policy, keys: settings.keys, resources: resources, ignoresCID: settings.ignoresCID),
            probesImg: settings.probesImg, entries: Entries())
        self.folder = folder
        self.source = source
        self.resources = resources
        (userID, groupID) = settings.owner
        permissionMask = settings.permissionMask
        self.logger = logger
        self.onStart = onStart
        // The first entry is the root.
        let root = source.entries.nextNumber()
        source.entries.add(.folder(FolderNode(number: root, showing: folder, from: source)))
    }

    /// See `FileSystem`.
    public func started() {
        onStart()
    }

    /// See `FileSystem`.
    public func lookup(_ name: [UInt8], in parent: Inode, reply: consuming EntryReply) {
        guard let node = child(name, of: parent) else { return reply.noEntry(timeout: Self.timeout) }
        do throws(ErrorNumber) {
            let timeout = isVolatile(node) ? 0 : Self.timeout
            let attributes = try attributes(of: node)
            source.entries.refer(to: Node.entryNumber(of: attributes.inode))
            reply.entry(attributes, entryTimeout: timeout, attributesTimeout: timeout)
        } catch {
            // An image that cannot be opened has no disk.raw.
            reply.failure(error)
        }
    }

    /// See `FileSystem`.
    public func forget(_ inode: Inode, count: UInt64) {
        source.entries.forget(Node.entryNumber(of: inode), count: count)
    }

    /// See `FileSystem`.
    public func attributes(of inode: Inode, reply: consuming AttributesReply) {
        guard let node = node(inode) else { return reply.failure(.noEntry) }
        do throws(ErrorNumber) {
            reply.attributes(try attributes(of: node), timeout: isVolatile(node) ? 0 : Self.timeout)
        } catch {
            reply.failure(error)
        }
    }

    /// See `FileSystem`.
    public func open(_ inode: Inode, forWriting: Bool, reply: consuming OpenReply) {
        guard !forWriting else { return reply.failure(.readOnlyFileSystem) }
        guard let node = node(inode) else { return reply.failure(.noEntry) }
        switch node {
        case .image(let image, .disk(let view)): open(view, of: image, as: inode, reply: reply)
        case .image(let image, .map): openMap(of: image, as: inode, reply: reply)
        case .image(_, .stats), .applianceStats, .mountStats:
            do throws(ErrorNumber) {
                // The size may differ from the one that the kernel knows, so reads come here whatever it knows.
                let handle = files.add(.stats(try statsText(of: node)))
                if !reply.opened(handle, OpenOptions(directIO: true)) { close(inode, handle: handle) }
            } catch {
                reply.failure(error)
            }
        case .folder, .appliance, .image: reply.failure(.isDirectory)
        }
    }

    private func open(_ view: DiskView, of node: ImageNode, as inode: Inode, reply: consuming OpenReply) {
        do throws(ImageError) {
            let (disk, keepsCache) = try node.openDisk(view)
            openImages.note(node)
            counters.countOpen()
            let handle = files.add(.disk(disk))
            if !reply.opened(handle, OpenOptions(keepCache: keepsCache)) { close(inode, handle: handle) }
        } catch {
            if ErrorNumber(error) != .stale { logger.warning("\(error)") }
            reply.failure(ErrorNumber(error))
        }
    }

    private func openMap(of node: ImageNode, as inode: Inode, reply: consuming OpenReply) {
        do throws(ImageError) {
            let (disk, _) = try node.openDisk(.current, isCached: false)
            openImages.note(node)
            let handle = files.add(.map(node, MapText(disk.image)))
            // Its size is not known beforehand.
            if !reply.opened(handle, OpenOptions(directIO: true)) { close(inode, handle: handle) }
        } catch {
            logger.warning("\(error)")
            reply.failure(ErrorNumber(error))
        }
    }

    /// See `FileSystem`.
    public func read(
        _ inode: Inode, handle: FileHandle, count: Int, at offset: UInt64, reply: consuming DataReply
    ) {
        switch files[handle] {
        case .disk(let disk): read(count, at: offset, of: disk, reply: reply)
        case .stats(let text):
            let start = Int(min(offset, UInt64(text.count)))
            answer(text[start...].prefix(count), reply: reply)
        case .map(_, let text): answer(text.bytes(count, at: offset)[...], reply: reply)
        case .directory, nil: reply.failure(.badHandle)
        }
    }

    private func answer(_ text: ArraySlice<UInt8>, reply: consuming DataReply) {
        let buffer = AlignedBuffer(capacity: text.count)
        buffer.fill(text.count) { output in for byte in text { output.append(byte) } }
        reply.bytes(buffer.bytes)
    }

    private func read(_ count: Int, at offset: UInt64, of disk: OpenDisk, reply: consuming DataReply) {
        let begin = ContinuousClock.now
        let start = min(offset, disk.image.virtualSize)
        let count = Int(min(UInt64(count), disk.image.virtualSize - start))
        let buffer = buffers.take(count)
        defer { buffers.giveBack(buffer) }
        do throws(ImageError) {
            try disk.checkUnchanged()
            try buffer.fill(count) { output throws(ImageError) in
                try disk.image.read(count, at: GuestOffset(start), into: &output)
            }
            reply.bytes(buffer.bytes)
            let duration = begin.duration(to: .now)
            for counters in [disk.counters, counters] { counters.countRead(count, in: duration) }
        } catch {
            // Never a short answer: the kernel would take it for the end of the file and fill up with zeros.
            reply.failure(ErrorNumber(error))
            let reason = error.description
            if disk.counters.countFailure(reason) { logger.warning("read error: \(reason)") }
            _ = counters.countFailure(reason)
        }
    }

    /// See `FileSystem`.
    public func close(_ inode: Inode, handle: FileHandle) {
        switch files.remove(handle) {
        case .disk(let disk): disk.node.closeDisk()
        case .map(let node, _): node.closeDisk()
        case .stats, .directory, nil: break
        }
    }

    /// See `FileSystem`.
    public func openDirectory(_ inode: Inode, reply: consuming OpenReply) {
        guard let node = node(inode), node.isDirectory, let root = self.node(.root) else {
            return reply.failure(.notDirectory)
        }
        // The kernel knows by itself what lies above a directory, and takes the number of ".." for decoration.
        let entries = [(name: Array(".".utf8), node: node), (name: Array("..".utf8), node: root)]
        let handle = files.add(.directory(entries + children(of: node)))
        if !reply.opened(handle) { closeDirectory(inode, handle: handle) }
    }

    /// See `FileSystem`.
    public func readDirectory(
        _ inode: Inode, handle: FileHandle, from position: UInt64, reply: consuming DirectoryReply
    ) {
        guard case .directory(let entries)? = files[handle] else { return reply.failure(.badHandle) }
        for index in entries.indices.dropFirst(Int(clamping: position)) {
            let (name, node) = entries[index]
            let kind: FileKind = node.isDirectory ? .directory : .regularFile
            let next = UInt64(index) + 1
            guard reply.add(name: name, inode: node.inode, kind: kind, nextPosition: next) else { break }
        }
        reply.finish()
    }

    /// See `FileSystem`.
    public func closeDirectory(_ inode: Inode, handle: FileHandle) {
        _ = files.remove(handle)
    }

    /// See `FileSystem`.
    public func seek(
        _ inode: Inode, handle: FileHandle, from offset: UInt64, to target: SeekTarget, reply: consuming SeekReply
    ) {
        guard case .disk(let disk) = files[handle] else { return reply.failure(.invalidArgument) }
        guard offset < disk.image.virtualSize else { return reply.failure(.noSuchAddress) }
        do throws(ImageError) {
            guard let found = try disk.image.next(hole: target == .hole, from: GuestOffset(offset)) else {
                return reply.failure(.noSuchAddress)
            }
            reply.offset(found.rawValue)
        } catch {
            logger.warning("\(error)")
            reply.failure(ErrorNumber(error))
        }
    }

    /// See `FileSystem`.
    public func statistics(reply: consuming StatisticsReply) {
        reply.statistics(Statistics(blockSize: 4096, blocks: 0, files: UInt64(source.entries.count)))
    }
}
