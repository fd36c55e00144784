import Fuse

/// A place in the mounted tree. The images are numbered as they stand in the folder, and inodes follow from that.
enum Node: Hashable {
    /// The root: one folder per image.
    case root
    /// An image's folder.
    case folder(Int)
    /// `disk.raw` of an image.
    case disk(Int)
    /// `stats.json` of an image.
    case stats(Int)

    /// The files of an image's folder.
    static let diskName = Array("disk.raw".utf8)
    /// The files of an image's folder.
    static let statsName = Array("stats.json".utf8)

    /// Inodes of one image: there is room for the files that an image may get.
    private static let stride: UInt64 = 16
    private static let first: UInt64 = 16

    /// The node of an inode that was given out; nil for any other number.
    init?(_ inode: Inode) {
        if inode == .root {
            self = .root
            return
        }
        guard inode.rawValue >= Self.first else { return nil }
        let index = Int(clamping: (inode.rawValue - Self.first) / Self.stride)
        switch inode.rawValue % Self.stride {
        case 0: self = .folder(index)
        case 1: self = .disk(index)
        case 2: self = .stats(index)
        default: return nil
        }
    }

    /// The number that the kernel knows it by.
    var inode: Inode {
        switch self {
        case .root: .root
        case .folder(let index): Self.inode(index, 0)
        case .disk(let index): Self.inode(index, 1)
        case .stats(let index): Self.inode(index, 2)
        }
    }

    /// The image's number; nil for the root.
    var index: Int? {
        switch self {
        case .root: nil
        case .folder(let index), .disk(let index), .stats(let index): index
        }
    }

    /// Whether it is a directory.
    var isDirectory: Bool {
        switch self {
        case .root, .folder: true
        case .disk, .stats: false
        }
    }

    private static func inode(_ index: Int, _ file: UInt64) -> Inode {
        Inode(rawValue: first + UInt64(index) * stride + file)
    }
}
