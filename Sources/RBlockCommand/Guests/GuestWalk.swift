import BlockImage
import Catalog
import GuestFiles

/// A walk through the files below a directory of a guest, each directory before what is in it, by names.
struct GuestWalk {
    let tree: GuestTree
    /// Gets what cannot be read; the walk goes on.
    let onError: (ImageError) -> Void
    /// Gets each directory that was gone into when all in it was visited.
    var onLeave: (GuestTree.Node) throws -> Void = { _ in }

    /// A directory under way.
    private struct Level {
        let folder: GuestTree.Node
        let listing: GuestListing
        var next = 0
    }

    /// Gives `body` the file `node` and all below it, with its status; where it answers false for a directory, that is not gone
    /// into. Throws what `body` throws, but for errors of images, which are given to `onError`.
    func run(_ node: GuestTree.Node, _ body: (GuestTree.Node, GuestStatus) throws -> Bool) throws {
        // A damaged directory may be in itself, or in two others.
        var seen: Set<[UInt64]> = []
        var levels: [Level] = []
        func visit(_ node: GuestTree.Node) throws {
            let status = try tree.status(of: node)
            guard try body(node, status), status.kind == .directory else { return }
            guard seen.insert(tree.identity(of: node)).inserted else {
                try onLeave(node)
                throw ImageError(.corrupt, path: node.text, "is a directory that has another name, too")
            }
            do throws(ImageError) {
                levels.append(Level(folder: node, listing: try tree.listing(of: node)))
            } catch {
                try onLeave(node)
                throw error
            }
        }
        try reporting { try visit(node) }
        while var level = levels.popLast() {
            guard level.next < level.listing.count else {
                try onLeave(level.folder)
                continue
            }
            level.next += 1
            levels.append(level)
            try reporting {
                try visit(try tree.child(level.next - 1, in: level.listing, of: level.folder))
            }
        }
    }

    private func reporting(_ work: () throws -> Void) throws {
        do { try work() } catch let error as ImageError { onError(error) }
    }
}
