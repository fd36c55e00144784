import BlockImage
import FormatCore

/// Disks that are stored byte for byte.
public struct RawDriver: CreatableFormat, InspectableFormat {
    /// "raw"
    public let name = "raw"
    /// No content makes a file a disk.
    public let imageName: String? = nil
    /// `.raw`; what `.img` is, its content decides.
    public let extensions = ["raw"]

    /// The driver.
    public init() {}

    /// Never: see `imageName`.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { false }

    /// Never throws: every file is a disk.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage { RawImage(file: file) }

    /// Says that there are no structures, and what the host keeps of the file.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        RawLayout(file: file)
    }

    /// `preallocation`
    public var options: [(name: String, help: String, values: [String])] {
        NewRaw.options.map { ($0.name, $0.help, $0.values) }
    }
    /// It is never compressed.
    public var isCompressedByLevel: Bool { false }

    /// A disk of zeros.
    public func newImage(size: UInt64, _ options: ImageOptionList) throws(OptionFault) -> any NewFormatImage {
        var new = NewRaw(size: size)
        try ImageOption.apply(options, NewRaw.options, to: &new, format: name)
        return new
    }
}

/// A file that is a disk.
struct RawImage: FormatImage {
    let file: any HostFile
    private(set) var layer: (any ImageLayer)?

    init(file: any HostFile) {
        self.file = file
    }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        layer = RawLayer(file: file)
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = file.size
        info.dirtyFlag = false
    }
}

/// What a new raw disk is to be.
public struct NewRaw: Hashable, NewFormatImage {
    /// Its size in bytes.
    public var size: UInt64
    /// What space its file gets where nothing is written.
    public var preallocation = RawWriter.Preallocation.off

    static let options: [ImageOption<Self>] = [
        ImageOption(
            name: "preallocation", help: "off, falloc (set space aside) or full (write zeros)",
            values: RawWriter.Preallocation.allCases.map(\.rawValue)
        ) {
            (new, value) throws(OptionFault) in new.preallocation = try value.choice()
        }
    ]

    /// A disk of `size` bytes.
    public init(size: UInt64) {
        self.size = size
    }

    /// Its size.
    public var diskSize: UInt64 { size }

    /// That of the disk.
    public var fullyAllocatedSize: UInt64? { size }

    /// Always throws.
    public mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault) {
        throw OptionFault(message: "a raw image cannot be compressed; qcow2 and vmdk can")
    }

    /// Always throws.
    public mutating func setBacking(_ backing: NewBacking) throws(OptionFault) {
        throw OptionFault(message: "a raw image cannot have a backing image; qcow2 and vmdk can")
    }

    /// Begins to write it to the file `name` of `files`.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        try RawWriter(size: size, preallocation: preallocation, in: try files.file(named: name))
    }
}

/// A raw file as `inspect` shows it.
struct RawLayout: FormatLayout {
    /// The most runs of data and holes that are asked for.
    private static let runLimit = 1 << 20

    let file: any HostFile
    let unit: UInt64 = 512

    func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try consumer.structure(LayoutStructure("raw disk", at: HostOffset(0), size: file.size)) {
            () throws(ImageError) in
            try consumer.note("the disk, byte for byte: a raw image has no structures of its own")
            let allocated = min(file.allocatedSize, file.size)
            try consumer.note("allocated on the host: \(allocated) of \(counted(file.size, "byte"))")
        }
    }

    /// What the host keeps is data; holes are free.
    func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        var position: UInt64 = 0
        for _ in 0..<Self.runLimit {
            guard position < file.size else { return }
            let run = file.run(at: HostOffset(position), limit: file.size - position)
            let count = max(1, run.count)
            if !run.isHole {
                recorder.record(.data, at: HostOffset(position), count: count) { _, _ in true }
                recorder.record(
                    StoredRange(.data, at: HostOffset(position), count: count, start: position, covered: count))
            }
            position += min(count, file.size - position)
        }
        recorder.note(
            "the file has more than \(Self.runLimit) holes: what is past \(HostOffset(position)) is not shown")
    }
}
