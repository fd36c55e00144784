import BlockImage
import Catalog
import Fuse

/// What has a name in the mounted tree: a directory, a file or a link. What is equal is the same file, with one inode
/// number. Every method may be called from any thread.
///
/// A kind of file is a type: it is added by writing one, and naming it among the children of a directory.
protocol Node: Hashable, Sendable {
    /// Directory, file or link.
    var kind: FileKind { get }
    /// Bounds the threads that may wait for the host's files that it shows; nil where it shows none. It is held while any
    /// of the methods is called, but for `fixedChild`.
    var gate: RequestGate? { get }
    /// Whether what the kernel knows of it is never good for a second look.
    var isVolatile: Bool { get }

    /// What `stat` shows of it. Throws why there is nothing to show.
    func status(in mount: ImageFileSystem) throws(ErrorNumber) -> NodeStatus

    /// What it holds, without "." and ".."; by default nothing.
    func children(in mount: ImageFileSystem) -> [NamedNode]

    /// What it holds under `name`; by default the one of `children`. Throws where that cannot be known.
    func child(_ name: [UInt8], in mount: ImageFileSystem) throws(ErrorNumber) -> (any Node)?

    /// What it holds under `name` whatever the host's files do: nothing is waited for. By default nothing.
    func fixedChild(_ name: [UInt8]) -> (any Node)?

    /// What `child`, which was found as `name` in it, is to be from now on; by default `child`. Only the gate of `child` is
    /// held. Nil where there is none any more.
    func renewed(_ child: any Node, called name: [UInt8]) -> (any Node)?

    /// Opens it for a reader; by default it cannot be.
    func open(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions)

    /// The same for reads past the page cache; by default that makes no difference.
    func openPastCache(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions)

    /// Opens it to be written to as well; by default it cannot be.
    func openForWriting(
        pastCache: Bool, in mount: ImageFileSystem
    ) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions)

    /// Where it leads; by default it is no link.
    func target(in mount: ImageFileSystem) throws(ErrorNumber) -> [UInt8]

    /// What the names of its extended attributes begin with: nothing is looked at for others.
    var attributePrefix: [UInt8] { get }

    /// Its extended attributes, without that; by default none.
    func extendedAttributes(in mount: ImageFileSystem) throws(ErrorNumber) -> [(name: [UInt8], value: [UInt8])]

    /// What a reader of the directory gets; by default what `children` are when it begins. Throws where it cannot be listed.
    func listing(in mount: ImageFileSystem) throws(ErrorNumber) -> any Listing

    /// The most bytes of a name in the directory.
    var nameLimit: Int { get }
}

/// A child of a directory.
typealias NamedNode = (name: [UInt8], node: any Node)

/// What `stat` shows of a node, beside what is the same for all of its kind.
struct NodeStatus {
    /// When it changed last; nil where that is not known.
    var time: FileTime?
    /// Bytes of content.
    var size: UInt64 = 0
    /// Bytes that are stored; nil: all.
    var allocatedSize: UInt64?
    /// How much tools like cp and tar shall read at a time; nil: as they like.
    var readSize: UInt32?
    /// Whether it can be written to.
    var isWritable = false
    /// What a file of a guest has of its own; nil: what all files of the mount have.
    var stored: StoredStatus?
}

/// What a file of a guest has as it is stored.
struct StoredStatus {
    var permissions: UInt16
    var userID: UInt32
    var groupID: UInt32
    var linkCount: UInt32
    var device = DeviceNumber()
    var accessed: FileTime
    var changed: FileTime
}

/// The names that do not depend on the images.
enum NodeName {
    static let disk = Array("disk.raw".utf8)
    static let stats = Array("stats.json".utf8)
    static let map = Array("map.json".utf8)
    static let snapshots = Array("snapshots".utf8)
    static let vmState = Array("vmstate".utf8)
    static let partitions = Array("partitions".utf8)
    static let volumes = Array("volumes".utf8)
    static let layers = Array("layers".utf8)
    static let files = Array("files".utf8)

    static func partition(_ number: Int) -> [UInt8] { Array("p\(number).raw".utf8) }
    static func volume(_ name: String) -> [UInt8] { Array("\(name).raw".utf8) }
    /// The directory with the files of a partition.
    static func filesOfPartition(_ number: Int) -> [UInt8] { Array("p\(number)".utf8) }
    /// Why the directory `name` is not there.
    static func error(_ name: [UInt8]) -> [UInt8] { name + Array(".error".utf8) }
    static func layer(_ depth: Int) -> [UInt8] { Array("\(depth).raw".utf8) }
}

extension Node {
    var isVolatile: Bool { false }

    func children(in mount: ImageFileSystem) -> [NamedNode] { [] }

    func child(_ name: [UInt8], in mount: ImageFileSystem) throws(ErrorNumber) -> (any Node)? {
        children(in: mount).first { $0.name == name }?.node
    }

    func fixedChild(_ name: [UInt8]) -> (any Node)? { nil }

    func renewed(_ child: any Node, called name: [UInt8]) -> (any Node)? { child }

    func open(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        throw kind == .directory ? .isDirectory : .invalidArgument
    }

    func openPastCache(in mount: ImageFileSystem) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) {
        try open(in: mount)
    }

    func openForWriting(
        pastCache: Bool, in mount: ImageFileSystem
    ) throws(ErrorNumber) -> (file: any OpenFile, options: OpenOptions) { throw .readOnlyFileSystem }

    func target(in mount: ImageFileSystem) throws(ErrorNumber) -> [UInt8] { throw .invalidArgument }

    var attributePrefix: [UInt8] { Array("user.rblock.".utf8) }

    func extendedAttributes(in mount: ImageFileSystem) throws(ErrorNumber) -> [(name: [UInt8], value: [UInt8])] { [] }

    func listing(in mount: ImageFileSystem) throws(ErrorNumber) -> any Listing { DirectoryListing(of: self) }

    var nameLimit: Int { Statistics.maximumNameSize }

    /// Whether `other` is the same file.
    func isSame(as other: any Node) -> Bool { other as? Self == self }

    /// The same number for the same file, as long as the mount lives.
    var identityHash: UInt64 {
        var hasher = Hasher()
        hasher.combine(ObjectIdentifier(Self.self))
        hash(into: &hasher)
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }
}
