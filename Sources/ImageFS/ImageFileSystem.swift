import BlockImage
import Catalog
import FormatCore
import Fuse
import Glibc
import GuestFiles
import HostStorage
import ImageFormats
import Logging
import Overlays

/// How a mount shows its images.
package struct MountSettings: Sendable {
    /// Whether a `.img` is recognised by its content; otherwise it is raw.
    package var probesImg = true
    /// Whether files whose names do not call them images are shown where their content does.
    package var probesAll = false
    /// The format of the one image that is shown; nil: its name says it, else its content.
    package var format: ImageFormat?
    /// How images are opened.
    package var opening = OpeningOptions()
    /// The most bytes that tables and decompressed clusters may take.
    package var cacheSize = LayerResources.defaultCacheSize
    /// What the kernel may read by itself; nothing, where disks can be written.
    package var kernelPath = KernelPath.auto
    /// Where what is written to disks goes; nil: nothing can be written.
    package var overlays: OverlayFolder?
    /// Whether nothing can be written all the same: what was written before is shown.
    package var isReadOnly = false
    /// Whether the files of guests are shown; not where disks can be written, which they would not follow.
    package var showsFiles = false
    /// Reads what file systems of guests are not read here.
    package var guestHelper: (any GuestHelper)?
    /// Whether the kernel may take set-user-ID bits, capabilities and devices of this mount for its own: those of guests are
    /// not shown then.
    package var mayGiveRights = false
    /// The user and group that every file belongs to.
    package var owner: (userID: UInt32, groupID: UInt32) = (0, 0)
    /// The permission bits that no file and folder has, as umask(2) has them.
    package var permissionMask: UInt16 = 0

    /// What holds where nothing else is asked for; files belong to root.
    package init() {}
}

/// The mounted tree: a folder per image, and in it `disk.raw`, the flat disk, and `stats.json`; a folder per appliance,
/// and in it a folder per disk; and the subfolders.
///
/// Images are opened when their folder is first looked into. Every method may be called from any thread.
package final class ImageFileSystem: FileSystem {
    /// How long the kernel may keep names and attributes, in seconds. A changed image is noticed after that.
    static let timeout = 1.0
    /// How many images stay open without readers; each takes a descriptor per file of its chain.
    private static let idleImages = 128
    /// Of how many the file systems stay open without readers; each keeps some megabytes of what it has read.
    private static let idleGuests = 16

    /// The most threads that one image, container or folder has at a time.
    static let threadsPerImage = max(4, min(16, 2 * sysconf(CInt(_SC_NPROCESSORS_ONLN))))
    /// The threads to serve a mount with.
    package static let threads = 2 * threadsPerImage
    /// The threads to replace those with that are stuck in images that do not answer: for 60 such images.
    package static let replacementThreads = 60 * threadsPerImage

    let folder: ImageFolder
    let source: ImageSource
    let root: FolderNode
    let inodes: InodeTable
    let resources: LayerResources
    let skipped: SkippedSurvey
    let openImages = OpenImages(limit: idleImages)
    /// The images whose file systems are open.
    let openGuests = OpenImages(limit: idleGuests)
    let guests: GuestSettings
    let files = OpenFiles()
    /// When the mount began.
    let startTime = FileTime.now
    /// What happened to all disks together.
    let counters = MountCounters()
    let buffers = BufferPool()
    let ahead: ReadAheadQueue
    let kernelPaths: KernelPaths
    let writing = Writing()
    let userID: UInt32
    let groupID: UInt32
    let permissionMask: UInt16
    let isReadOnly: Bool
    let logger: Logger
    private let onStart: @Sendable () -> Void

    /// Shows `folder`, whose images are opened under `policy`. `onStart` is called once the mount answers.
    package init(
        _ folder: ImageFolder, policy: ConfinedOpenPolicy, settings: MountSettings, logger: Logger,
        onStart: @escaping @Sendable () -> Void
    ) {
        let resources = LayerResources(cacheSize: settings.cacheSize)
        let rules = FolderRules(
            policy, probesImg: settings.probesImg, probesAll: settings.probesAll, saidFormat: settings.format)
        let source = ImageSource(
            rules: rules, opener: ImageOpener(policy: policy, resources: resources, options: settings.opening),
            named: folder.image?.location, overlays: settings.overlays)
        self.folder = folder
        self.source = source
        skipped = SkippedSurvey(of: folder, from: source)
        self.resources = resources
        ahead = ReadAheadQueue(cacheSize: resources.clusters.capacity)
        kernelPaths = KernelPaths(settings.overlays == nil ? settings.kernelPath : .off, logger: logger)
        (userID, groupID) = settings.owner
        permissionMask = settings.permissionMask
        isReadOnly = settings.isReadOnly
        guests = GuestSettings(
            areShown: settings.showsFiles && settings.overlays == nil, helper: settings.guestHelper,
            hidesRights: settings.mayGiveRights)
        self.logger = logger
        self.onStart = onStart
        root = FolderNode(showing: folder, from: source)
        inodes = InodeTable(root: root)
    }

    /// The kernel has finished the handshake: the mount will answer.
    package func started(_ passthrough: Passthrough, _ cache: KernelCache) {
        kernelPaths.start(passthrough)
        writing.start(cache)
        onStart()
    }

    /// Why the kernel reads no disk by itself, with the error number that says so; nil: it may. Not to be asked for before
    /// this process has given up what it gives up.
    package var kernelPathRefusal: (error: ErrorNumber, text: String)? {
        kernelPaths.refusal.map { ($0.error, $0.text.description) }
    }

    /// The server has given up what it gives up, and begins to serve: from here on threads may be started.
    package func serving() {
        startWriteBack()
        skipped.look { [logger] skipped in
            guard !skipped.isEmpty else { return }
            logger.log(level: skipped.isHarmless ? .info : .notice, "not shown: \(printable(skipped.summary))")
        }
    }

    /// Finds a name in a directory.
    package func lookup(_ name: [UInt8], in parent: Inode, reply: consuming EntryReply) {
        guard let parent = inodes[parent] else { return reply.noEntry(timeout: Self.timeout) }
        guard name.count <= parent.nameLimit else { return reply.failure(.nameTooLong) }
        if let node = parent.fixedChild(name) { return answerLookup(node, reply: reply) }
        let held = HeldReply(reply)
        let find = { @Sendable [self] () -> (@Sendable () -> Void)? in
            let found: (any Node)?
            do throws(ErrorNumber) {
                found = try parent.child(name, in: self)
            } catch {
                held.take()?.failure(error)
                return nil
            }
            guard let node = found else {
                held.take()?.noEntry(timeout: Self.timeout)
                return nil
            }
            guard node.gate !== parent.gate else {
                if let reply = held.take() { answerLookup(node, reply: reply) }
                return nil
            }
            // What the name leads to must not delay look-ups of other names.
            return { [self] in
                guard let reply = held.take() else { return }
                gated(by: node.gate, reply) { [self] reply in
                    guard let node = parent.renewed(node, called: name) else {
                        return reply.noEntry(timeout: Self.timeout)
                    }
                    answerLookup(node, reply: reply)
                }
            }
        }
        guard let gate = parent.gate else {
            find()?()
            return
        }
        gate.perform(find)
    }

    private func answerLookup(_ node: any Node, reply: consuming EntryReply) {
        do throws(ErrorNumber) {
            let status = try node.status(in: self)
            let timeout = node.isVolatile ? 0 : Self.timeout
            let inode = inodes.refer(to: node)
            let attributes = attributes(status, of: node, inode)
            if !reply.entry(attributes, entryTimeout: timeout, attributesTimeout: timeout) {
                inodes.forget(inode, count: 1)
            }
        } catch {
            reply.failure(error)
        }
    }

    /// The kernel gives up `count` references to an inode.
    package func forget(_ inode: Inode, count: UInt64) {
        inodes.forget(inode, count: count)
    }

    /// Answers what `stat` shows.
    package func attributes(of inode: Inode, reply: consuming AttributesReply) {
        guard let node = inodes[inode] else { return reply.failure(.noEntry) }
        gated(by: node.gate, reply) { [self] reply in
            do throws(ErrorNumber) {
                let attributes = attributes(try node.status(in: self), of: node, inode)
                reply.attributes(attributes, timeout: node.isVolatile ? 0 : Self.timeout)
            } catch {
                reply.failure(error)
            }
        }
    }

    func attributes(_ status: NodeStatus, of node: any Node, _ inode: Inode) -> Attributes {
        let time = Timestamp(seconds: status.time?.seconds ?? 0, nanoseconds: status.time?.nanoseconds ?? 0)
        let permissions: UInt16 =
            switch node.kind {
            case .directory: 0o555 & ~permissionMask
            case .regularFile: (status.isWritable ? 0o644 : 0o444) & ~permissionMask
            // As Linux has it: nothing asks for those of a link.
            case .symbolicLink: 0o777
            // Only guests have such.
            case .fifo, .socket, .characterDevice, .blockDevice: 0
            }
        var attributes = Attributes(inode: inode, kind: node.kind, permissions: permissions, time: time)
        attributes.size = status.size
        let allocated = status.allocatedSize ?? status.size
        attributes.blocks = allocated / 512 + (allocated % 512 == 0 ? 0 : 1)
        if let size = status.readSize { attributes.blockSize = size }
        attributes.userID = userID
        attributes.groupID = groupID
        if let stored = status.stored { attributes.take(stored) }
        return attributes
    }

    /// Answers where a link leads.
    package func linkTarget(of inode: Inode, reply: consuming LinkReply) {
        guard let node = inodes[inode] else { return reply.failure(.noEntry) }
        gated(by: node.gate, reply) { [self] reply in
            do throws(ErrorNumber) {
                let target = try node.target(in: self)
                reply.target(target)
            } catch {
                reply.failure(error)
            }
        }
    }

    /// Opens a file. `forWriting` says that the caller also asked to write.
    package func open(_ inode: Inode, forWriting: Bool, pastCache: Bool, reply: consuming OpenReply) {
        guard !forWriting || isWritable else { return reply.failure(.readOnlyFileSystem) }
        guard let node = inodes[inode] else { return reply.failure(.noEntry) }
        gated(by: node.gate, reply) { [self] reply in
            do throws(ErrorNumber) {
                let (file, options) =
                    forWriting
                    ? try node.openForWriting(pastCache: pastCache, in: self)
                    : try pastCache ? node.openPastCache(in: self) : node.open(in: self)
                let handle = files.add(file)
                if !reply.opened(handle, options) { close(inode, handle: handle) }
            } catch {
                reply.failure(error)
            }
        }
    }

    /// Reads `count` bytes at `offset`, fewer only at the end of the file: the kernel fills up with zeros.
    package func read(
        _ inode: Inode, handle: FileHandle, count: Int, at offset: UInt64, reply: consuming DataReply
    ) {
        // The open file knows its image: no look-up by inode, whose lock all reads would share.
        guard let file = files[handle] else { return reply.failure(.badHandle) }
        gated(by: file.gate, reply) { [self] reply in file.read(count, at: offset, in: self, reply: reply) }
    }

    /// Finds the next data or hole.
    package func seek(
        _ inode: Inode, handle: FileHandle, from offset: UInt64, to target: SeekTarget, reply: consuming SeekReply
    ) {
        guard let file = files[handle] else { return reply.failure(.badHandle) }
        gated(by: file.gate, reply) { [self] reply in file.seek(from: offset, to: target, in: self, reply: reply) }
    }

    /// The last descriptor of an open file is gone: its handle will not be seen again.
    package func close(_ inode: Inode, handle: FileHandle) {
        files.remove(handle)?.close(in: self)
    }

    /// Opens a directory.
    package func openDirectory(_ inode: Inode, reply: consuming OpenReply) {
        guard let node = inodes[inode], node.kind == .directory else { return reply.failure(.notDirectory) }
        // Only of a guest something is looked at for that.
        gated(by: node is GuestDirectory ? node.gate : nil, reply) { [self] reply in
            do throws(ErrorNumber) {
                let handle = files.add(try node.listing(in: self))
                if !reply.opened(handle) { closeDirectory(inode, handle: handle) }
            } catch {
                reply.failure(error)
            }
        }
    }

    /// Lists a directory from `position`: 0 is its start, anything else a `nextPosition` that was answered earlier.
    package func readDirectory(
        _ inode: Inode, handle: FileHandle, from position: UInt64, reply: consuming DirectoryReply
    ) {
        guard let listing = files[handle] as? any Listing else { return reply.failure(.badHandle) }
        gated(by: listing.gate, reply) { [self] reply in listing.answer(reply, from: position, in: self) }
    }

    /// The last descriptor of an open directory is gone.
    package func closeDirectory(_ inode: Inode, handle: FileHandle) {
        close(inode, handle: handle)
    }

    /// Has `work` answer when what `gate` is for may have a thread: now, or on another thread later.
    func gated<Reply: ~Copyable>(
        by gate: RequestGate?, _ reply: consuming Reply, _ work: @escaping @Sendable (consuming Reply) -> Void
    ) {
        guard let gate else { return work(reply) }
        guard gate.enter() else {
            let held = HeldReply(reply)
            return gate.keep { if let reply = held.take() { work(reply) } }
        }
        work(reply)
        gate.leave()
    }

    /// Answers what `df` shows of the whole mount. The size is what is in use on the host's file system that the images
    /// are on; nothing is free.
    package func statistics(reply: consuming StatisticsReply) {
        gated(by: root.gate, reply) { [self] reply in
            let used = FileSystemUse(at: folder.location)
            reply.statistics(
                Statistics(
                    blockSize: 4096, blocks: (used?.usedSize ?? 0) / 4096, files: UInt64(source.numbers.count)))
        }
    }

    /// Answers what `df` shows of a file: of its own file system, where it is one of a guest.
    package func statistics(of inode: Inode, reply: consuming StatisticsReply) {
        guard let node = inodes[inode] as? any GuestNode else { return statistics(reply: reply) }
        gated(by: node.gate, reply) { [self] reply in
            do throws(ErrorNumber) {
                let statistics = try node.statistics(in: self)
                reply.statistics(statistics)
            } catch {
                reply.failure(error)
            }
        }
    }

    /// The image, opened if it was not.
    func opened(_ node: ImageNode) -> OpenedImage {
        defer { openImages.note(node) }
        return node.opened()
    }
}

extension ErrorNumber {
    /// The error number that a program that reads the mount gets for an error.
    init(_ error: ImageError) {
        switch error.code {
        case .corrupt, .truncated: self = .inputOutput
        case .unsupported: self = .notSupported
        case .denied: self = .accessDenied
        case .outOfRange: self = .invalidArgument
        case .system(let errno): self = ErrorNumber(rawValue: errno)
        }
    }
}

extension RequestGate {
    /// A gate for as many threads as one image, container or folder may have.
    convenience init() { self.init(limit: ImageFileSystem.threadsPerImage) }
}
