import BlockImage

/// A format of files that hold disk images, as the archive of an appliance does: what its files are called, and what opens
/// one. All that the program knows of such a format is reached through its driver. Any thread may call any method.
public protocol ContainerDriver: Sendable {
    /// The name: "ova".
    var name: String { get }
    /// What such a file is called in messages, without an article: "appliance".
    var noun: String { get }
    /// The extensions of the names of its files, in lower case and without the dot, the usual one first.
    var extensions: [String] { get }

    /// What is in `file`. Reads what lists its contents, and no image. `isImage` says whether a file with that name is a disk
    /// image, for those that nothing else calls one.
    ///
    /// Throws when the file is no such container at all; what else is wrong with it, it says itself.
    func open(_ file: any HostFile, isImage: @Sendable ([UInt8]) -> Bool) throws(ImageError) -> any DiskContainer
}

/// A file that holds disk images, which are read in place. Immutable; any thread may call any method.
public protocol DiskContainer: AnyObject, Sendable {
    /// The file.
    var file: any HostFile { get }
    /// Why the list of its contents ends before the file does; nil where it does not.
    var fault: ImageError? { get }
    /// Why what it says of its disks cannot be read; nil where it can, or says nothing.
    var descriptionFault: ImageError? { get }
    /// The files that it names and does not hold, but for those of disks: that each is missing, or lies elsewhere.
    var absentFiles: [ImageError] { get }
    /// What is odd about it, in sentences.
    var notes: [ErrorText] { get }
    /// The disk images, each under a name of its own.
    var disks: [ContainedDisk] { get }
    /// What opens the files that an image in it names.
    var policy: any OpenPolicy { get }
    /// What it says of itself, an object under the name of its format in a report.
    var info: any Encodable & Sendable { get }
}

extension DiskContainer {
    /// It says nothing.
    public var descriptionFault: ImageError? { nil }
    /// It names none.
    public var absentFiles: [ImageError] { [] }
}

/// A disk image in a container.
public struct ContainedDisk: Sendable {
    /// A name for it that no other disk of the container has: 1 to 255 bytes, no slash and no NUL, and none of ".", ".."
    /// and "stats.json".
    public var name: [UInt8]
    /// The image, read in place; or why it cannot be.
    public var file: Result<any HostFile, ImageError>
    /// The name of its format, as the container has it; nil: only its name and its content say it.
    public var format: String?

    /// The image in `file`.
    public init(name: [UInt8], file: Result<any HostFile, ImageError>, format: String? = nil) {
        self.name = name
        self.file = file
        self.format = format
    }
}

/// A container that has digests of its files, which a check compares.
public protocol DigestedContainer: DiskContainer {
    /// The digests, and the index of the file that each is of; nil where the container has no such file.
    var digests: [(digest: FileDigest, index: Int?)] { get }
    /// What of the digests cannot be read, and so not be compared.
    var digestErrors: [ImageError] { get }

    /// The file `index` of those that `digests` and `files(of:)` have.
    func containedFile(_ index: Int) -> ContainedFile
    /// The indices of the files that `disk` is made of; none where they are missing.
    func files(of disk: ContainedDisk) -> Set<Int>
}

/// A file in a container.
public struct ContainedFile: Sendable {
    /// Its name, as the container has it.
    public var name: [UInt8]
    /// Where its bytes begin in the container; of a sparse one, where what is stored of it does.
    public var offset: HostOffset
    /// How many bytes it has, its holes too.
    public var size: UInt64
    /// Whether it is stored without its holes.
    public var isSparse: Bool
    /// The file, read in place, or why it cannot be; nil where it is none, as a folder.
    public var file: Result<any HostFile, ImageError>?

    /// The file called `name`.
    public init(
        name: [UInt8], offset: HostOffset, size: UInt64, isSparse: Bool, file: Result<any HostFile, ImageError>?
    ) {
        self.name = name
        self.offset = offset
        self.size = size
        self.isSparse = isSparse
        self.file = file
    }
}

/// The digest of one file.
public struct FileDigest: Hashable, Sendable {
    /// The algorithm in capitals: "SHA1", "SHA256"…
    public var algorithm: String
    /// The name of the file, as it is written.
    public var name: [UInt8]
    /// The digest: as many bytes as the algorithm gives.
    public var digest: [UInt8]

    /// The digest of the file `name`.
    public init(algorithm: String, name: [UInt8], digest: [UInt8]) {
        self.algorithm = algorithm
        self.name = name
        self.digest = digest
    }

    /// The digest in hexadecimal digits, small letters.
    public var text: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
