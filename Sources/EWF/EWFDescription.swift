import BlockImage
import ByteFormat

/// What the first segment of an image says of it.
struct EWFDescription: Sendable {
    /// The sections of the first segment.
    let sections: [Section]
    let volume: Volume
    let caseText: CaseText
    /// The digests, which stand in the last segment: of an image of one segment, its own.
    let digests: StoredDigests
    /// What is damaged of that which the disk does not need.
    let faults: [ImageError]

    /// Reads the sections of `file`, and the ones that describe the disk. Throws what is wrong with these.
    init(_ file: any HostFile) throws(ImageError) {
        let header = try SegmentHeader(of: file)
        guard header.number == 1 else {
            throw Self.laterSegment(header, file)
        }
        sections = try Section.all(of: file)
        guard let section = sections.first(where: { $0.type == "volume" || $0.type == "disk" }) else {
            throw ImageError(
                .corrupt, path: file.path, "has no section \"volume\" or \"disk\", which says how large the disk is")
        }
        volume = try section.parse(in: file) { bytes throws(ParseFault) in try Volume(parsing: bytes) }
        var faults: [ImageError] = []
        caseText = try Self.caseText(sections, of: file, &faults)
        digests = try Self.digests(sections, of: file, &faults)
        self.faults = faults
    }

    /// That `file` is no first segment, by `header`.
    static func laterSegment(_ header: SegmentHeader, _ file: any HostFile) -> ImageError {
        let name = file.path.nameBytes.suffix(while: { $0 != UInt8(ascii: "/") })
        let first = SegmentNames.firstNames(of: name).first.map { nameText($0) }
        return ImageError(
            .unsupported, path: file.path, offset: HostOffset(9),
            "is segment \(header.number) of an EWF image, and no image by itself"
                + (first.map { ": use \(path: $0)" } ?? ""))
    }

    /// What the sections "header2", else "header", say; what is wrong with them goes to `faults`.
    private static func caseText(
        _ sections: [Section], of file: any HostFile, _ faults: inout [ImageError]
    ) throws(ImageError) -> CaseText {
        for type in CaseText.types {
            for section in sections.lazy.filter({ $0.type == type }).prefix(CaseText.sectionLimit) {
                try ReadScope.checkWanted()
                do throws(ImageError) {
                    let text = try section.parse(in: file, limit: CaseText.storedLimit) { bytes throws(ParseFault) in
                        try CaseText(inflating: bytes)
                    }
                    if !text.values.isEmpty { return text }
                } catch {
                    faults.append(error)
                }
            }
        }
        return CaseText()
    }

    /// The digests in `sections` of `file`; what is wrong with them goes to `faults`.
    static func digests(
        _ sections: [Section], of file: any HostFile, _ faults: inout [ImageError]
    ) throws(ImageError) -> StoredDigests {
        var digests = StoredDigests()
        for section in sections where section.type == "hash" || section.type == "digest" {
            try ReadScope.checkWanted()
            do throws(ImageError) {
                digests = try section.parse(in: file) { bytes throws(ParseFault) in
                    var added = digests
                    try added.add(bytes, of: section.type)
                    return added
                }
            } catch {
                faults.append(error)
            }
        }
        return digests
    }
}
