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
        source.entries[Node.entryNumber(of: inode)].flatMap { Node(inode, of: $0) }
    }

    /// What a directory holds, without "." and "..".
    func children(of node: Node) -> [(name: [UInt8], node: Node)] {
        switch node {
        case .folder(let folder):
            let children = folder.children().map { (name: $0.name, node: Node($0.entry)) }
            guard folder.number == FolderNode.rootNumber else { return children }
            // A subfolder of that name is hidden.
            return [(Node.Name.stats, .mountStats)] + children.filter { $0.name != Node.Name.stats }
        case .appliance(let appliance):
            defer { openImages.note(appliance) }
            return [(Node.Name.stats, .applianceStats(appliance))]
                + appliance.disks().map { ($0.name, .image($0.node, .folder)) }
        case .image(let image, let place):
            return children(of: place, in: image).map { ($0.0, .image(image, $0.1)) }
        case .applianceStats, .mountStats: return []
        }
    }

    /// What `directory` holds under `name`; without a list of its snapshots, which may be many.
    func child(_ name: [UInt8], of directory: Node) -> Node? {
        switch directory {
        case .image(let image, .snapshots):
            defer { openImages.note(image) }
            return image.snapshot(called: name).map { .image(image, .snapshot($0)) }
        default: return children(of: directory).first { $0.name == name }?.node
        }
    }

    private func children(of place: ImagePlace, in image: ImageNode) -> [([UInt8], ImagePlace)] {
        switch place {
        case .folder:
            let opened = opened(image)
            var children: [([UInt8], ImagePlace)] = [(Node.Name.stats, .stats(.current))]
            guard opened.disk.image != nil else { return children }
            children += [(Node.Name.disk, .disk(.current)), (Node.Name.map, .map), (Node.Name.partitions, .partitions)]
            if opened.layers.count > 1 { children.append((Node.Name.layers, .layers)) }
            if !opened.snapshots.isEmpty { children.append((Node.Name.snapshots, .snapshots)) }
            return children
        case .partitions:
            defer { openImages.note(image) }
            return (image.partitionTable()?.partitions ?? []).map { partition in
                (Node.Name.partition(partition.number), .disk(.partition(partition.number)))
            }
        case .layers: return opened(image).layers.indices.map { (Node.Name.layer($0), .disk(.layer($0))) }
        case .snapshots:
            defer { openImages.note(image) }
            return image.snapshotNames().enumerated().map { ($1, .snapshot($0)) }
        case .snapshot(let number):
            defer { openImages.note(image) }
            var children: [([UInt8], ImagePlace)] = [(Node.Name.stats, .stats(.snapshot(number)))]
            for (name, view) in [(Node.Name.disk, DiskView.snapshot(number)), (Node.Name.vmState, .vmState(number))]
            where image.disk(view).image != nil {
                children.append((name, .disk(view)))
            }
            return children
        case .disk, .map, .stats: return []
        }
    }

    /// The node that `node`, found as `name` in `folder`, is to be from now on: another one, where there are readers of
    /// what its image was before it changed.
    func renewed(_ node: Node, _ name: [UInt8], in folder: FolderNode) -> Node {
        guard case .image(let image, .folder) = node, image.isLeftBehind else { return node }
        return folder.replace(image, called: name).map { Node($0) } ?? node
    }

    /// The counters of `stats.json` move all the time; what the kernel knows of it is never good for a second look.
    func isVolatile(_ node: Node) -> Bool {
        switch node {
        case .mountStats, .applianceStats, .image(_, .stats), .image(_, .map): true
        case .folder, .appliance, .image: false
        }
    }

    /// What `stat` shows of a node. Throws why there is nothing to show.
    func attributes(of node: Node) throws(ErrorNumber) -> Attributes {
        switch node {
        case .folder(let folder): return directory(node, at: folder.location)
        case .mountStats: return text(try statsText(of: node), of: node, time: startTime)
        case .appliance(let appliance): return directory(node, at: appliance.location)
        case .applianceStats(let appliance):
            let time = try? FileStatus(at: appliance.location, followingLinks: false).modified
            return text(try statsText(of: node), of: node, time: time)
        case .image(let image, let place):
            switch place {
            case .folder, .snapshots, .snapshot, .partitions, .layers: return directory(node, at: image.location)
            case .stats:
                return text(try statsText(of: node), of: node, time: opened(image).layers.first?.file.modified)
            case .map:
                let opened = opened(image)
                guard let size = image.mapSize() else { throw .noEntry }
                var attributes = make(node, .regularFile, 0o444, time: opened.layers.first?.file.modified, links: 1)
                attributes.size = size
                return attributes
            case .disk(let view): return try attributes(of: view, in: image, as: node)
            }
        }
    }

    private func attributes(of view: DiskView, in image: ImageNode, as node: Node) throws(ErrorNumber) -> Attributes {
        defer { openImages.note(image) }
        let disk = image.disk(view)
        guard let size = disk.image?.virtualSize, let layer = image.opened().layers.first else { throw .noEntry }
        var attributes = make(node, .regularFile, 0o444, time: layer.file.modified, links: 1)
        attributes.size = size
        image.noteTold(size, of: view)
        let allocated = disk.allocatedSize ?? size
        attributes.blocks = allocated / 512 + (allocated % 512 == 0 ? 0 : 1)
        // What tools like cp and tar read at a time.
        attributes.blockSize = 1 << 20
        return attributes
    }

    private func directory(_ node: Node, at location: FilePath) -> Attributes {
        let time = (try? FileStatus(at: location, followingLinks: false))?.modified
        return make(node, .directory, 0o555, time: time, links: 2)
    }

    private func text(_ text: [UInt8], of node: Node, time: FileTime?) -> Attributes {
        var attributes = make(node, .regularFile, 0o444, time: time, links: 1)
        attributes.size = UInt64(text.count)
        attributes.blocks = (attributes.size + 511) / 512
        return attributes
    }

    private func make(
        _ node: Node, _ kind: FileKind, _ permissions: UInt16, time: FileTime?, links: UInt32
    ) -> Attributes {
        let time = Timestamp(seconds: time?.seconds ?? 0, nanoseconds: time?.nanoseconds ?? 0)
        var attributes = Attributes(
            inode: node.inode, kind: kind, permissions: permissions & ~permissionMask, time: time)
        attributes.linkCount = links
        attributes.userID = userID
        attributes.groupID = groupID
        return attributes
    }

    /// The text of a `stats.json`. Throws, and logs why, where it cannot be made.
    func statsText(of node: Node) throws(ErrorNumber) -> [UInt8] {
        do {
            switch node {
            case .image(let image, .stats(let view)):
                defer { openImages.note(image) }
                return try StatsDocument(image, view).text()
            case .applianceStats(let appliance):
                defer { openImages.note(appliance) }
                return try ApplianceDocument(appliance).text()
            case .mountStats: return try MountDocument(self).text()
            case .folder, .appliance, .image: throw ErrorNumber.noEntry
            }
        } catch {
            logger.error("stats.json: \(error)")
            throw .inputOutput
        }
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
