import BlockImage
import Catalog
import Fuse

/// An open directory. Every method may be called from any thread.
protocol Listing: OpenFile {
    /// Answers entries, "." and ".." among them, for a reader who is at `position`: 0 is the start.
    func answer(_ reply: consuming DirectoryReply, from position: UInt64, in mount: ImageFileSystem)
}

extension Listing {
    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply) {
        reply.failure(.isDirectory)
    }
}

/// An open directory, with what was in it when its reader began: so a listing that takes several calls is one listing,
/// and a reader that goes back to the start (rewinddir) sees what is there by then, as POSIX has it. Every method may
/// be called from any thread.
final class DirectoryListing: Listing {
    private let directory: any Node
    private let entries = Guarded<[NamedNode]?>(nil)
    var gate: RequestGate? { directory.gate }

    /// A listing of `directory`.
    init(of directory: any Node) {
        self.directory = directory
    }

    func answer(_ reply: consuming DirectoryReply, from position: UInt64, in mount: ImageFileSystem) {
        let entries = entries(at: position, in: mount)
        for index in entries.indices.dropFirst(Int(clamping: position)) {
            let (name, node) = entries[index]
            let (inode, next) = (mount.inodes.number(of: node), UInt64(index) + 1)
            guard reply.add(name: name, inode: inode, kind: node.kind, nextPosition: next) else { break }
        }
        reply.finish()
    }

    /// All entries for a reader who is at `position`; listed anew at the start.
    private func entries(at position: UInt64, in mount: ImageFileSystem) -> [NamedNode] {
        entries.withLock { entries in
            if position > 0, let entries { return entries }
            // The kernel knows by itself what lies above a directory, and takes the number of ".." for decoration.
            let dots: [NamedNode] = [(Array(".".utf8), directory), (Array("..".utf8), mount.root)]
            let new = dots + directory.children(in: mount)
            entries = new
            return new
        }
    }
}
