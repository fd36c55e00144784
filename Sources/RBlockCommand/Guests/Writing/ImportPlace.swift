import BlockImage
import Catalog
import Glibc
import GuestFiles

/// Where files are copied to in a guest: a directory that is there, or a file or directory in one, which is made or overwritten.
struct ImportPlace {
    let tree: GuestTree
    /// The path, as it was named.
    let text: String
    private let folder: GuestTree.Node
    /// What it is to be called in `folder`; nil: as the source is.
    private let name: [UInt8]?

    /// What `place` means. Throws where the directory that it is in is not there, and where it is none and `isForSeveral`.
    init(_ place: GuestPlace, in tree: GuestTree, isForSeveral: Bool) throws {
        (self.tree, text) = (tree, nameText(place.path))
        do throws(ImageError) {
            let node = try tree.node(place.path)
            let isFolder = try tree.status(of: node).kind == .directory
            guard isFolder || !isForSeveral else {
                throw ImageError(.system(errno: ENOTDIR), path: node.text, "is no directory")
            }
            // A link that was named is followed, and what it leads to is overwritten.
            folder = isFolder ? node : try tree.parent(of: node)
            name = isFolder ? nil : node.path.last
        } catch {
            // It must not be there: a link that leads nowhere is no place either.
            guard error.code == .missing, !isForSeveral, place.path.last != UInt8(ascii: "/"),
                (try? tree.node(place.path, followsLast: false)) == nil
            else { throw error }
            let names = place.path.split(separator: UInt8(ascii: "/")).map(Array.init)
            guard let last = names.last, ![Array(".".utf8), Array("..".utf8)].contains(last) else { throw error }
            let parent = names.dropLast().flatMap { [UInt8(ascii: "/")] + $0 } + [UInt8(ascii: "/")]
            folder = try tree.node(parent)
            name = last
        }
    }

    /// Copies `source` there by `work`. A directory without a name of its own, as `.` and the root, is copied by what is in it.
    func add(_ source: any CopySource, by work: GuestImport) throws {
        let own = source.name
        let hasName = !own.isEmpty && own != Array(".".utf8) && own != Array("..".utf8)
        if let name = name ?? (hasName ? own : nil) { return try work.copy(source, to: name, in: folder) }
        try work.copyAll(in: source, into: folder)
    }
}
