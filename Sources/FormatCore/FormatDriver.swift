import BlockImage

/// A format of disk images: how its files are recognised, and what makes a description of one. All that the program knows of
/// a format is reached through its driver. What only some formats have are protocols that the driver (`SplitFormat`,
/// `InspectableFormat`, `CreatableFormat`) or its descriptions (`SnapshotImage`, `BitmapImage`, `CheckableImage`) have as
/// well. Any thread may call any method.
public protocol FormatDriver: Sendable {
    /// The name, as `--format`, headers with the format of a backing file and QEMU's options have it: "qcow2".
    var name: String { get }
    /// Other names that it has, as what people call it where QEMU calls it otherwise.
    var otherNames: [String] { get }
    /// What an image of it is called in messages, with its article; nil where no content makes a file one: raw.
    var imageName: String? { get }
    /// The extensions of the names of its files, in lower case and without the dot, the usual one first.
    var extensions: [String] { get }
    /// Whole names of its files that have no extension of their own.
    var fileNames: [[UInt8]] { get }
    /// Whether an image of it says which format its backing file has.
    var storesBackingFormat: Bool { get }

    /// Whether a file that begins with `bytes`, its first 4096 at most, is an image of it.
    func recognizes(firstBytes bytes: [UInt8]) -> Bool

    /// Whether a file that ends with `bytes`, its last 512 at most, is an image of it: asked where no format knows the first
    /// ones.
    func recognizes(lastBytes bytes: [UInt8]) -> Bool

    /// Describes the image in `file`: reads its metadata, and opens no other file.
    ///
    /// Throws `corrupt`, `truncated` and `unsupported` about what keeps it from being described, and what reading the file
    /// throws.
    func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage

    /// Whether `error`, which `describe` threw about `file`, may come of that it is of another format: then what its content
    /// is gets added to the error.
    func mayBeOtherFormat(_ error: ImageError, _ file: any HostFile) -> Bool
}

extension FormatDriver {
    /// None.
    public var otherNames: [String] { [] }

    /// Most formats begin with what tells them.
    public func recognizes(lastBytes bytes: [UInt8]) -> Bool { false }

    /// None.
    public var fileNames: [[UInt8]] { [] }

    /// Most formats have nowhere to say it.
    public var storesBackingFormat: Bool { false }

    /// Any error may, unless the format knows better.
    public func mayBeOtherFormat(_ error: ImageError, _ file: any HostFile) -> Bool { true }
}

/// A format whose disks may lie in several files, most of which are no images by themselves.
public protocol SplitFormat: FormatDriver {
    /// Whether the file that `image` describes may be a part of another image's disk.
    func mayBePart(_ image: any FormatImage) -> Bool

    /// Why `file` is no image by itself: it is a part of the disk of another, by what `policy` knows beside it. Nil where it
    /// is none.
    func partError(of file: any HostFile, policy: any OpenPolicy) -> ImageError?

    /// Whether the name of `file` is that of a part that is a whole disk byte for byte.
    func isFlatExtent(_ file: any HostFile) -> Bool

    /// `error`, that `file` is no image of the format, with the name of a file beside it that may hold its disk, if there is
    /// one.
    func namingFlatExtent(in error: ImageError, of file: any HostFile, policy: any OpenPolicy) -> ImageError

    /// Those of the `names` in a folder that are parts of the disks of others. `open` opens a file; nil for what cannot be
    /// opened. Only files whose names look like parts, and those that may name them, are looked into.
    func parts(among names: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) -> Set<[UInt8]>

    /// The same by the names alone.
    func parts(named names: [[UInt8]]) -> Set<[UInt8]>
}

extension SplitFormat {
    /// Whether `file` may be a part of another image's disk: it cannot be described, or not without that image.
    public func mayBePart(_ file: any HostFile) -> Bool {
        (try? describe(file)).map { mayBePart($0) } ?? true
    }
}

/// A format whose images have identities, by which those that are made over them name them.
public protocol IdentifiedFormat: FormatDriver {
    /// The identity of the image in `file`; nil where it has none. Throws what `describe` throws.
    func identity(of file: any HostFile) throws(ImageError) -> ImageIdentity?
}

extension IdentifiedFormat {
    /// What the image says of itself when it is described.
    public func identity(of file: any HostFile) throws(ImageError) -> ImageIdentity? { try describe(file).identity }
}

/// A format whose files have structures to show: `inspect`.
public protocol InspectableFormat: FormatDriver {
    /// Looks at the structures of `file`, sound or not. `policy` opens what the file names, to say where that leads; nil: it
    /// is not followed. Throws where the file cannot be read at all.
    func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout
}

/// The structures of one file as they stand in it.
public protocol FormatLayout: Sendable {
    /// The bytes in which the file's space is used: a cluster, a sector.
    var unit: UInt64 { get }

    /// Reports every structure to `consumer`. Throws what the consumer throws.
    func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError)

    /// Tells `recorder` what the parts of the file are used for. Throws what reading the file throws.
    func recordUse(in recorder: any HostUseRecorder) throws(ImageError)
}

/// A format in which images can be made.
public protocol CreatableFormat: FormatDriver {
    /// The options of a new image, as `-o` has them, what they mean, a line each, and those of their values that have names.
    var options: [(name: String, help: String, values: [String])] { get }
    /// Whether a level of compression alone says that a new image is compressed.
    var isCompressedByLevel: Bool { get }

    /// A new image of a disk of `size` bytes, without a backing image, that is as `options` say.
    ///
    /// Throws for options that the format does not have, and values that they cannot have by themselves; whether they go
    /// together is seen when it is made.
    func newImage(size: UInt64, _ options: ImageOptionList) throws(OptionFault) -> any NewFormatImage
}

/// What a new image is to be.
public protocol NewFormatImage: Sendable {
    /// The size of the disk in bytes, as it is made.
    var diskSize: UInt64 { get }

    /// Has what is written to it compressed, by `type` if one is given, as hard as `level` says if one is given. Throws
    /// where the format cannot do that, or the level is none.
    mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault)

    /// Has `backing` be under it. Throws where this format cannot have that one under it.
    mutating func setBacking(_ backing: NewBacking) throws(OptionFault)

    /// Why its options cannot be as they are, each by itself and all together, whatever the disk and the names of files are; nil
    /// where they can.
    var optionFault: OptionFault? { get }

    /// Why no disk can have this size, in this format with these options; nil where one can.
    var sizeFault: OptionFault? { get }

    /// Whether nothing but the sizes of its files matters, so that what they hold need not be looked at. Only formats that
    /// do look at it keep what is set.
    var isMeasured: Bool { get set }

    /// The size in bytes that its files have together when all of the disk is stored, as it is written uncompressed; nil
    /// where that takes writing it to find out.
    var fullyAllocatedSize: UInt64? { get }

    /// Begins to write it to the file `name` of `files`, and to others beside it where the format wants that.
    ///
    /// Throws `unsupported` where its options do not go together, and what making the files throws.
    func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter
}

extension NewFormatImage {
    /// The bytes are not looked at anyway.
    public var isMeasured: Bool {
        get { false }
        set {}
    }

    /// Not known without writing it.
    public var fullyAllocatedSize: UInt64? { nil }

    /// None: what was set can be.
    public var optionFault: OptionFault? { nil }

    /// None: any size is that of a file.
    public var sizeFault: OptionFault? { nil }
}

/// The image under a new one.
public struct NewBacking: Sendable {
    /// Its name, as the new image is to have it.
    public var name: [UInt8]
    /// The name of its format.
    public var format: String
    /// What it says of itself; nil where it was not opened.
    public var image: (any FormatImage)?

    /// The image called `name`, of the format `format`, which `image` describes.
    public init(name: [UInt8], format: String, image: (any FormatImage)? = nil) {
        self.name = name
        self.format = format
        self.image = image
    }
}

/// How the units of a new image are compressed, by the names that QEMU gives it.
public enum CompressionType: String, CaseIterable, Sendable {
    /// RFC 1951.
    case zlib
    /// RFC 8878.
    case zstd
}
