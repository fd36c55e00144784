import BlockImage
import Catalog
import GuestFiles

/// A file that is copied into a guest, from the host or from another guest. For use by one thread.
protocol CopySource {
    /// What it is called where it is.
    var name: [UInt8] { get }
    /// What errors call it.
    var text: String { get }
    /// What tells it from all others of the same source: hard links have the same.
    var identity: [UInt64] { get }
    /// Whether it is a file of the guest that is written to.
    var isOfTarget: Bool { get }
    func status() throws(ImageError) -> GuestStatus
    /// The content of a regular file.
    func content() throws(ImageError) -> any GuestFileContent
    /// The path that a link has.
    func target() throws(ImageError) -> [UInt8]
    func attributes() throws(ImageError) -> [GuestAttribute]
    /// Gives `body` each file in a directory, by names; `onError` gets what cannot be opened.
    func forEachChild(onError: (ImageError) -> Void, _ body: (any CopySource) throws -> Void) throws
}

/// A file of a guest.
struct GuestSource: CopySource {
    let tree: GuestTree
    let node: GuestTree.Node
    var isOfTarget = false
    /// What it was called where it was named: a link that is followed has another name.
    var named: [UInt8]?

    var name: [UInt8] { named ?? node.path.last ?? [] }
    var text: String { node.text }
    var identity: [UInt64] { tree.identity(of: node) }
    func status() throws(ImageError) -> GuestStatus { try tree.status(of: node) }
    func content() throws(ImageError) -> any GuestFileContent { try tree.open(node) }
    func target() throws(ImageError) -> [UInt8] { try tree.target(of: node) }
    func attributes() throws(ImageError) -> [GuestAttribute] { try tree.extendedAttributes(of: node) }

    func forEachChild(onError: (ImageError) -> Void, _ body: (any CopySource) throws -> Void) throws {
        let listing = try tree.listing(of: node)
        for index in 0..<listing.count {
            let child: GuestTree.Node
            do throws(ImageError) {
                child = try tree.child(index, in: listing, of: node)
            } catch {
                onError(error)
                continue
            }
            try body(GuestSource(tree: tree, node: child, isOfTarget: isOfTarget))
        }
    }
}
