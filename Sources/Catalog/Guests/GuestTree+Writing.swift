import BlockImage
import Glibc
import GuestFiles

/// What is changed in the files of a guest. Throws `system` with EROFS where they are only read.
extension GuestTree {
    /// Makes a file of `kind`, but a link, called `name` in `folder`.
    package func make(
        _ kind: GuestFileKind, called name: [UInt8], permissions: UInt16, in folder: Node
    ) throws(ImageError) -> Node {
        try said(name, in: folder) { fileSystem throws(ImageError) in
            try fileSystem.make(kind, called: name, permissions: permissions, in: folder.place.file)
        }
    }

    /// Makes a symbolic link to `target`, called `name` in `folder`.
    package func makeLink(to target: [UInt8], called name: [UInt8], in folder: Node) throws(ImageError) -> Node {
        try said(name, in: folder) { fileSystem throws(ImageError) in
            try fileSystem.makeLink(to: target, called: name, in: folder.place.file)
        }
    }

    /// Makes `file`, called `name`, in `folder`, with all that it is to have. Throws `system` with EEXIST where there is one.
    package func make(_ file: NewGuestFile, called name: [UInt8], in folder: Node) throws(ImageError) -> Node {
        try said(name, in: folder) { fileSystem throws(ImageError) in
            try fileSystem.make(file, called: name, in: folder.place.file)
        }
    }

    /// Gives `file` the name `name` in `folder`, too. Throws `system` with EXDEV where that is in another file system.
    package func addName(_ name: [UInt8], to file: Node, in folder: Node) throws(ImageError) {
        guard file.place.volume == folder.place.volume else { throw fault(EXDEV, folder.text.nameBytes) }
        try writable(folder).addName(name, to: file.place.file, in: folder.place.file)
    }

    /// Writes `bytes` at `offset` of the regular file `node`.
    package func write(_ bytes: RawSpan, at offset: UInt64, to node: Node) throws(ImageError) {
        try writable(node).write(bytes, at: offset, to: node.place.file)
    }

    /// Has the regular file `node` end at `size`.
    package func setSize(_ size: UInt64, of node: Node) throws(ImageError) {
        try writable(node).setSize(size, of: node.place.file)
    }

    /// The twelve bits of `GuestStatus.permissions`.
    package func setPermissions(_ permissions: UInt16, of node: Node) throws(ImageError) {
        try writable(node).setPermissions(permissions, of: node.place.file)
    }

    /// Has `node` belong to these.
    package func setOwner(user: UInt32, group: UInt32, of node: Node) throws(ImageError) {
        try writable(node).setOwner(user: user, group: group, of: node.place.file)
    }

    /// Sets its times; nil leaves one as it is.
    package func setTimes(accessed: FileTime?, modified: FileTime?, of node: Node) throws(ImageError) {
        try writable(node).setTimes(accessed: accessed, modified: modified, of: node.place.file)
    }

    /// Sets an extended attribute.
    package func setAttribute(_ attribute: GuestAttribute, of node: Node) throws(ImageError) {
        try writable(node).setAttribute(attribute, of: node.place.file)
    }

    /// Removes what is called `name` in `folder`: a directory must be empty, and nothing mounted on it.
    package func remove(_ name: [UInt8], in folder: Node) throws(ImageError) {
        guard !isMountPoint(folder.path + [name]) else { throw fault(EBUSY, folder.text.nameBytes) }
        try writable(folder).remove(name, in: folder.place.file)
    }

    private func said(
        _ name: [UInt8], in folder: Node,
        _ work: (any WritableGuestFileSystem) throws(ImageError) -> GuestFileID
    ) throws(ImageError) -> Node {
        node(try work(try writable(folder)), called: name, in: folder)
    }

    private func writable(_ node: Node) throws(ImageError) -> any WritableGuestFileSystem {
        guard let fileSystem = try fileSystem(of: node) as? any WritableGuestFileSystem else {
            throw fault(EROFS, node.text.nameBytes)
        }
        return fileSystem
    }
}
