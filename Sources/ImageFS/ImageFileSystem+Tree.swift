import BlockImage
import Fuse
import HostStorage
import ImageFormats

import struct SystemPackage.FilePath

/// What is where in the tree, and what it looks like.
extension ImageFileSystem {
    /// The image, opened if it was not.
    func opened(_ node: ImageNode) -> OpenedImage {
        defer { openImages.note(node) }
        return node.opened()
    }

    /// The node of an inode that was given out.
    func node(_ inode: Inode) -> Node? {
        guard let node = Node(inode) else { return nil }
        return node.image.map(nodes.indices.contains) ?? true ? node : nil
    }

    /// What a directory holds, without "." and "..".
    func children(of node: Node) -> [([UInt8], Node)] {
        switch node {
        case .root: return folder.members.enumerated().map { ($1.name, .folder($0)) }
        case .folder(let index):
            let opened = opened(nodes[index])
            var children: [([UInt8], Node)] = [(Node.Name.stats, .stats(index, .current))]
            if opened.disk.image != nil { children.append((Node.Name.disk, .disk(index, .current))) }
            if !opened.snapshots.isEmpty { children.append((Node.Name.snapshots, .snapshots(index))) }
            return children
        case .snapshots(let index):
            defer { openImages.note(nodes[index]) }
            return nodes[index].snapshotNames().enumerated().map { ($1, .snapshot(index, $0)) }
        case .snapshot(let index, let number):
            let opened = opened(nodes[index])
            var children: [([UInt8], Node)] = [(Node.Name.stats, .stats(index, .snapshot(number)))]
            for (name, view) in [(Node.Name.disk, DiskView.snapshot(number)), (Node.Name.vmState, .vmState(number))] {
                if case .success = opened.result(view) { children.append((name, .disk(index, view))) }
            }
            return children
        case .disk, .stats: return []
        }
    }

    /// What `name` is in a directory.
    func child(_ name: [UInt8], of parent: Inode) -> Node? {
        guard let parent = node(parent) else { return nil }
        // Of these there may be many, and they have an index.
        if case .root = parent { return indexOfName[name].map { .folder($0) } }
        return children(of: parent).first { $0.0 == name }?.1
    }

    /// The counters of `stats.json` move all the time; what the kernel knows of it is never good for a second look.
    func isVolatile(_ node: Node) -> Bool {
        if case .stats = node { true } else { false }
    }

    /// What `stat` shows of a node. Throws why there is nothing to show.
    func attributes(of node: Node) throws(ErrorNumber) -> Attributes {
        switch node {
        case .root: return directory(node, at: folder.location)
        case .folder(let index), .snapshots(let index), .snapshot(let index, _):
            return directory(node, at: nodes[index].member.location)
        case .disk(let index, let view):
            let opened = opened(nodes[index])
            guard case .success(let image) = opened.result(view), let layer = opened.layers.first else {
                throw .noEntry
            }
            var attributes = file(node, time: layer.file.modified)
            attributes.size = image.virtualSize
            let allocated = opened.disk(view)?.allocation?.0.allocated ?? image.virtualSize
            attributes.blocks = allocated / 512 + (allocated % 512 == 0 ? 0 : 1)
            // What tools like cp and tar read at a time.
            attributes.blockSize = 1 << 20
            return attributes
        case .stats(let index, let view):
            guard let text = statsText(of: nodes[index], view) else { throw .inputOutput }
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

    /// The text of a `stats.json`; nil, and logged, where it cannot be made.
    func statsText(of node: ImageNode, _ view: DiskView) -> [UInt8]? {
        defer { openImages.note(node) }
        do {
            return try StatsDocument(node, view).text()
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
