import BlockImage
import Encryption

/// What one image file says of itself and, once it could be made ready to read, its part of the disk. A value: any thread may
/// use its own.
public protocol FormatImage: Sendable {
    /// The image's own part of its disk; nil before `makeReadable`, and where that threw.
    var layer: (any ImageLayer)? { get }
    /// Why it cannot be read as it is, though its structures may be sound; nil where nothing is known to keep it from that.
    var refusal: ImageError? { get }
    /// The same where nothing but the want of a key keeps it from being read.
    var missingKey: ImageError? { get }
    /// The image that it lies over, by its own words; nil for none.
    var backing: BackingName? { get }
    /// What those that are made over it call it, in formats where that is no name of a file; nil for none.
    var identity: ImageIdentity? { get }
    /// What people should know of it, in sentences; grows while it is read.
    var notes: [ErrorText] { get }
    /// Those of `notes` that say that another file was read than the image names, or one of several.
    var nameNotes: [ErrorText] { get }
    /// Those of `notes` that say that it may be another thing than it is taken for.
    var contentNotes: [ErrorText] { get }
    /// What an overlay of this program keeps of the disk that it was made over, as its header has it; nil for none.
    var baseIdentity: [UInt8]? { get }
    /// The header extensions that its specification does not give.
    var unknownHeaderExtensions: [HeaderExtensionInfo] { get }

    /// Makes the described image ready to read: opens the other files that hold its part of the disk.
    ///
    /// Throws the `refusal`, and what keeps those files from being opened or is wrong with them.
    mutating func makeReadable(with services: LayerServices) throws(ImageError)

    /// Adds what the format knows to `info`, which has the file's name, format and size on the host; `listsAll`: with what
    /// there may be many of. Snapshots and the backing file are added by the caller.
    func add(to info: inout ImageInfo, listsAll: Bool)

    /// Whether the image in `file`, which `backing` describes as far as its format can, is the one that this was made over;
    /// nil where it is, or the format has no way to tell.
    func backingFault(_ backing: (any FormatImage)?, in file: any HostFile) -> BackingFault?
}

extension FormatImage {
    /// Nothing is known to keep it from being read.
    public var refusal: ImageError? { nil }
    /// It is not encrypted.
    public var missingKey: ImageError? { nil }
    /// None.
    public var backing: BackingName? { nil }
    /// None.
    public var identity: ImageIdentity? { nil }
    /// None.
    public var notes: [ErrorText] { [] }
    /// None.
    public var nameNotes: [ErrorText] { [] }
    /// None.
    public var contentNotes: [ErrorText] { [] }
    /// None.
    public var baseIdentity: [UInt8]? { nil }
    /// None.
    public var unknownHeaderExtensions: [HeaderExtensionInfo] { [] }
    /// There is no way to tell.
    public func backingFault(_ backing: (any FormatImage)?, in file: any HostFile) -> BackingFault? { nil }
}

/// An image with internal snapshots.
public protocol SnapshotImage: FormatImage {
    /// The snapshots whose entries can be read, in the order of the image.
    var snapshots: [DiskSnapshot] { get }
    /// Why other snapshots are unknown; nil where there are no others.
    var snapshotFault: ImageError? { get }

    /// The disk as the snapshot `index`, one of `snapshots`, keeps it; nil where the image could not be made ready to read.
    /// What it does not store is the business of the same backing image. Throws what is wrong with the snapshot.
    func layer(ofSnapshot index: Int) throws(ImageError) -> (any ImageLayer)?

    /// The machine state that the snapshot `index` keeps, as if it were a disk with nothing under it; nil where it keeps none.
    /// Throws what is wrong with the snapshot.
    func vmState(ofSnapshot index: Int) throws(ImageError) -> (any ImageLayer)?
}

/// An internal snapshot.
public struct DiskSnapshot: Hashable, Sendable {
    /// Tells one content from another: snapshots with the same have the same disk.
    public struct ContentID: Hashable, Sendable {
        private let first: UInt64
        private let second: UInt64

        /// A content with these two marks of the format's.
        public init(_ first: UInt64, _ second: UInt64) {
            self.first = first
            self.second = second
        }
    }

    /// The bytes of its unique name within the image, usually a number.
    public var idBytes: [UInt8]
    /// The bytes of what its maker called it.
    public var nameBytes: [UInt8]
    /// When it was taken: seconds since 1970.
    public var dateSeconds: UInt32
    /// Nanoseconds after that.
    public var dateNanoseconds: UInt32
    /// How long the guest had been running, in nanoseconds.
    public var vmClock: UInt64
    /// The bytes of saved machine state; 0: none.
    public var vmStateSize: UInt64
    /// The size of the disk when it was taken, in bytes; nil where the image does not say.
    public var diskSize: UInt64?
    /// Instructions executed, in record/replay; nil where there are none.
    public var instructionCount: UInt64?
    /// Which content it has.
    public var content: ContentID

    /// Its unique name, with bytes that are not UTF-8 replaced.
    public var id: String { String(decoding: idBytes, as: UTF8.self) }
    /// What its maker called it, with bytes replaced likewise.
    public var name: String { String(decoding: nameBytes, as: UTF8.self) }

    /// The snapshot `nameBytes` with the unique name `idBytes`, whose disk is `content`.
    public init(
        idBytes: [UInt8], nameBytes: [UInt8], dateSeconds: UInt32 = 0, dateNanoseconds: UInt32 = 0, vmClock: UInt64 = 0,
        vmStateSize: UInt64 = 0, diskSize: UInt64? = nil, instructionCount: UInt64? = nil, content: ContentID
    ) {
        self.idBytes = idBytes
        self.nameBytes = nameBytes
        self.dateSeconds = dateSeconds
        self.dateNanoseconds = dateNanoseconds
        self.vmClock = vmClock
        self.vmStateSize = vmStateSize
        self.diskSize = diskSize
        self.instructionCount = instructionCount
        self.content = content
    }
}

/// An image with dirty bitmaps.
public protocol BitmapImage: FormatImage {
    /// The bitmaps, in the order of the image.
    var bitmaps: [DirtyBitmap] { get }
    /// Why the bitmaps are unknown, although the image says that it has some; nil where they are known.
    var bitmapFault: ImageError? { get }

    /// The parts of the disk from `start` on that `bitmap`, one of `bitmaps`, marks as written to. Throws what is wrong with
    /// it.
    func dirtyRanges(of bitmap: DirtyBitmap, from start: GuestOffset) throws(ImageError) -> any DirtyRangeReader

    /// How many bytes of the disk `bitmap`, one of `bitmaps`, marks as written to. Reads all of it; throws what is wrong with
    /// it, and `unsupported` where it has too many ranges to count them.
    func dirtyBytes(of bitmap: DirtyBitmap) throws(ImageError) -> UInt64
}

/// A dirty bitmap.
public struct DirtyBitmap: Hashable, Sendable {
    /// Which of the image's it is.
    public var index: Int
    /// The bytes of its name.
    public var nameBytes: [UInt8]
    /// The bytes of the disk that one bit stands for.
    public var granularity: UInt64
    /// How many bits it has.
    public var bitCount: UInt64
    /// Its flags, by the names that `qemu-img info` gives them.
    public var flagNames: [String]
    /// Whether it is kept up to date by who writes to the image.
    public var isEnabled: Bool
    /// Whether nothing can be learned from it.
    public var isInconsistent: Bool
    /// Where the image's file has its entry.
    public var entryOffset: HostOffset

    /// Its name, with bytes that are not UTF-8 replaced.
    public var name: String { String(decoding: nameBytes, as: UTF8.self) }

    /// The bitmap `index` of an image.
    public init(
        index: Int, nameBytes: [UInt8], granularity: UInt64, bitCount: UInt64, flagNames: [String], isEnabled: Bool,
        isInconsistent: Bool, entryOffset: HostOffset
    ) {
        self.index = index
        self.nameBytes = nameBytes
        self.granularity = granularity
        self.bitCount = bitCount
        self.flagNames = flagNames
        self.isEnabled = isEnabled
        self.isInconsistent = isInconsistent
        self.entryOffset = entryOffset
    }
}

/// An image whose structures can be checked against each other.
public protocol CheckableImage: FormatImage {
    /// Checks the structures of the image's own files; reads no data of the disk, and writes nothing. `progress` gets the
    /// part that is done, 0 to 1. Nil where they cannot be checked since the image could not be made ready to read.
    ///
    /// Throws the image's refusal, `unsupported` where checking would take too much, and what reading the files throws.
    func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult?
}
