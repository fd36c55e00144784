import BlockImage
import ByteFormat
import FormatCore

/// VirtualBox's disk image: dynamic, static and differencing.
public struct VDIDriver: InspectableFormat, CreatableFormat, IdentifiedFormat {
    /// "vdi"
    public let name = "vdi"
    /// What it is called in messages.
    public let imageName: String? = "a VDI image"
    /// `.vdi`
    public let extensions = ["vdi"]

    /// The driver.
    public init() {}

    /// Whether it has the signature, behind a text that differs.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool {
        bytes.dropFirst(Header.signatureOffset).starts(with: [0x7f, 0x10, 0xda, 0xbe])
    }

    /// Reads the header.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        VDIImage(try Header.load(from: file), file: file)
    }

    /// Every structure, by `VDILayout`.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try VDILayout(file)
    }

    /// What `-o` takes.
    public var options: [(name: String, help: String, values: [String])] {
        NewVDI.options.map { ($0.name, $0.help, $0.values) }
    }
    /// It is never compressed.
    public var isCompressedByLevel: Bool { false }

    /// A dynamic disk, or as `options` say.
    public func newImage(size: UInt64, _ options: ImageOptionList) throws(OptionFault) -> any NewFormatImage {
        var new = NewVDI(size: size)
        try ImageOption.apply(options, NewVDI.options, to: &new, format: name)
        return new
    }
}

extension Header {
    /// The header of `file`. Throws what of it is wrong, or not supported.
    static func load(from file: any HostFile) throws(ImageError) -> Header {
        let bytes = try file.bytes(size, at: HostOffset(0), of: "header")
        let header: Header
        do throws(ParseFault) { header = try Header(parsing: bytes) } catch { throw error.error(.corrupt, in: file) }
        if let fault = header.unsupportedFeature { throw fault.error(.unsupported, in: file) }
        do throws(ParseFault) { try header.check(fileSize: file.size) } catch { throw error.error(.corrupt, in: file) }
        return header
    }
}

extension ParseFault {
    /// What it means for the image in `file`, whose header it is about.
    fileprivate func error(_ code: ImageError.Code, in file: any HostFile) -> ImageError {
        ImageError(code, path: file.path, offset: HostOffset(UInt64(clamping: position)), "\(message)")
    }
}
