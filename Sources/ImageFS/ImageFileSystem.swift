import BlockImage
import FormatCore
import Fuse
import Glibc
import HostStorage
import ImageFormats
import Logging

/// How a mount shows its images.
public struct MountSettings: Sendable {
    /// Whether a `.img` is recognised by its content; otherwise it is raw.
    public var probesImg = true
    /// Whether files whose names do not call them images are shown where their content does.
    public var probesAll = false
    /// The format of the one image that is shown; nil: its name says it, else its content.
    public var format: ImageFormat?
    /// How images are opened.
    public var opening = OpenOptions()
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
    static let timeout = 1.0
    /// How many images stay open without readers; each takes a descriptor per file of its chain.
    private static let idleImages = 128

    /// The most threads that one image, appliance or folder has at a time.
    static let threadsPerImage = max(4, min(16, 2 * sysconf(CInt(_SC_NPROCESSORS_ONLN))))
    /// The threads to serve a mount with.
    public static let threads = 2 * threadsPerImage
    /// The threads to replace those with that are stuck in images that do not answer: for 60 such images.
    public static let replacementThreads = 60 * threadsPerImage

    let folder: ImageFolder
    let source: ImageSource
    let resources: LayerResources
    let skipped: SkippedSurvey
    let openImages = OpenImages(limit: idleImages)
    let files = OpenFiles()
    /// When the mount began.
    let startTime = FileTime.now
    /// What happened to all disks together.
    let counters = MountCounters()
    let buffers = BufferPool()
    let ahead: ReadAheadQueue
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
            policy: policy, opener: ImageOpener(policy: policy, resources: resources, options: settings.opening),
            probesImg: settings.probesImg, probesAll: settings.probesAll, named: folder.image?.location,
            saidFormat: settings.format,
            entries: Entries())
        self.folder = folder
        self.source = source
        skipped = SkippedSurvey(of: folder, from: source)
        self.resources = resources
        ahead = ReadAheadQueue(cacheSize: resources.clusters.capacity)
        (userID, groupID) = settings.owner
        permissionMask = settings.permissionMask
        self.logger = logger
        self.onStart = onStart
        // The first entry is the root.
        let root = source.entries.nextNumber()
        source.entries.add(.folder(FolderNode(number: root, showing: folder, from: source)))
    }

    /// The kernel has finished the handshake: the mount will answer.
    public func started() {
        onStart()
    }

    /// The server has given up what it gives up, and begins to serve: from here on threads may be started.
    public func serving() {
        skipped.look { [logger] skipped in
            guard !skipped.isEmpty else { return }
            logger.log(level: skipped.isHarmless ? .info : .notice, "not shown: \(printable(skipped.summary))")
        }
    }

    /// Finds a name in a directory.
    public func lookup(_ name: [UInt8], in parent: Inode, reply: consuming EntryReply) {
        guard let parent = node(parent) else { return reply.noEntry(timeout: Self.timeout) }
        if case .folder(let folder) = parent { return lookup(name, in: folder, reply: reply) }
        gated(by: parent, reply) { [self] reply in
            guard let node = child(name, of: parent) else {
                return reply.noEntry(timeout: Self.timeout)
            }
            answerLookup(node, reply: reply)
        }
    }

    private func lookup(_ name: [UInt8], in folder: FolderNode, reply: consuming EntryReply) {
        // Whatever hangs, this is there.
        if folder.number == FolderNode.rootNumber, name == Node.Name.stats {
            return answerLookup(.mountStats, reply: reply)
        }
        let held = HeldReply(reply)
        folder.gate.perform { [self] () -> (@Sendable () -> Void)? in
            guard let node = folder.child(name).map({ Node($0) }) else {
                held.take()?.noEntry(timeout: Self.timeout)
                return nil
            }
            // What the name leads to must not delay look-ups of other names.
            return { [self] in
                guard let reply = held.take() else { return }
                gated(by: node, reply) { [self] reply in
                    answerLookup(renewed(node, name, in: folder), reply: reply)
                }
            }
        }
    }

    /// The kernel gives up `count` references to an inode.
    public func forget(_ inode: Inode, count: UInt64) {
        source.entries.forget(Node.entryNumber(of: inode), count: count)
    }

    /// Answers what `stat` shows.
    public func attributes(of inode: Inode, reply: consuming AttributesReply) {
        gated(by: node(inode), reply) { [self] reply in answerAttributes(of: inode, reply: reply) }
    }

    /// Opens a file. `forWriting` says that the caller also asked to write or to truncate: answer EROFS.
    public func open(_ inode: Inode, forWriting: Bool, reply: consuming OpenReply) {
        guard !forWriting else { return reply.failure(.readOnlyFileSystem) }
        gated(by: node(inode), reply) { [self] reply in answerOpen(inode, reply: reply) }
    }

    /// Reads `count` bytes at `offset`, fewer only at the end of the file: the kernel fills up with zeros.
    public func read(
        _ inode: Inode, handle: FileHandle, count: Int, at offset: UInt64, reply: consuming DataReply
    ) {
        // The open file knows its image: no look-up by inode, whose lock all reads would share.
        let file = files[handle]
        let node: Node? =
            switch file {
            case .disk(let disk): .image(disk.node, .disk(disk.view))
            case .map(let node, _): .image(node, .map)
            case .stats, .directory, nil: nil
            }
        gated(by: node, reply) { [self] reply in answerRead(file, count: count, at: offset, reply: reply) }
    }

    /// Opens a directory.
    public func openDirectory(_ inode: Inode, reply: consuming OpenReply) {
        answerOpenDirectory(inode, reply: reply)
    }

    /// Finds the next data or hole.
    public func seek(
        _ inode: Inode, handle: FileHandle, from offset: UInt64, to target: SeekTarget, reply: consuming SeekReply
    ) {
        gated(by: node(inode), reply) { [self] reply in answerSeek(handle, from: offset, to: target, reply: reply) }
    }

    /// Has `work` answer when what `node` shows may have a thread: now, or on another thread later.
    func gated<Reply: ~Copyable>(
        by node: Node?, _ reply: consuming Reply, _ work: @escaping @Sendable (consuming Reply) -> Void
    ) {
        guard let gate = node?.gate else { return work(reply) }
        guard gate.enter() else {
            let held = HeldReply(reply)
            return gate.keep { if let reply = held.take() { work(reply) } }
        }
        work(reply)
        gate.leave()
    }

    /// The last descriptor of an open file is gone: its handle will not be seen again.
    public func close(_ inode: Inode, handle: FileHandle) {
        switch files.remove(handle) {
        case .disk(let disk): close(disk.node, cached: disk.view)
        case .map(let node, _): close(node, cached: nil)
        case .stats, .directory, nil: break
        }
    }

    private func close(_ node: ImageNode, cached view: DiskView?) {
        node.gate.perform { [self] in
            node.closeDisk(cached: view)
            openImages.note(node)
            return nil
        }
    }

    /// Lists a directory from `position`: 0 is its start, anything else a `nextPosition` that was answered earlier.
    public func readDirectory(
        _ inode: Inode, handle: FileHandle, from position: UInt64, reply: consuming DirectoryReply
    ) {
        gated(by: node(inode), reply) { [self] reply in answerReadDirectory(handle, from: position, reply: reply) }
    }

    /// The last descriptor of an open directory is gone.
    public func closeDirectory(_ inode: Inode, handle: FileHandle) {
        _ = files.remove(handle)
    }

    /// Answers what `df` shows of the whole mount. The size is what is in use on the host's file system that the images
    /// are on; nothing is free.
    public func statistics(reply: consuming StatisticsReply) {
        gated(by: node(.root), reply) { [self] reply in
            let used = FileSystemUse(at: folder.location)
            reply.statistics(
                Statistics(
                    blockSize: 4096, blocks: (used?.usedSize ?? 0) / 4096, files: UInt64(source.entries.count)))
        }
    }
}

/// The extended attributes of what is in an image's folder: `user.rblock.format`, `.file`, `.layer` and `.cluster-size`.
extension ImageFileSystem {
    private static let prefix = Array("user.rblock.".utf8)

    /// Reads an extended attribute, such as "user.format".
    public func extendedAttribute(_ name: [UInt8], of inode: Inode, reply: consuming ExtendedAttributeReply) {
        // ls asks every file for some of others, which must not open every image.
        guard name.starts(with: Self.prefix), let node = node(inode) else { return reply.failure(.noData) }
        gated(by: node, reply) { [self] reply in
            guard let value = extendedAttributes(of: node).first(where: { $0.name == name })?.value else {
                return reply.failure(.noData)
            }
            reply.value(value)
        }
    }

    /// Lists the names of the extended attributes.
    public func extendedAttributeNames(of inode: Inode, reply: consuming ExtendedAttributeNamesReply) {
        let node = node(inode)
        gated(by: node, reply) { [self] reply in
            reply.names(node.map { extendedAttributes(of: $0).map(\.name) } ?? [])
        }
    }

    private func extendedAttributes(of node: Node) -> [(name: [UInt8], value: [UInt8])] {
        guard case .image(let image, let place) = node else { return [] }
        let depth = if case .disk(.layer(let depth)) = place { depth } else { 0 }
        let layers = opened(image).layers
        guard layers.indices.contains(depth) else { return [] }
        let info = ImageInfo(layers[depth], listsAll: false)
        var values = [("format", info.format), ("file", info.filename.text), ("layer", "\(depth)")]
        if let size = info.clusterSize { values.append(("cluster-size", "\(size)")) }
        return values.map { (Self.prefix + Array($0.utf8), Array($1.utf8)) }
    }
}
