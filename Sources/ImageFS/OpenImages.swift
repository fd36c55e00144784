import BlockImage

/// What holds files open that it can open again.
protocol Closable: AnyObject, Sendable {
    /// Closes its files unless somebody reads them, and answers whether they are closed.
    func closeIfIdle() -> Bool
}

extension ImageNode: Closable {}
extension ApplianceNode: Closable {}

/// Keeps the number of open images within bounds: a mount of 10,000 images must not need 10,000 descriptors because
/// somebody ran `find` on it.
final class OpenImages: Sendable {
    private let limit: Int
    private let nodes = Guarded<[ObjectIdentifier: any Closable]>([:])

    /// Lets `limit` images stay open that nobody reads.
    init(limit: Int) {
        self.limit = limit
    }

    /// How many are open, or were lately.
    var count: Int { nodes.withLock { $0.count } }

    /// `node` was opened; others that nobody reads are closed if there are too many. Must not be called by a node.
    func note(_ node: any Closable) {
        nodes.withLock { nodes in
            nodes[ObjectIdentifier(node)] = node
            guard nodes.count > limit else { return }
            // All that are idle but this one: closing one by one would look through all at every opening.
            nodes = nodes.filter { $0.value === node || !$0.value.closeIfIdle() }
        }
    }
}
