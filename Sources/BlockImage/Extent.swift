/// A run of the guest's disk that one layer stores in one way.
public struct Extent: Sendable {
    /// Why bytes on the host are not those of the guest.
    public enum Encoding: Hashable, Sendable {
        /// They are those of a compressed cluster or grain, whatever part of it the run is.
        case compressed
        /// They are encrypted in sectors of 512 bytes: all that the run reaches into, from the one that its start lies in.
        case encrypted
        /// They are, and a check sum of theirs is compared when they are read: those of a whole chunk, whatever part of it
        /// the run is.
        case checked
    }

    /// How a run is stored.
    public enum Storage: Sendable {
        /// Byte for byte, from `offset` of `file` on.
        case data(file: any HostFile, offset: HostOffset)
        /// All zeros. `explicit`: this layer says so; otherwise nothing was ever written there and nothing lies below.
        case zero(explicit: Bool)
        /// Compressed or encrypted: the `count` bytes at `offset` of `file`, which only the layer can decode.
        case encoded(Encoding, file: any HostFile, offset: HostOffset, count: UInt64)
        /// Not in this layer: the backing image decides; without one, zeros.
        case unallocated
    }

    /// Room in a file that holds nothing of the disk yet.
    public struct Reserved: Sendable {
        /// The file.
        public var file: any HostFile
        /// The first byte.
        public var offset: HostOffset

        /// The room at `offset` of `file`.
        public init(file: any HostFile, offset: HostOffset) {
            self.file = file
            self.offset = offset
        }
    }

    /// Where the run begins.
    public var start: GuestOffset
    /// How many bytes it has; at least one.
    public var count: UInt64
    /// How it is stored.
    public var storage: Storage
    /// Where room is set aside for a run that the layer does not store there: zeros, or what the backing image has.
    public var reserved: Reserved?

    /// The `count` bytes from `start` on, stored as `storage`.
    @inlinable
    public init(start: GuestOffset, count: UInt64, storage: Storage) {
        self.start = start
        self.count = count
        self.storage = storage
    }
}

/// One file's part of a disk: what a format decodes, without the backing chain under it. Immutable once open; every
/// method may be called from any thread.
public protocol ImageLayer: AnyObject, Sendable {
    /// The size of the disk in bytes.
    var virtualSize: UInt64 { get }

    /// How the layer stores the disk from `start`, which lies inside it, on.
    ///
    /// The extent begins at `start` and has at least one byte and at most `limit` (which is at least one). It reads no
    /// more metadata than `start` needs, but merges neighbours that lie contiguously on the host within the tables it
    /// already holds. Throws when the metadata that `start` needs cannot be read or contradicts the format.
    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent

    /// The same as a run, with the layer that stores and can decode it: this one, unless it is a view of a disk.
    func run(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun

    /// Appends the `extent.count` bytes of an `encoded` extent that this layer answered, or of a part of one, to `output`.
    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError)

    /// Where it may be changed while it is read, what has the bytes of its extents stay where they are: for as long as the
    /// answer is kept, no host space that the disk gives up is used for anything else. Nil for a layer that stays as it is.
    func holdForReading() -> (any AnyObject & Sendable)?

    /// The most layers that one `extent(at:limit:)` asks, this one included: 1, unless it is a view of a whole chain.
    /// Walks over a disk count them.
    var layersAsked: Int { get }

    /// Every file that the layer's bytes come from, each once; the image's own first.
    var files: [any HostFile] { get }

    /// The bytes of the files that it is stored in: they bound what walks over its tables may take.
    var hostSize: UInt64 { get }

    /// The fewest bytes that an entry of its tables is for.
    var granuleSize: UInt64 { get }

    /// The bytes of a sector of the disk, in which its guest counts; nil where the format does not say it.
    var logicalSectorSize: Int? { get }

    /// How many bytes of the layer from `start` on, where `extent(at:limit:)` throws, have no extent for the same reason:
    /// at least one, at most `limit`.
    func lost(at start: GuestOffset, limit: UInt64) -> UInt64
}

extension ImageLayer {
    /// For layers that store what they answer.
    public func run(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun {
        DiskRun(try extent(at: start, limit: limit), of: self)
    }

    /// For layers of no files.
    public var files: [any HostFile] { [] }

    /// Nil: for layers that stay as they are.
    public func holdForReading() -> (any AnyObject & Sendable)? { nil }

    /// One: for layers that ask no other.
    public var layersAsked: Int { 1 }

    /// For layers whose files are not known: walks over them are bounded by nothing else than their limits.
    public var hostSize: UInt64 { .max }

    /// For layers without tables.
    public var granuleSize: UInt64 { 1 << 62 }

    /// For formats that do not say it.
    public var logicalSectorSize: Int? { nil }

    /// For layers that know nothing better: the sector.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 { min(limit, 512 - start.rawValue % 512) }

    /// For layers that never answer `encoded`.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        preconditionFailure("this layer encodes nothing")
    }
}
