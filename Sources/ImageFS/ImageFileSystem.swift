import BlockImage
import Fuse
import HostStorage
import ImageFormats
import Logging

import struct SystemPackage.FilePath

/// The mounted tree: a folder per image, and in it `disk.raw`, the flat disk, and `stats.json`.
///
/// Images are opened when their folder is first looked into. Every method may be called from any thread.
public final class ImageFileSystem: FileSystem {
    /// How long the kernel may keep names and attributes, in seconds. A changed image is noticed after that.
    private static let timeout = 1.0
    /// How many images stay open that nobody reads; each takes a descriptor per file of its chain.
    private static let idleImages = 128

    private let nodes: [ImageNode]
    private let indexOfName: [[UInt8]: Int]
    private let folder: ImageFolder
    private let openImages = OpenImages(limit: idleImages)
    private let files = OpenFiles()
    private let buffers = BufferPool()
    private let userID: UInt32
    private let groupID: UInt32
    private let logger: Logger
    private let onStart: @Sendable () -> Void

    /// Shows the images of `folder`, opened under `policy`, with caches of `cacheSize` bytes. Files belong to the user
    /// and group given. `onStart` is called once the mount answers.
    public init(
        _ folder: ImageFolder, policy: ConfinedOpenPolicy, cacheSize: Int, userID: UInt32, groupID: UInt32,
        logger: Logger, onStart: @escaping @Sendable () -> Void
    ) {
        let opener = ImageOpener(policy: policy, resources: LayerResources(cacheSize: cacheSize))
        let source = ImageSource(policy: policy, opener: opener)
        self.folder = folder
        nodes = folder.members.map { ImageNode($0, from: source) }
        indexOfName = Dictionary(folder.members.enumerated().map { ($1.name, $0) }) { first, _ in first }
        self.userID = userID
        self.groupID = groupID
        self.logger = logger
        self.onStart = onStart
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
            reply.entry(try attributes(of: node), entryTimeout: timeout, attributesTimeout: timeout)
        } catch {
            // An image that cannot be opened has no disk.raw.
            reply.failure(error)
        }
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
        switch node(inode) {
        case .disk(let index):
            let node = nodes[index]
            do throws(ImageError) {
                let (image, keepsCache) = try node.openDisk()
                openImages.note(node)
                let handle = files.add(.disk(node, image))
                if !reply.opened(handle, OpenOptions(keepCache: keepsCache)) { close(inode, handle: handle) }
            } catch {
                logger.warning("\(error)")
                reply.failure(ErrorNumber(error))
            }
        case .stats(let index):
            guard let text = statsText(of: nodes[index]) else { return reply.failure(.inputOutput) }
            // The size may differ from the one that the kernel knows, so reads come here whatever it knows.
            let handle = files.add(.stats(text))
            if !reply.opened(handle, OpenOptions(directIO: true)) { close(inode, handle: handle) }
        case .root, .folder: reply.failure(.isDirectory)
        case nil: reply.failure(.noEntry)
        }
    }

    /// See `FileSystem`.
    public func read(
        _ inode: Inode, handle: FileHandle, count: Int, at offset: UInt64, reply: consuming DataReply
    ) {
        switch files[handle] {
        case .disk(let node, let image): read(count, at: offset, of: image, node, reply: reply)
        case .stats(let text):
            let start = Int(min(offset, UInt64(text.count)))
            let buffer = AlignedBuffer(capacity: min(count, text.count - start))
            buffer.fill(buffer.capacity) { output in
                for byte in text[start...].prefix(output.capacity) { output.append(byte) }
            }
            reply.bytes(buffer.bytes)
        case nil: reply.failure(.badHandle)
        }
    }

    private func read(
        _ count: Int, at offset: UInt64, of image: Image, _ node: ImageNode, reply: consuming DataReply
    ) {
        let start = min(offset, image.virtualSize)
        let count = Int(min(UInt64(count), image.virtualSize - start))
        let buffer = buffers.take(count)
        defer { buffers.giveBack(buffer) }
        do throws(ImageError) {
            try buffer.fill(count) { output throws(ImageError) in
                try image.read(count, at: GuestOffset(start), into: &output)
            }
            node.counters.reads.add(1, ordering: .relaxed)
            node.counters.bytesRead.add(UInt64(count), ordering: .relaxed)
            reply.bytes(buffer.bytes)
        } catch {
            // Never a short answer: the kernel would take it for the end of the file and fill up with zeros.
            let errors = node.counters.readErrors.add(1, ordering: .relaxed).newValue
            // The 1st, 2nd, 4th, 8th …: a damaged image must not fill the log of the host.
            if errors.nonzeroBitCount == 1 {
                logger.warning("read error \(errors), \(count) bytes at \(GuestOffset(start)): \(error)")
            }
            reply.failure(ErrorNumber(error))
        }
    }

    /// See `FileSystem`.
    public func close(_ inode: Inode, handle: FileHandle) {
        if case .disk(let node, _) = files.remove(handle) { node.closeDisk() }
    }

    /// See `FileSystem`.
    public func openDirectory(_ inode: Inode, reply: consuming OpenReply) {
        guard let node = node(inode), node.isDirectory else { return reply.failure(.notDirectory) }
        reply.opened(FileHandle(rawValue: 0))
    }

    /// See `FileSystem`.
    public func readDirectory(
        _ inode: Inode, handle: FileHandle, from position: UInt64, reply: consuming DirectoryReply
    ) {
        var entries: [(name: [UInt8], node: Node)] = [(Array(".".utf8), .root), (Array("..".utf8), .root)]
        switch node(inode) {
        case .root: entries += folder.members.enumerated().map { ($1.name, .folder($0)) }
        case .folder(let index):
            entries[0].node = .folder(index)
            if opened(nodes[index]).image != nil { entries.append((Node.diskName, .disk(index))) }
            entries.append((Node.statsName, .stats(index)))
        case .disk, .stats, nil: return reply.failure(.notDirectory)
        }
        for (index, entry) in entries.enumerated().dropFirst(Int(clamping: position)) {
            let kind: FileKind = entry.node.isDirectory ? .directory : .regularFile
            let next = UInt64(index) + 1
            guard reply.add(name: entry.name, inode: entry.node.inode, kind: kind, nextPosition: next) else { break }
        }
        reply.finish()
    }

    /// See `FileSystem`.
    public func closeDirectory(_ inode: Inode, handle: FileHandle) {}

    /// See `FileSystem`.
    public func seek(
        _ inode: Inode, handle: FileHandle, from offset: UInt64, to target: SeekTarget, reply: consuming SeekReply
    ) {
        guard case .disk(_, let image) = files[handle] else { return reply.failure(.invalidArgument) }
        guard offset < image.virtualSize else { return reply.failure(.noSuchAddress) }
        do throws(ImageError) {
            guard let found = try image.next(hole: target == .hole, from: GuestOffset(offset)) else {
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
        reply.statistics(Statistics(blockSize: 4096, blocks: 0, files: UInt64(nodes.count)))
    }
}

extension ImageFileSystem {
    private func opened(_ node: ImageNode) -> OpenedImage {
        defer { openImages.note(node) }
        return node.opened()
    }

    /// The node of an inode that was given out.
    private func node(_ inode: Inode) -> Node? {
        guard let node = Node(inode) else { return nil }
        return node.index.map(nodes.indices.contains) ?? true ? node : nil
    }

    private func child(_ name: [UInt8], of parent: Inode) -> Node? {
        switch node(parent) {
        case .root: indexOfName[name].map { .folder($0) }
        case .folder(let index) where name == Node.diskName:
            opened(nodes[index]).image == nil ? nil : .disk(index)
        case .folder(let index) where name == Node.statsName: .stats(index)
        case .folder, .disk, .stats, nil: nil
        }
    }

    /// The counters of `stats.json` move all the time; what the kernel knows of it is never good for a second look.
    private func isVolatile(_ node: Node) -> Bool {
        if case .stats = node { true } else { false }
    }

    private func attributes(of node: Node) throws(ErrorNumber) -> Attributes {
        switch node {
        case .root: return directory(node, at: folder.location)
        case .folder(let index): return directory(node, at: nodes[index].member.location)
        case .disk(let index):
            let opened = opened(nodes[index])
            guard let image = opened.image, let layer = opened.layers.first else { throw .noEntry }
            var attributes = file(node, time: layer.file.modified)
            attributes.size = image.virtualSize
            attributes.blocks = ((opened.allocation?.0.allocated ?? 0) + 511) / 512
            // What tools like cp and tar read at a time.
            attributes.blockSize = 1 << 20
            return attributes
        case .stats(let index):
            guard let text = statsText(of: nodes[index]) else { throw .inputOutput }
            var attributes = file(node, time: opened(nodes[index]).layers.first?.file.modified)
            attributes.size = UInt64(text.count)
            attributes.blocks = (attributes.size + 511) / 512
            return attributes
        }
    }

    private func directory(_ node: Node, at location: FilePath) -> Attributes {
        let time = (try? FileStatus(at: location, followingLinks: false))?.modified
        return make(node, .directory, 0o555, time: time, links: 2)
    }

    private func file(_ node: Node, time: FileTime?) -> Attributes {
        make(node, .regularFile, 0o444, time: time, links: 1)
    }

    private func make(
        _ node: Node, _ kind: FileKind, _ permissions: UInt16, time: FileTime?, links: UInt32
    ) -> Attributes {
        let time = Timestamp(seconds: time?.seconds ?? 0, nanoseconds: time?.nanoseconds ?? 0)
        var attributes = Attributes(inode: node.inode, kind: kind, permissions: permissions, time: time)
        attributes.linkCount = links
        attributes.userID = userID
        attributes.groupID = groupID
        return attributes
    }

    private func statsText(of node: ImageNode) -> [UInt8]? {
        defer { openImages.note(node) }
        do {
            return try StatsDocument(node).text()
        } catch {
            logger.error("stats.json of \(node.member.location): \(error)")
            return nil
        }
    }
}

extension ErrorNumber {
    /// What a program that reads the mount is told of an error.
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
