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

/// A place in the mounted tree. The images are numbered as they stand in the folder, their snapshots as they stand in
/// the snapshot table, and inodes follow from that.
enum Node: Hashable {
    /// The root: one folder per image.
    case root
    /// An image's folder.
    case folder(Int)
    /// The folder of an image's snapshots.
    case snapshots(Int)
    /// The folder of one snapshot of an image.
    case snapshot(Int, Int)
    /// `disk.raw` or `vmstate` of an image or snapshot.
    case disk(Int, DiskView)
    /// `stats.json` of an image or snapshot.
    case stats(Int, DiskView)

    /// The names that do not depend on the images.
    enum Name {
        static let disk = Array("disk.raw".utf8)
        static let stats = Array("stats.json".utf8)
        static let snapshots = Array("snapshots".utf8)
        static let vmState = Array("vmstate".utf8)
    }

    /// The kinds of inodes within one slot.
    private enum File: UInt64 {
        case folder, disk, stats, snapshots, vmState
    }

    /// An inode's bits: the file in its slot, the slot (0: the image, k + 1: the snapshot k; a table has at most 65,536),
    /// and from `imageBit` on the image's number plus one.
    private static let slotBit: UInt64 = 4
    private static let imageBit: UInt64 = 24

    /// The node of an inode that was given out; nil for any other number.
    init?(_ inode: Inode) {
        if inode == .root {
            self = .root
            return
        }
        let number = inode.rawValue
        guard number >> Self.imageBit > 0, let file = File(rawValue: number & 15) else { return nil }
        let image = Int(number >> Self.imageBit) - 1
        let snapshot = Int((number & (1 << Self.imageBit - 1)) >> Self.slotBit) - 1
        switch (file, snapshot < 0) {
        case (.folder, true): self = .folder(image)
        case (.disk, true): self = .disk(image, .current)
        case (.stats, true): self = .stats(image, .current)
        case (.snapshots, true): self = .snapshots(image)
        case (.folder, false): self = .snapshot(image, snapshot)
        case (.disk, false): self = .disk(image, .snapshot(snapshot))
        case (.stats, false): self = .stats(image, .snapshot(snapshot))
        case (.vmState, false): self = .disk(image, .vmState(snapshot))
        case (.vmState, true), (.snapshots, false): return nil
        }
    }

    /// The number that the kernel knows it by.
    var inode: Inode {
        switch self {
        case .root: .root
        case .folder(let image), .stats(let image, .vmState): Self.inode(image, -1, .folder)
        case .disk(let image, .current): Self.inode(image, -1, .disk)
        case .stats(let image, .current): Self.inode(image, -1, .stats)
        case .snapshots(let image): Self.inode(image, -1, .snapshots)
        case .snapshot(let image, let snapshot): Self.inode(image, snapshot, .folder)
        case .disk(let image, .snapshot(let snapshot)): Self.inode(image, snapshot, .disk)
        case .stats(let image, .snapshot(let snapshot)): Self.inode(image, snapshot, .stats)
        case .disk(let image, .vmState(let snapshot)): Self.inode(image, snapshot, .vmState)
        }
    }

    private static func inode(_ image: Int, _ snapshot: Int, _ file: File) -> Inode {
        Inode(rawValue: UInt64(image + 1) << imageBit | UInt64(snapshot + 1) << slotBit | file.rawValue)
    }

    /// The image's number; nil for the root.
    var image: Int? {
        switch self {
        case .root: nil
        case .folder(let image), .snapshots(let image), .snapshot(let image, _), .disk(let image, _),
            .stats(let image, _):
            image
        }
    }

    /// Whether it is a directory.
    var isDirectory: Bool {
        switch self {
        case .root, .folder, .snapshots, .snapshot: true
        case .disk, .stats: false
        }
    }
}
