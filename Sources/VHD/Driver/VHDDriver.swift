import BlockImage
import FormatCore

/// The virtual hard disk of Virtual PC, Hyper-V, Azure and XenServer: fixed, dynamic and differencing.
public struct VHDDriver: InspectableFormat, CreatableFormat, IdentifiedFormat {
    /// "vpc", as QEMU calls it.
    public let name = "vpc"
    /// "vhd", as all others do.
    public let otherNames = ["vhd"]
    /// What it is called in messages.
    public let imageName: String? = "a VHD image"
    /// `.vhd`; `.avhd` of what Hyper-V calls snapshots; `.vpc`.
    public let extensions = ["vhd", "avhd", "vpc"]

    /// The driver.
    public init() {}

    /// Whether it begins with the copy of a footer.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { Self.isFooter(bytes.prefix(Footer.size)) }

    /// Whether it ends with a footer, of 512 or 511 bytes.
    public func recognizes(lastBytes bytes: [UInt8]) -> Bool {
        bytes.count == Footer.size && (Self.isFooter(bytes[...]) || Self.isFooter(bytes.dropFirst()))
    }

    /// The version tells it from other bytes that begin with the same word.
    private static func isFooter(_ bytes: ArraySlice<UInt8>) -> Bool {
        bytes.starts(with: Footer.magic) && bytes.dropFirst(12).starts(with: [0, 1])
    }

    /// Reads the footer and the header: see `VHDDescription`.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        VHDImage(try VHDDescription.describe(file), file: file)
    }

    /// Every structure, by `VHDLayout`.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try VHDLayout(file)
    }

    /// What `-o` takes.
    public var options: [(name: String, help: String, values: [String])] {
        NewVHD.options.map { ($0.name, $0.help, $0.values) }
    }
    /// It is never compressed.
    public var isCompressedByLevel: Bool { false }

    /// A dynamic disk of exactly that size, or as `options` say.
    public func newImage(size: UInt64, _ options: ImageOptionList) throws(OptionFault) -> any NewFormatImage {
        var new = NewVHD(size: size)
        try ImageOption.apply(options, NewVHD.options, to: &new, format: name)
        return new
    }
}
