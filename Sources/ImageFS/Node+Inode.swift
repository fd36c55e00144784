import Fuse

/// An inode's bits: the file in its slot (`File`), the slot, and from `entryBit` on the number of the entry. The root is 1
/// by FUSE's rule, and is entry 0.
extension Node {
    /// The kinds of inodes within one slot.
    private enum File: UInt64 {
        case folder, disk, stats, snapshots, vmState, partitions, layers, map
    }

    /// What of an image a slot stands for.
    private enum Slot {
        /// The image itself.
        case image
        /// A snapshot; a table has at most 65,536.
        case snapshot(Int)
        /// A partition, by its number.
        case partition(Int)
        /// An image of the chain, which has at most 256.
        case layer(Int)

        private static let firstPartition = 0x2_0000
        private static let firstLayer = 0x8_0000

        init(_ number: Int) {
            switch number {
            case 0: self = .image
            case ..<Self.firstPartition: self = .snapshot(number - 1)
            case ..<Self.firstLayer: self = .partition(number - Self.firstPartition)
            default: self = .layer(number - Self.firstLayer)
            }
        }

        var number: Int {
            switch self {
            case .image: 0
            case .snapshot(let index): index + 1
            case .partition(let number): Self.firstPartition + number
            case .layer(let depth): Self.firstLayer + depth
            }
        }
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
        let slot = Slot(Int((inode.rawValue & (1 << Self.entryBit - 1)) >> Self.slotBit))
        switch (entry, slot, file) {
        case (.folder(let node), .image, .stats) where node.number == FolderNode.rootNumber: self = .mountStats
        case (.folder(let node), .image, .folder): self = .folder(node)
        case (.appliance(let node), .image, .folder): self = .appliance(node)
        case (.appliance(let node), .image, .stats): self = .applianceStats(node)
        case (.image(let node), _, _):
            guard let place = Self.place(slot, file) else { return nil }
            self = .image(node, place)
        case (.folder, _, _), (.appliance, _, _): return nil
        }
    }

    private static func place(_ slot: Slot, _ file: File) -> ImagePlace? {
        switch (slot, file) {
        case (.image, .folder): .folder
        case (.image, .disk): .disk(.current)
        case (.image, .stats): .stats(.current)
        case (.image, .map): .map
        case (.image, .snapshots): .snapshots
        case (.image, .partitions): .partitions
        case (.image, .layers): .layers
        case (.snapshot(let index), .folder): .snapshot(index)
        case (.snapshot(let index), .disk): .disk(.snapshot(index))
        case (.snapshot(let index), .stats): .stats(.snapshot(index))
        case (.snapshot(let index), .vmState): .disk(.vmState(index))
        case (.partition(let number), .disk): .disk(.partition(number))
        case (.layer(let depth), .disk): .disk(.layer(depth))
        default: nil
        }
    }

    /// The number that the kernel knows it by.
    var inode: Inode {
        switch self {
        case .folder(let node):
            node.number == FolderNode.rootNumber ? .root : Self.inode(node.number, .image, .folder)
        case .mountStats: Self.inode(FolderNode.rootNumber, .image, .stats)
        case .appliance(let node): Self.inode(node.number, .image, .folder)
        case .applianceStats(let node): Self.inode(node.number, .image, .stats)
        case .image(let node, .disk(let view)): Self.inode(node.number, view)
        case .image(let node, let place):
            switch place {
            case .folder, .disk: Self.inode(node.number, .image, .folder)
            case .snapshots: Self.inode(node.number, .image, .snapshots)
            case .partitions: Self.inode(node.number, .image, .partitions)
            case .layers: Self.inode(node.number, .image, .layers)
            case .map: Self.inode(node.number, .image, .map)
            case .snapshot(let index): Self.inode(node.number, .snapshot(index), .folder)
            case .stats(.snapshot(let index)): Self.inode(node.number, .snapshot(index), .stats)
            case .stats: Self.inode(node.number, .image, .stats)
            }
        }
    }

    private static func inode(_ entry: UInt64, _ view: DiskView) -> Inode {
        switch view {
        case .current: inode(entry, .image, .disk)
        case .snapshot(let index): inode(entry, .snapshot(index), .disk)
        case .vmState(let index): inode(entry, .snapshot(index), .vmState)
        case .partition(let number): inode(entry, .partition(number), .disk)
        case .layer(let depth): inode(entry, .layer(depth), .disk)
        }
    }

    private static func inode(_ entry: UInt64, _ slot: Slot, _ file: File) -> Inode {
        Inode(rawValue: entry << entryBit | UInt64(slot.number) << slotBit | file.rawValue)
    }
}
