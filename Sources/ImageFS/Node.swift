/// One of the files of an image that can be read like a disk.
enum DiskView: Hashable {
    /// The disk that the image is.
    case current
    /// The disk that a snapshot keeps, by its place in the snapshot table.
    case snapshot(Int)
    /// The machine state that a snapshot keeps.
    case vmState(Int)
    /// A partition of the disk, by its number.
    case partition(Int)
    /// The disk as an image of the chain has it, by its place in the chain; 0 is the topmost.
    case layer(Int)
}

/// A place in an image's folder.
enum ImagePlace: Hashable {
    /// The image's folder itself.
    case folder
    /// The folder of its snapshots.
    case snapshots
    /// The folder of one snapshot.
    case snapshot(Int)
    /// The folder of the disk's partitions.
    case partitions
    /// The folder of the chain's disks.
    case layers
    /// What can be read like a disk.
    case disk(DiskView)
    /// `map.json`: how the disk is stored.
    case map
    /// `stats.json` of the image or a snapshot.
    case stats(DiskView)

    /// Whether it is a directory.
    var isDirectory: Bool {
        switch self {
        case .folder, .snapshots, .snapshot, .partitions, .layers: true
        case .disk, .map, .stats: false
        }
    }
}

/// A place in the mounted tree.
enum Node: Sendable {
    /// The mounted folder or one below it.
    case folder(FolderNode)
    /// `stats.json` of the mount.
    case mountStats
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
        static let map = Array("map.json".utf8)
        static let snapshots = Array("snapshots".utf8)
        static let vmState = Array("vmstate".utf8)
        static let partitions = Array("partitions".utf8)
        static let layers = Array("layers".utf8)

        static func partition(_ number: Int) -> [UInt8] { Array("p\(number).raw".utf8) }
        static func layer(_ depth: Int) -> [UInt8] { Array("\(depth).raw".utf8) }
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
        case .applianceStats, .mountStats: false
        case .image(_, let place): place.isDirectory
        }
    }
}
