import BlockImage
import Catalog
import Glibc
import GuestFiles

/// The copying of files into a guest. What is there under the same name is overwritten, but a directory; links in the guest are
/// replaced, and none is followed. For use by one thread.
final class GuestImport {
    /// The most bytes that are written at once.
    private static let pieceSize = 1 << 20
    /// How deep directories may be in each other.
    private static let depthLimit = 512

    /// How many files were copied, and their bytes.
    private(set) var files = 0
    private(set) var size: UInt64 = 0

    private let tree: GuestTree
    private let keepsAll: Bool
    private let bar: ProgressBar?
    private let onError: (ImageError) -> Void
    private let buffer = AlignedBuffer(capacity: pieceSize)
    /// The directories of guests that were copied: a damaged one may be in itself, or in two others.
    private var seen: Set<[UInt64]> = []
    /// The copies of files with several names.
    private var copies: [[UInt64]: GuestTree.Node] = [:]

    /// Into `tree`; `keepsAll`: with owners, times, extended attributes, hard links and devices. `onError` gets what of the source
    /// cannot be read; what cannot be written is thrown as `WriteFault`.
    init(into tree: GuestTree, keepsAll: Bool, bar: ProgressBar?, onError: @escaping (ImageError) -> Void) {
        (self.tree, self.keepsAll, self.bar, self.onError) = (tree, keepsAll, bar, onError)
    }

    /// Why the guest cannot be written to: nothing more is.
    struct WriteFault: Error {
        let error: ImageError
    }

    /// Copies `source`, and all below it, to what is called `name` in `folder`. Throws where nothing of it can be read.
    func copy(_ source: any CopySource, to name: [UInt8], in folder: GuestTree.Node, depth: Int = 0) throws {
        let status = try source.status()
        if status.kind == .directory {
            guard depth < Self.depthLimit else {
                throw ImageError(.corrupt, path: source.text, "directories are in each other without an end")
            }
            if depth == 0 {
                try checkPlace(source, in: folder)
                if let there = try tree.find(name, in: folder) { try checkIsOther(source, there) }
            }
            if source is GuestSource, !seen.insert(source.identity).inserted {
                throw ImageError(.corrupt, path: source.text, "is a directory that has another name, too")
            }
            let (node, isNew) = try directory(called: name, in: folder)
            files += 1
            try copyContents(of: source, into: node, depth: depth + 1)
            // One that was there keeps its mode.
            return isNew || keepsAll ? try finish(node, source, status) : ()
        }
        guard status.kind != .socket else {
            return Failure.warn("\(source.text): is a socket, which is not copied")
        }
        if keepsAll, status.linkCount > 1, tree.keepsOwners(folder), let copy = copies[source.identity] {
            try writing {
                try clear(name, in: folder)
                try tree.addName(name, to: copy, in: folder)
            }
            files += 1
            return
        }
        if let node = try copyAtOnce(source, status, to: name, in: folder) {
            files += 1
            if status.linkCount > 1 { copies[source.identity] = node }
            return
        }
        guard let node = try copyFile(source, status, to: name, in: folder) else { return }
        files += 1
        if status.linkCount > 1 { copies[source.identity] = node }
        try finish(node, source, status)
    }

    /// Copies all that is in the directory `source` into `folder`.
    func copyAll(in source: any CopySource, into folder: GuestTree.Node) throws {
        try checkPlace(source, in: folder)
        try copyContents(of: source, into: folder)
    }

    /// Throws where the directory `source` is `folder`, or is around it.
    private func checkPlace(_ source: any CopySource, in folder: GuestTree.Node) throws {
        guard source.isOfTarget else { return }
        for length in 0...folder.path.count {
            let path = folder.path.prefix(length).flatMap { [UInt8(ascii: "/")] + $0 } + [UInt8(ascii: "/")]
            try checkIsOther(source, tree.node(path))
        }
    }

    private func checkIsOther(_ source: any CopySource, _ node: GuestTree.Node) throws(ImageError) {
        guard source.isOfTarget, tree.identity(of: node) == source.identity else { return }
        throw ImageError(.system(errno: EINVAL), path: source.text, "is a directory that is not copied into itself")
    }

    /// Copies what is in the directory `source` into `folder`.
    private func copyContents(of source: any CopySource, into folder: GuestTree.Node, depth: Int = 0) throws {
        try source.forEachChild(onError: onError) { child in
            do { try copy(child, to: child.name, in: folder, depth: depth) } catch let error as ImageError {
                onError(error)
            }
        }
    }

    /// Copies a small file or a link that is not there yet, in one step. Nil where it is another, or there.
    private func copyAtOnce(
        _ source: any CopySource, _ status: GuestStatus, to name: [UInt8], in folder: GuestTree.Node
    ) throws -> GuestTree.Node? {
        var file = NewGuestFile(kind: status.kind)
        switch status.kind {
        case .regular:
            let content = try source.content()
            // One with holes keeps them.
            guard content.size <= UInt64(NewGuestFile.contentLimit), status.allocatedSize >= status.size else {
                return nil
            }
            file.content = try content.bytes()
        case .link where tree.keepsOwners(folder): file.target = try source.target()
        default: return nil
        }
        if tree.keepsOwners(folder), status.kind != .link {
            file.permissions = status.permissions & (keepsAll ? 0o7777 : 0o777)
        }
        if keepsAll {
            (file.accessed, file.modified) = (status.accessed ?? status.modified, status.modified)
            if tree.keepsOwners(folder) {
                file.owner = (status.userID, status.groupID)
                file.attributes = try source.attributes()
                guard file.attributes.reduce(0, { $0 + $1.value.count }) <= NewGuestFile.contentLimit,
                    file.attributes.count <= 200
                else { return nil }
            }
        }
        do throws(ImageError) {
            let node = try tree.make(file, called: name, in: folder)
            size += UInt64(file.content.count)
            bar?.update(size)
            return node
        } catch {
            if error.code == .system(errno: EEXIST) { return nil }
            guard error.code == .system(errno: ENOTSUP), try tree.find(name, in: folder) != nil else {
                throw WriteFault(error: error)
            }
            // An attribute that the file system has not: one by one.
            try tree.remove(name, in: folder)
            return nil
        }
    }

    /// Copies what is no directory. Nil for what is left out.
    private func copyFile(
        _ source: any CopySource, _ status: GuestStatus, to name: [UInt8], in folder: GuestTree.Node
    ) throws -> GuestTree.Node? {
        let isPlain = status.kind == .regular
        guard isPlain || tree.keepsOwners(folder) else {
            throw ImageError(.unsupported, path: source.text, "is no regular file, and FAT has no others")
        }
        switch status.kind {
        case .regular:
            if source.isOfTarget, let there = try tree.find(name, in: folder),
                tree.identity(of: there) == source.identity
            {
                throw ImageError(
                    .system(errno: EINVAL), path: source.text, "is the same file as the one that is to be written")
            }
            // What cannot be read leaves no file.
            let content = try source.content()
            let node = try writing { try file(called: name, in: folder) }
            do { try write(content, to: node, source) } catch let error as ImageError {
                try writing { try tree.remove(name, in: folder) }
                throw error
            }
            return node
        case .link:
            let target = try source.target()
            return try writing {
                try clear(name, in: folder)
                return try tree.makeLink(to: target, called: name, in: folder)
            }
        default:
            guard keepsAll else {
                Failure.warn("\(source.text): is a device or FIFO, and left out without -a")
                return nil
            }
            return try writing {
                try clear(name, in: folder)
                return try tree.make(status.kind, called: name, permissions: 0o600, in: folder)
            }
        }
    }

    private func write(_ content: any GuestFileContent, to node: GuestTree.Node, _ source: any CopySource) throws {
        let buffer = buffer
        var position: UInt64 = 0
        while position < content.size {
            let run = try content.run(at: position, limit: content.size - position)
            var rest = run.isData ? run.count : 0
            while rest > 0 {
                let count = Int(min(rest, UInt64(Self.pieceSize)))
                let start = position + run.count - rest
                try buffer.fill(count) { output throws(ImageError) in
                    try content.read(count, at: start, into: &output)
                }
                try writing { try tree.write(buffer.bytes, at: start, to: node) }
                rest -= UInt64(count)
                size += UInt64(count)
                bar?.update(size)
            }
            position += run.count
        }
        try writing { try tree.setSize(content.size, of: node) }
    }

    // MARK: What is there

    /// The directory called `name` in `folder`, made where there is none.
    private func directory(
        called name: [UInt8], in folder: GuestTree.Node
    ) throws -> (node: GuestTree.Node, isNew: Bool) {
        try writing {
            if let node = try tree.find(name, in: folder) {
                if try tree.status(of: node).kind == .directory { return (node, false) }
                throw ImageError(.system(errno: EEXIST), path: node.text, "is there, and is no directory")
            }
            return (try tree.make(.directory, called: name, permissions: 0o700, in: folder), true)
        }
    }

    /// An empty file called `name` in `folder`: one that is there keeps its owner.
    private func file(called name: [UInt8], in folder: GuestTree.Node) throws -> GuestTree.Node {
        if let node = try tree.find(name, in: folder), try tree.status(of: node).kind == .regular {
            try tree.setSize(0, of: node)
            return node
        }
        try clear(name, in: folder)
        return try tree.make(.regular, called: name, permissions: 0o600, in: folder)
    }

    /// Removes what is called `name` in `folder`, where that is no directory.
    private func clear(_ name: [UInt8], in folder: GuestTree.Node) throws {
        guard let node = try tree.find(name, in: folder) else { return }
        guard try tree.status(of: node).kind != .directory else {
            throw ImageError(.system(errno: EISDIR), path: node.text, "is there, and is a directory")
        }
        try tree.remove(name, in: folder)
    }

    /// Gives `node` what `source` has.
    private func finish(_ node: GuestTree.Node, _ source: any CopySource, _ status: GuestStatus) throws {
        // FAT has neither owners nor modes.
        guard tree.keepsOwners(node) else {
            return try writing {
                guard keepsAll else { return }
                try tree.setTimes(accessed: status.accessed ?? status.modified, modified: status.modified, of: node)
            }
        }
        guard keepsAll else {
            guard status.kind != .link else { return }
            return try writing { try tree.setPermissions(status.permissions & 0o777, of: node) }
        }
        let attributes = try source.attributes()
        try writing {
            // The owner first: it takes set-user-ID away, and the file capabilities in an attribute.
            try tree.setOwner(user: status.userID, group: status.groupID, of: node)
            if status.kind != .link { try tree.setPermissions(status.permissions, of: node) }
            for attribute in attributes { try set(attribute, of: node) }
            try tree.setTimes(accessed: status.accessed ?? status.modified, modified: status.modified, of: node)
        }
    }

    /// Sets an attribute, unless the file system has none of that kind, which is said.
    private func set(_ attribute: GuestAttribute, of node: GuestTree.Node) throws {
        do throws(ImageError) { try tree.setAttribute(attribute, of: node) } catch {
            guard error.code == .system(errno: ENOTSUP) else { throw error }
            Failure.warn(
                "\(node.text): its file system has no attribute \(nameText(attribute.name)), which is left out")
        }
    }

    private func writing<Result>(_ work: () throws -> Result) throws -> Result {
        do { return try work() } catch let error as ImageError { throw WriteFault(error: error) }
    }
}
