import BlockImage
import Glibc
import GuestFiles

/// The files of a guest as it has them itself: its root file system, with what /etc/fstab mounts in it from the same image; or one
/// file system alone. Links are followed inside of it. Immutable; may be used from any thread.
package struct GuestTree: Sendable {
    /// A file in it.
    package struct Node: Hashable, Sendable {
        let place: GuestRoot.Place
        /// Where it is, by names from the root on; links were followed.
        package let path: [[UInt8]]

        /// The same file whatever its name is: hard links are equal. It may not be a directory, whose path says what is mounted
        /// in it.
        package var unnamed: Node { Node(place: place, path: []) }

        /// Whether `other` is the same file, whatever the names are.
        package func isSameFile(as other: Node) -> Bool { place == other.place }

        /// The same as text.
        package var text: String { "/" + nameText(Array(path.joined(separator: [UInt8(ascii: "/")]))) }
    }

    /// The most links that are followed on one way: as Linux has it.
    private static let linkLimit = 40

    /// What the image is called in errors.
    private let image: String
    private let volumes: [GuestVolume]
    private let top: GuestRoot.Place
    private var mounts: [[[UInt8]]: Result<GuestRoot.Place, ImageError>]
    private var absent: [ErrorText]

    /// The root.
    package var root: Node { Node(place: top, path: []) }

    /// The files that `selector` means, of `volumes`, those of the image `image`.
    ///
    /// Throws `outOfRange` where there is no such file system, or not one that is surely the root of the guest, and why it cannot
    /// be read.
    package init(_ selector: GuestPlace.Selector, of volumes: [GuestVolume], image: String) throws(ImageError) {
        (self.image, self.volumes) = (image, volumes)
        guard case .root = selector else {
            top = try Self.only(volumes.indices.filter { selector.means(volumes[$0]) }, volumes, image)
            (mounts, absent) = ([:], [])
            return
        }
        let root = try GuestRoot(of: volumes, image: image)
        (top, mounts, absent) = (root.place, root.mounts, root.absent)
        // Those in others come after these.
        for directory in mounts.keys.sorted(by: { $0.count < $1.count }) where !isDirectory(directory) {
            mounts[directory] = nil
            let path = "/" + nameText(Array(directory.joined(separator: [UInt8(ascii: "/")])))
            absent.append("\(quoting: path), on which its /etc/fstab mounts something, is no directory of it")
        }
    }

    /// Whether there is a directory at `path`, by no link, under what is mounted there.
    private func isDirectory(_ path: [[UInt8]]) -> Bool {
        let parent = path.dropLast().flatMap { [UInt8(ascii: "/")] + $0 } + [UInt8(ascii: "/")]
        guard let name = path.last, let folder = try? node(parent), folder.path == path.dropLast(),
            let fileSystem = try? fileSystem(of: folder),
            let file = (try? fileSystem.find(name, in: folder.place.file)) ?? nil
        else { return false }
        return (try? fileSystem.status(of: file).kind) == .directory
    }

    private static func only(
        _ found: [Int], _ volumes: [GuestVolume], _ image: String
    ) throws(ImageError) -> GuestRoot.Place {
        guard let first = found.first, found.count == 1 else {
            throw ImageError(
                .outOfRange, path: image,
                "has \(found.isEmpty ? "no such file system" : "several of these"); \(GuestVolume.list(volumes))")
        }
        return GuestRoot.Place(volume: first, file: try volumes[first].readable(in: image).root)
    }

    // MARK: Its files

    /// The file at `path`. A link at its end is followed unless `followsLast` is false.
    ///
    /// Throws `system` with ENOENT, ENOTDIR or ELOOP as open(2) does; `unsupported` for what lies in a file system that is not read
    /// here.
    package func node(_ path: [UInt8], followsLast: Bool = true) throws(ImageError) -> Node {
        let stack = try walk(path, from: [root], followsLast: followsLast)
        return stack[stack.count - 1]
    }

    /// The file at `path`, seen from the last of `stack`, after all directories above it: `stack` are such directories, from the
    /// root on.
    func walk(_ path: [UInt8], from stack: [Node], followsLast: Bool = true) throws(ImageError) -> [Node] {
        var stack = stack
        var rest = names(in: path)
        var links = 0
        while let name = rest.popFirst() {
            guard let here = stack.last else { break }
            if name == Array("..".utf8) {
                if stack.count > 1 { stack.removeLast() }
                continue
            }
            let next = try child(name, of: here, wanted: path)
            let isLast = rest.isEmpty && path.last != UInt8(ascii: "/")
            guard try status(of: next).kind == .link, followsLast || !isLast else {
                stack.append(next)
                continue
            }
            links += 1
            guard links <= Self.linkLimit else { throw fault(ELOOP, path) }
            let target = try target(of: next)
            if target.first == UInt8(ascii: "/") { stack = [root] }
            rest = names(in: target) + rest
        }
        if path.last == UInt8(ascii: "/"), try status(of: stack[stack.count - 1]).kind != .directory {
            throw fault(ENOTDIR, path)
        }
        return stack
    }

    func names(in path: [UInt8]) -> ArraySlice<[UInt8]> {
        path.split(separator: UInt8(ascii: "/")).map(Array.init).filter { $0 != [UInt8(ascii: ".")] }[...]
    }

    private func child(_ name: [UInt8], of node: Node, wanted path: [UInt8]) throws(ImageError) -> Node {
        guard try status(of: node).kind == .directory else { throw fault(ENOTDIR, path) }
        guard let found = try find(name, in: node) else { throw fault(ENOENT, path) }
        return found
    }

    /// Whether something is mounted at `path`.
    func isMountPoint(_ path: [[UInt8]]) -> Bool { mounts[path] != nil }

    /// The file `file`, called `name` in `folder`.
    func node(_ file: GuestFileID, called name: [UInt8], in folder: Node) -> Node {
        Node(place: GuestRoot.Place(volume: folder.place.volume, file: file), path: folder.path + [name])
    }

    /// The file that is called `name` in `directory`, or what is mounted on it; nil where there is none.
    package func find(_ name: [UInt8], in directory: Node) throws(ImageError) -> Node? {
        guard let file = try fileSystem(of: directory).find(name, in: directory.place.file) else { return nil }
        return try child(GuestEntry(name: name, file: file), of: directory)
    }

    /// The file of `entry`, one of `directory`, or what is mounted on it. Throws why that cannot be read.
    package func child(_ entry: GuestEntry, of directory: Node) throws(ImageError) -> Node {
        try mounted(
            Node(
                place: GuestRoot.Place(volume: directory.place.volume, file: entry.file),
                path: directory.path + [entry.name]))
    }

    /// Gives `body` each entry of `directory`, in the order in which they are stored, until it answers false: as
    /// `GuestFileSystem.list` does.
    package func list(
        _ directory: Node, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError) { try fileSystem(of: directory).list(directory.place.file, body) }

    /// How much the file system holds that `node` is in.
    package func usage(of node: Node) throws(ImageError) -> GuestUsage { try fileSystem(of: node).usage() }

    /// What is mounted on `node`, or itself.
    func mounted(_ node: Node) throws(ImageError) -> Node {
        guard let mount = mounts[node.path] else { return node }
        return Node(place: try mount.get(), path: node.path)
    }

    /// The directory that `node`, which is not the root, is in.
    package func parent(of node: Node) throws(ImageError) -> Node {
        try self.node(node.path.dropLast().flatMap { [UInt8(ascii: "/")] + $0 } + [UInt8(ascii: "/")])
    }

    /// The entries of a directory.
    package func listing(of node: Node) throws(ImageError) -> GuestListing {
        try GuestListing(node.place.file, of: fileSystem(of: node))
    }

    /// The file of the entry `index` of `listing`, that of `node`, or what is mounted on it. Throws why that cannot be read.
    package func child(_ index: Int, in listing: GuestListing, of node: Node) throws(ImageError) -> Node {
        let (name, file) = listing[index]
        return try child(GuestEntry(name: name, file: file), of: node)
    }

    /// What is known of it.
    package func status(of node: Node) throws(ImageError) -> GuestStatus {
        try fileSystem(of: node).status(of: node.place.file)
    }

    /// Its content.
    package func open(_ node: Node) throws(ImageError) -> any GuestFileContent {
        try fileSystem(of: node).open(node.place.file)
    }

    /// The path that a link has.
    package func target(of node: Node) throws(ImageError) -> [UInt8] {
        try fileSystem(of: node).target(ofLink: node.place.file)
    }

    /// Its extended attributes.
    package func extendedAttributes(of node: Node) throws(ImageError) -> [GuestAttribute] {
        try fileSystem(of: node).extendedAttributes(of: node.place.file)
    }

    /// Whether the file system that has `node` knows owners, modes, links and other files than regular ones.
    package func keepsOwners(_ node: Node) -> Bool {
        !["vfat", "exfat"].contains(volumes[node.place.volume].type ?? "")
    }

    /// A number that tells its file from all others of the tree: hard links have the same.
    package func identity(of node: Node) -> [UInt64] { [UInt64(node.place.volume), node.place.file.number] }

    /// What people should know of the file systems that were read.
    package var notes: [ErrorText] {
        let used = Set([top.volume] + mounts.values.compactMap { try? $0.get().volume })
        return used.sorted().flatMap { index in
            (((try? volumes[index].fileSystem()) ?? nil)?.notes ?? []).map { note in
                volumes[index].name.isEmpty ? note : "\(volumes[index].name): \(note)"
            }
        } + absent
    }

    func fileSystem(of node: Node) throws(ImageError) -> any GuestFileSystem {
        try volumes[node.place.volume].readable(in: image)
    }

    /// That `path` cannot be opened, as the system call would say it.
    func fault(_ number: CInt, _ path: [UInt8]) -> ImageError {
        ImageError(
            .system(errno: number), path: "\(image):\(nameText(path))", "\(unsafe String(cString: strerror(number)))")
    }
}

extension GuestPlace.Selector {
    /// Whether it is `volume` that is meant, where it is not the root.
    fileprivate func means(_ volume: GuestVolume) -> Bool {
        switch self {
        case .root: false
        case .part(let part): volume.part == part
        case .label(let label): volume.known?.label == label
        case .uuid(let uuid): volume.known?.uuid?.lowercased() == uuid
        }
    }
}
