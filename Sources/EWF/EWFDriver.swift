import BlockImage
import FormatCore

/// The Expert Witness Compression Format of EnCase, and of FTK Imager, linen and SMART: an examiner's copy of a disk, in
/// segments.
public struct EWFDriver: InspectableFormat, SplitFormat {
    /// "ewf"
    public let name = "ewf"
    /// What it is called in messages.
    public let imageName: String? = "an EWF image (E01)"
    /// `.e01`, and `.s01` of SMART.
    public let extensions = ["e01", "s01"]

    /// The driver.
    public init() {}

    /// Whether it begins with the signature.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { bytes.starts(with: SegmentHeader.signature) }

    /// Reads the sections of the first segment that describe the disk.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        EWFImage(try EWFDescription(file), file: file)
    }

    /// The sections of this segment.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try EWFLayout(file)
    }

    /// Never: what is described is a first segment.
    public func mayBePart(_ image: any FormatImage) -> Bool { false }

    /// That it is a later segment, which cannot be read by itself.
    public func partError(of file: any HostFile, policy: any OpenPolicy) -> ImageError? {
        guard let header = try? SegmentHeader(of: file), header.number > 1 else { return nil }
        return EWFDescription.laterSegment(header, file)
    }

    /// None: a segment is never a disk as it is.
    public func isFlatExtent(_ file: any HostFile) -> Bool { false }

    /// As it is.
    public func namingFlatExtent(
        in error: ImageError, of file: any HostFile, policy: any OpenPolicy
    ) -> ImageError { error }

    /// The later segments of images whose first one is among them, by their names and their signatures.
    public func parts(among names: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) -> Set<[UInt8]> {
        parts(named: names).filter { name in
            guard let file = open(name), let header = try? SegmentHeader(of: file) else { return false }
            return header.number > 1
        }
    }

    /// The same by the names alone.
    public func parts(named names: [[UInt8]]) -> Set<[UInt8]> {
        let firsts = Set(
            names.filter { name in
                let suffix = name.suffix(4).map { $0 | 0x20 }
                return suffix.elementsEqual(".e01".utf8) || suffix.elementsEqual(".s01".utf8)
            })
        guard !firsts.isEmpty else { return [] }
        return Set(names.filter { name in SegmentNames.firstNames(of: name).contains { firsts.contains($0) } })
    }
}
