import BlockImage
import FormatCore

/// The expanding images of Parallels Desktop and Virtuozzo.
public struct ParallelsDriver: InspectableFormat {
    /// "parallels"
    public let name = "parallels"
    /// What it is called in messages.
    public let imageName: String? = "a Parallels image"
    /// `.hds`, and `.hdd` of older versions.
    public let extensions = ["hds", "hdd"]

    /// The driver.
    public init() {}

    /// Whether it begins with one of the magics.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool {
        bytes.starts(with: Header.magic) || bytes.starts(with: Header.extendedMagic)
    }

    /// Reads the header.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage { try ParallelsImage(file) }

    /// The header and the BAT.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try ParallelsLayout(file)
    }
}
