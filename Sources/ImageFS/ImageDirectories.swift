import BlockImage
import Catalog
import FormatCore
import Fuse
import HostStorage
import ImageFormats
import PartitionTable

import struct SystemPackage.FilePath

/// What is in the folder of an image, or is the folder.
protocol ImagePart: Node {
    /// The image.
    var image: ImageNode { get }
    /// The image of its chain that the extended attributes are about; 0 is the topmost.
    var layer: Int { get }
}

extension ImagePart {
    var gate: RequestGate? { image.gate }
    var layer: Int { 0 }

    /// `format`, `file`, `layer` and `cluster-size`.
    func extendedAttributes(in mount: ImageFileSystem) throws(ErrorNumber) -> [(name: [UInt8], value: [UInt8])] {
        let layers = mount.opened(image).layers
        guard layers.indices.contains(layer) else { return [] }
        let info = ImageInfo(layers[layer], listsAll: false)
        var values = [("format", info.format), ("file", info.filename.text), ("layer", "\(layer)")]
        if let size = info.clusterSize { values.append(("cluster-size", "\(size)")) }
        return values.map { (Array($0.0.utf8), Array($0.1.utf8)) }
    }
}

extension NodeStatus {
    /// What a directory shows that stands for the file or folder at `location`.
    init(ofDirectoryFor location: FilePath) {
        self.init(time: (try? FileStatus(at: location, followingLinks: false))?.modified)
    }
}

/// A directory in the folder of an image, or the folder.
protocol ImageDirectory: ImagePart {}

extension ImageDirectory {
    var kind: FileKind { .directory }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        NodeStatus(ofDirectoryFor: image.hostFile)
    }
}

/// The folder of an image.
extension ImageNode: GuestParent {
    var image: ImageNode { self }
    var snapshot: Int? { nil }

    func guestPlaces(in mount: ImageFileSystem) -> [GuestPlaceName] { [(NodeName.files, .root)] }

    func disks(in mount: ImageFileSystem) -> [NamedNode] {
        let opened = mount.opened(self)
        var children: [NamedNode] = [(NodeName.stats, ImageStats(image: self))]
        guard opened.disk.image != nil else { return children }
        children += [
            (NodeName.disk, DiskNode(image: self, view: .current)), (NodeName.map, MapNode(image: self)),
            (NodeName.partitions, PartitionsNode(image: self)),
        ]
        if !image.disks().volumes(of: nil).volumes.isEmpty {
            children.append((NodeName.volumes, VolumesNode(image: self)))
        }
        if opened.layers.count > 1 { children.append((NodeName.layers, LayersNode(image: self))) }
        if !opened.snapshots.isEmpty { children.append((NodeName.snapshots, SnapshotsNode(image: self))) }
        return children
    }
}

/// `partitions`: those of the disk, or of the disk that a snapshot keeps.
struct PartitionsNode: GuestParent {
    let image: ImageNode
    /// The place of the snapshot in the snapshot table; nil: the current disk.
    var snapshot: Int?

    private var numbers: [Int] { (image.disks().partitionTable(of: snapshot)?.partitions ?? []).map(\.number) }

    func disks(in mount: ImageFileSystem) -> [NamedNode] {
        defer { mount.openImages.note(image) }
        return numbers.map { number in
            let view = DiskID(snapshot: snapshot, part: .partition(number))
            return (NodeName.partition(number), DiskNode(image: image, view: view))
        }
    }

    func guestPlaces(in mount: ImageFileSystem) -> [GuestPlaceName] {
        numbers.map { (NodeName.filesOfPartition($0), .part(.partition($0))) }
    }
}

/// `volumes`: those of LVM that can be read, of the disk, or of the disk that a snapshot keeps.
struct VolumesNode: GuestParent {
    let image: ImageNode
    /// The place of the snapshot in the snapshot table; nil: the current disk.
    var snapshot: Int?

    private var names: [String] { image.disks().volumes(of: snapshot).volumes.filter(\.isReadable).map(\.name) }

    func disks(in mount: ImageFileSystem) -> [NamedNode] {
        defer { mount.openImages.note(image) }
        return names.map { name in
            let view = DiskID(snapshot: snapshot, part: .volume(name))
            return (NodeName.volume(name), DiskNode(image: image, view: view))
        }
    }

    func guestPlaces(in mount: ImageFileSystem) -> [GuestPlaceName] {
        names.map { (Array($0.utf8), .part(.volume($0))) }
    }
}

/// `layers`: the disk as each image of the chain has it.
struct LayersNode: ImageDirectory {
    let image: ImageNode

    func children(in mount: ImageFileSystem) -> [NamedNode] {
        mount.opened(image).layers.indices.map {
            (NodeName.layer($0), DiskNode(image: image, view: DiskID(part: .layer($0))))
        }
    }
}

/// `snapshots`: a directory for each.
struct SnapshotsNode: ImageDirectory {
    let image: ImageNode

    func children(in mount: ImageFileSystem) -> [NamedNode] {
        defer { mount.openImages.note(image) }
        return image.disks().snapshotNames.enumerated().map { ($1, SnapshotNode(image: image, index: $0)) }
    }

    /// Without a list of them, which may be many.
    func child(_ name: [UInt8], in mount: ImageFileSystem) -> (any Node)? {
        defer { mount.openImages.note(image) }
        return image.disks().snapshot(called: name).map { SnapshotNode(image: image, index: $0) }
    }
}

/// The directory of one snapshot.
struct SnapshotNode: GuestParent {
    let image: ImageNode
    /// Its place in the snapshot table.
    let index: Int
    var snapshot: Int? { index }

    func guestPlaces(in mount: ImageFileSystem) -> [GuestPlaceName] { [(NodeName.files, .root)] }

    func disks(in mount: ImageFileSystem) -> [NamedNode] {
        defer { mount.openImages.note(image) }
        var children: [NamedNode] = [(NodeName.stats, ImageStats(image: image, snapshot: index))]
        for (name, part) in [(NodeName.disk, DiskPart.whole), (NodeName.vmState, .vmState)] {
            let view = DiskID(snapshot: index, part: part)
            guard image.disk(view).image != nil else { continue }
            children.append((name, DiskNode(image: image, view: view)))
            guard part == .whole else { continue }
            children.append((NodeName.partitions, PartitionsNode(image: image, snapshot: index)))
            if !image.disks().volumes(of: index).volumes.isEmpty {
                children.append((NodeName.volumes, VolumesNode(image: image, snapshot: index)))
            }
        }
        return children
    }
}
