import BlockImage
import FormatCore

/// Hyper-V's virtual hard disks, version 2: fixed, dynamic and differencing.
public struct VHDXDriver: InspectableFormat, CreatableFormat, IdentifiedFormat {
    /// "vhdx"
    public let name = "vhdx"
    /// What it is called in messages.
    public let imageName: String? = "a VHDX image"
    /// `.vhdx`, and `.avhdx` for checkpoints.
    public let extensions = ["vhdx", "avhdx"]

    /// The driver.
    public init() {}

    /// Whether it begins with the file type identifier.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { bytes.starts(with: VHDXDescription.magic) }

    /// Reads headers, log, regions and metadata: see `VHDXDescription`.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        VHDXImage(try VHDXDescription(of: file))
    }

    /// By the headers alone: many files may be asked for it.
    public func identity(of file: any HostFile) throws(ImageError) -> ImageIdentity? {
        var notes: [ErrorText] = []
        return try VHDXDescription.currentHeader(of: file, &notes).header.dataWriteID
    }

    /// Only a file that begins otherwise may be of another format.
    public func mayBeOtherFormat(_ error: ImageError, _ file: any HostFile) -> Bool { error.offset == HostOffset(0) }

    /// Every structure, by `VHDXLayout`.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        VHDXLayout(file)
    }

    /// What `-o` takes.
    public var options: [(name: String, help: String, values: [String])] {
        NewVHDX.options.map { ($0.name, $0.help, $0.values) }
    }
    /// It is never compressed.
    public var isCompressedByLevel: Bool { false }

    /// A disk as QEMU makes it by default, and as `options` say.
    public func newImage(size: UInt64, _ options: ImageOptionList) throws(OptionFault) -> any NewFormatImage {
        var new = NewVHDX(size: size)
        try ImageOption.apply(options, NewVHDX.options, to: &new, format: name)
        return new
    }
}
