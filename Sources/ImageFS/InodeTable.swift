import BlockImage
import Fuse

/// The inode numbers of nodes, and the nodes that the kernel refers to, by them. Every method may be called from any
/// thread.
///
/// A number is a hash of what the node is. So one that the kernel has forgotten, or has only seen in a listing, has the
/// same number whenever it comes again, and nothing is kept for that: the table has only what the kernel refers to, which
/// forgets what is not used when memory is short. No two nodes in the table have one number: where the hashes of two are
/// the same, the later one has the next number.
final class InodeTable: Sendable {
    /// A node that the kernel refers to. There are some for each image that was looked at, and places for twice as many in
    /// the dictionary: so each is as large as its node, and no larger.
    private class Reference {
        /// How many references the kernel holds.
        var count: UInt64 = 0
        /// Whether another node has the next number, and is only found again while this one is here.
        var isPassed = false

        var node: any Node { preconditionFailure("a reference is to a node") }
    }

    private final class ReferenceTo<Kind: Node>: Reference {
        private let kept: Kind

        init(_ node: Kind) {
            kept = node
        }

        override var node: any Node { kept }
    }

    /// As many bits as programs keep that have numbers in floating point.
    private static let limit: UInt64 = 1 << 53
    /// 0 is no file, and 1 is the root.
    private static let first: UInt64 = 2

    private let root: any Node
    private let hash: @Sendable (any Node) -> UInt64
    private let references = Guarded<[UInt64: Reference]>([:])

    /// A table for a mount whose mountpoint is `root`, with number 1 by FUSE's rule.
    init(root: any Node, hash: @escaping @Sendable (any Node) -> UInt64 = { $0.identityHash }) {
        self.root = root
        self.hash = hash
    }

    /// The node that the kernel refers to by that number.
    subscript(inode: Inode) -> (any Node)? {
        inode == .root ? root : references.withLock { $0[inode.rawValue]?.node }
    }

    /// The number of `node`, for a listing or for attributes: makes no reference.
    func number(of node: any Node) -> Inode {
        guard !node.isSame(as: root) else { return .root }
        let hash = hash(node)
        return references.withLock { Inode(rawValue: Self.number(of: node, hash, &$0)) }
    }

    /// The number that `node` has unless another has it, for a listing: without a look at the table.
    func usualNumber(of node: any Node) -> Inode {
        Inode(rawValue: max(hash(node) % Self.limit, Self.first))
    }

    /// The kernel gets one more reference to `node`, by the number that is answered.
    func refer(to node: any Node) -> Inode {
        guard !node.isSame(as: root) else { return .root }
        let hash = hash(node)
        return references.withLock { references in
            let number = Self.number(of: node, hash, &references)
            let known = references[number]
            let reference = known ?? Self.reference(to: node)
            reference.count += 1
            if known == nil { references[number] = reference }
            return Inode(rawValue: number)
        }
    }

    /// The kernel gives up `count` references.
    func forget(_ inode: Inode, count: UInt64) {
        // What goes with the last reference goes after the lock: it may be a whole folder, or close files.
        _ = references.withLock { references -> (any Node)? in
            guard let reference = references[inode.rawValue] else { return nil }
            reference.count -= min(count, reference.count)
            if reference.count == 0, !reference.isPassed { references[inode.rawValue] = nil }
            return reference.node
        }
    }

    /// How many nodes the kernel refers to.
    var count: Int { references.withLock { $0.count } }

    private static func reference(to node: some Node) -> Reference { ReferenceTo(node) }

    private static func number(of node: any Node, _ hash: UInt64, _ references: inout [UInt64: Reference]) -> UInt64 {
        var number = hash % limit
        while true {
            if number < first { number = first }
            guard let other = references[number]?.node, !node.isSame(as: other) else { return number }
            references[number]?.isPassed = true
            number = (number + 1) % limit
        }
    }
}
