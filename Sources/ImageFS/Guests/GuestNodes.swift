import BlockImage
import Catalog
import Fuse
import Glibc
import GuestFiles
import HostStorage

/// A file or directory of a guest.
protocol GuestNode: Node {
    /// The files that it is one of.
    var view: GuestView { get }
    /// Which of them it is.
    var file: GuestTree.Node { get }
}

extension GuestNode {
    var gate: RequestGate? { view.image.gate }
    /// They are the guest's own.
    var attributePrefix: [UInt8] { [] }

    func extendedAttributes(in mount: ImageFileSystem) throws(ErrorNumber) -> [(name: [UInt8], value: [UInt8])] {
        let found = try view.read(in: mount) { tree throws(ImageError) in try tree.extendedAttributes(of: file) }
        return found.map { ($0.name, $0.value) }.filter { mount.guests.shows(attribute: $0.0) }
    }

    /// How much its file system holds.
    func statistics(in mount: ImageFileSystem) throws(ErrorNumber) -> Statistics {
        let usage = try view.read(in: mount) { tree throws(ImageError) in try tree.usage(of: file) }
        var statistics = Statistics(blockSize: usage.blockSize, blocks: usage.blocks, files: usage.files ?? 0)
        (statistics.freeBlocks, statistics.availableBlocks) = (usage.freeBlocks, usage.availableBlocks)
        statistics.freeFiles = usage.freeFiles ?? 0
        return statistics
    }

    /// What `stat` shows of it, which the guest has so; a link is `size` bytes long, where that is not nil.
    fileprivate func guestStatus(
        size: Int?, in mount: ImageFileSystem
    ) throws(ErrorNumber) -> NodeStatus {
        let status = try view.read(in: mount) { tree throws(ImageError) in try tree.status(of: file) }
        var stored = StoredStatus(
            permissions: status.permissions, userID: status.userID, groupID: status.groupID,
            linkCount: status.linkCount, accessed: status.accessed ?? status.modified,
            changed: status.changed ?? status.modified)
        if case .characterDevice(let major, let minor) = status.kind {
            stored.device = DeviceNumber(major: major, minor: minor)
        }
        if case .blockDevice(let major, let minor) = status.kind {
            stored.device = DeviceNumber(major: major, minor: minor)
        }
        if mount.guests.hidesRights {
            stored.permissions &= 0o1777
            stored.device = DeviceNumber()
        }
        return NodeStatus(
            time: status.modified, size: size.map(UInt64.init) ?? status.size, allocatedSize: status.allocatedSize,
            stored: stored)
    }
}

extension GuestSettings {
    private static let capability = Array("security.capability".utf8)
    private static let trusted = Array("trusted.".utf8)

    /// Whether the extended attribute `name` is shown. As the kernel has it, those that are only for administrators have no names
    /// for others.
    func shows(attribute name: [UInt8]) -> Bool {
        if name.starts(with: Self.trusted) { return showsTrusted }
        return !hidesRights || name != Self.capability
    }
}

extension Attributes {
    /// What a file has of its own.
    mutating func take(_ stored: StoredStatus) {
        (permissions, userID, groupID) = (stored.permissions, stored.userID, stored.groupID)
        (linkCount, device) = (stored.linkCount, stored.device)
        accessed = Timestamp(seconds: stored.accessed.seconds, nanoseconds: stored.accessed.nanoseconds)
        changed = Timestamp(seconds: stored.changed.seconds, nanoseconds: stored.changed.nanoseconds)
    }
}

/// A directory of a guest. What has two names, as only damaged file systems have it, is two directories: the kernel moves one that
/// it meets under another name, and the way up from it, which links may go, would lead to another place.
final class GuestDirectory: GuestNode {
    /// The most directories above one another: more than a path can name.
    private static let depthLimit = 4096

    let view: GuestView
    let file: GuestTree.Node
    private let parent: GuestDirectory?
    var kind: FileKind { .directory }
    /// What the kernel lets through: 255 characters of exFAT are up to 765 bytes.
    var nameLimit: Int { 1024 }

    /// `file` of `view`, which lies in `parent`; nil: it is the topmost.
    init(_ file: GuestTree.Node, in parent: GuestDirectory?, of view: GuestView) {
        (self.file, self.parent, self.view) = (file, parent, view)
    }

    static func == (one: GuestDirectory, other: GuestDirectory) -> Bool {
        one === other || one.view == other.view && one.file == other.file
    }

    func hash(into hasher: inout Hasher) {
        hasher.combine(view)
        hasher.combine(file)
    }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus { try guestStatus(size: nil, in: mount) }

    func child(_ name: [UInt8], in mount: ImageFileSystem) throws(ErrorNumber) -> (any Node)? {
        try view.read(in: mount) { tree throws(ImageError) -> (any Node)? in
            guard let found = try tree.find(name, in: file) else { return nil }
            let kind = try tree.status(of: found).kind
            switch kind {
            case .directory:
                try checkDepth(of: found)
                return GuestDirectory(found, in: self, of: view)
            case .link:
                return GuestFile(found, of: view, kind, target: try tree.confinedTarget(of: found, in: file))
            default: return GuestFile(found, of: view, kind)
            }
        }
    }

    /// Throws `system` with ELOOP where `child` is one of the directories that this one lies in, or lies too deep.
    private func checkDepth(of child: GuestTree.Node) throws(ImageError) {
        var depth = 0
        var above: GuestDirectory? = self
        while let directory = above, depth < Self.depthLimit {
            guard !directory.file.isSameFile(as: child) else { break }
            depth += 1
            above = directory.parent
        }
        guard above == nil else {
            throw ImageError(
                .system(errno: ELOOP), path: view.image.location.text,
                "the directory \(quoting: child.text) is one that it lies in, or lies in more than \(Self.depthLimit)")
        }
    }

    func listing(in mount: ImageFileSystem) throws(ErrorNumber) -> any Listing {
        // The kernel looks the name up again where the image has changed.
        try view.read(in: mount) { _ in GuestDirectoryListing(of: self) }
    }

    /// The number of the entry `entry` in a listing, and what it is, where that is said there.
    func number(
        of entry: GuestEntry, _ tree: GuestTree, in mount: ImageFileSystem
    ) -> (inode: Inode, kind: FileKind?) {
        // What is mounted there and cannot be read has a name all the same.
        guard let child = try? tree.child(entry, of: file) else {
            return (mount.inodes.usualNumber(of: self), nil)
        }
        guard entry.isDirectory ?? ((try? tree.status(of: child).kind) == .directory) else {
            return (mount.inodes.usualNumber(of: GuestFile(child, of: view, .regular)), nil)
        }
        return (mount.inodes.usualNumber(of: GuestDirectory(child, in: self, of: view)), .directory)
    }

    /// The number of the directory above it in a listing.
    func numberAbove(in mount: ImageFileSystem) -> Inode {
        parent.map { mount.inodes.usualNumber(of: $0) } ?? mount.inodes.number(of: mount.root)
    }
}

/// A file of a guest that is no directory. All its names are one file; but a link that leads to another place from another
/// directory is another one there.
struct GuestFile: GuestNode {
    let view: GuestView
    let file: GuestTree.Node
    let kind: FileKind
    /// Where it leads, if it is a link.
    private let target: [UInt8]?

    init(_ file: GuestTree.Node, of view: GuestView, _ kind: GuestFileKind, target: [UInt8]? = nil) {
        (self.file, self.view, self.target) = (file.unnamed, view, target)
        self.kind =
            switch kind {
            case .regular: .regularFile
            case .directory: .directory
            case .link: .symbolicLink
            case .fifo: .fifo
            case .socket: .socket
            case .characterDevice: .characterDevice
            case .blockDevice: .blockDevice
            }
    }

    static func == (one: GuestFile, other: GuestFile) -> Bool {
        one.file == other.file && one.view == other.view && one.target == other.target
    }

    // Not the target: a listing does not know it.
    func hash(into hasher: inout Hasher) {
        hasher.combine(view)
        hasher.combine(file)
    }

    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus {
        try guestStatus(size: target?.count, in: mount)
    }

    func target(in mount: ImageFileSystem) throws(ErrorNumber) -> [UInt8] {
        guard let target else { throw .invalidArgument }
        // One that is longer for being relative.
        guard target.count <= 4095 else { throw .nameTooLong }
        // Not of an image that has changed since.
        return try view.read(in: mount) { _ in target }
    }

    func open(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        // The kernel opens pipes and devices itself.
        guard kind == .regularFile else { throw .invalidArgument }
        // One inode has one content: another has another number.
        return (try view.open(file, in: mount), OpenOptions(keepCache: true))
    }
}
