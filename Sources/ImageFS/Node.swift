import Fuse

/// One of the files of an image that can be read like a disk.
enum DiskView: Hashable {
    /// The disk that the image is.
    case current
    /// The disk that a snapshot keeps, by its place in the snapshot table.
    case snapshot(Int)
    /// The machine state that a snapshot keeps.
    case vmState(Int)
}

/// A place in an image's folder.
enum ImagePlace: Hashable {
    /// The image's folder itself.
    case folder
    /// The folder of its snapshots.
    case snapshots
    /// The folder of one snapshot.
    case snapshot(Int)
    /// `disk.raw` or `vmstate` of the image or a snapshot.
    case disk(DiskView)
    /// `stats.json` of the image or a snapshot.
    case stats(DiskView)

    /// Whether it is a directory.
    var isDirectory: Bool {
        switch self {
        case .folder, .snapshots, .snapshot: true
        case .disk, .stats: false
        }
    }
}

/// A place in the mounted tree.
enum Node: Sendable {
    /// The mounted folder or one below it.
    case folder(FolderNode)
    /// The folder of an appliance, with a folder for each of its disks.
    case appliance(ApplianceNode)
    /// `stats.json` of an appliance.
    case applianceStats(ApplianceNode)
    /// A place in the folder of an image.
    case image(ImageNode, ImagePlace)

    /// The names that do not depend on the images.
    enum Name {
        static let disk = Array("disk.raw".utf8)
        static let stats = Array("stats.json".utf8)
        static let snapshots = Array("snapshots".utf8)
        static let vmState = Array("vmstate".utf8)
    }

    /// The directory that stands for an entry.
    init(_ entry: Entry) {
        switch entry {
        case .folder(let node): self = .folder(node)
        case .image(let node): self = .image(node, .folder)
        case .appliance(let node): self = .appliance(node)
        }
    }

    /// Whether it is a directory.
    var isDirectory: Bool {
        switch self {
        case .folder, .appliance: true
        case .applianceStats: false
        case .image(_, let place): place.isDirectory
        }
    }
}

/// An inode's bits: the file in its slot (`File`), the slot (0: the entry, k + 1: the snapshot k of an image; a table has
/// at most 65,536), and from `entryBit` on the number of the entry. The root is 1 by FUSE's rule, and has entry 0.
extension Node {
    /// The kinds of inodes within one slot.
    private enum File: UInt64 {
        case folder, disk, stats, snapshots, vmState
    }

    private static let slotBit: UInt64 = 4
    private static let entryBit: UInt64 = 24

    /// The entry of an inode.
    static func entryNumber(of inode: Inode) -> UInt64 {
        inode == .root ? FolderNode.rootNumber : inode.rawValue >> entryBit
    }

    /// The node of an inode that was given out for `entry`; nil for any other number.
    init?(_ inode: Inode, of entry: Entry) {
        if inode == .root {
            self.init(entry)
            return
        }
        guard let file = File(rawValue: inode.rawValue & 15) else { return nil }
        let slot = Int((inode.rawValue & (1 << Self.entryBit - 1)) >> Self.slotBit)
        switch entry {
        case .folder(let node):
            guard slot == 0, file == .folder else { return nil }
            self = .folder(node)
        case .appliance(let node):
            switch (slot, file) {
            case (0, .folder): self = .appliance(node)
            case (0, .stats): self = .applianceStats(node)
            default: return nil
            }
        case .image(let node):
            guard let place = Self.place(slot, file) else { return nil }
            self = .image(node, place)
        }
    }

    private static func place(_ slot: Int, _ file: File) -> ImagePlace? {
        switch (slot, file) {
        case (0, .folder): .folder
        case (0, .disk): .disk(.current)
        case (0, .stats): .stats(.current)
        case (0, .snapshots): .snapshots
        case (0, .vmState), (_, .snapshots): nil
        case (let slot, .folder): .snapshot(slot - 1)
        case (let slot, .disk): .disk(.snapshot(slot - 1))
        case (let slot, .stats): .stats(.snapshot(slot - 1))
        case (let slot, .vmState): .disk(.vmState(slot - 1))
        }
    }

    /// The number that the kernel knows it by.
    var inode: Inode {
        switch self {
        case .folder(let node):
            node.number == FolderNode.rootNumber ? .root : Self.inode(node.number, 0, .folder)
        case .appliance(let node): Self.inode(node.number, 0, .folder)
        case .applianceStats(let node): Self.inode(node.number, 0, .stats)
        case .image(let node, let place):
            switch place {
            case .folder: Self.inode(node.number, 0, .folder)
            case .snapshots: Self.inode(node.number, 0, .snapshots)
            case .snapshot(let index): Self.inode(node.number, index + 1, .folder)
            case .disk(.current): Self.inode(node.number, 0, .disk)
            case .disk(.snapshot(let index)): Self.inode(node.number, index + 1, .disk)
            case .disk(.vmState(let index)): Self.inode(node.number, index + 1, .vmState)
            case .stats(.current): Self.inode(node.number, 0, .stats)
            case .stats(.snapshot(let index)), .stats(.vmState(let index)):
                Self.inode(node.number, index + 1, .stats)
            }
        }
    }

    private static func inode(_ entry: UInt64, _ slot: Int, _ file: File) -> Inode {
        Inode(rawValue: entry << entryBit | UInt64(slot) << slotBit | file.rawValue)
    }
}
