import BlockImage
import ByteFormat
import FormatCore

/// All segments of an image, and the tables of chunks in them.
struct Segments: Sendable {
    /// The files, in their order.
    private(set) var files: [any HostFile]
    /// The tables, in the order of the disk.
    private(set) var tables: [ChunkTable] = []
    /// Where each of the `tables2` differs, or cannot be read; and other damage that the disk does not need.
    private(set) var faults: [ImageError] = []
    private(set) var digests = StoredDigests()
    private var chunkCount: UInt64 = 0
    private let description: EWFDescription

    /// Opens the segments after the first, `file`, which `description` describes, with `open`.
    ///
    /// Throws what keeps one from being opened or read: without it the chunks after it have no place.
    init(
        _ description: EWFDescription, of file: any HostFile,
        open: (_ name: [UInt8], _ number: Int) throws(ImageError) -> any HostFile
    ) throws(ImageError) {
        self.description = description
        files = [file]
        let name = file.path.nameBytes.suffix(while: { $0 != UInt8(ascii: "/") })
        var sections = description.sections
        try add(sections, of: file)
        while sections.last?.type == "next" {
            let number = files.count + 1
            guard let next = SegmentNames.name(number, beside: Array(name)) else {
                throw ImageError(
                    .corrupt, path: file.path,
                    "segment \(number) is to follow, but the name of the first, \"\(path: nameText(name))\", tells none for it"
                )
            }
            let segment = try open(next, number)
            let header = try SegmentHeader(of: segment)
            guard header.number == UInt16(clamping: number) else {
                throw ImageError(
                    .corrupt, path: segment.path, offset: HostOffset(9),
                    "segment header: is segment \(header.number), but its name is that of segment \(number)")
            }
            sections = try Section.all(of: segment)
            try checkVolume(sections, of: segment)
            files.append(segment)
            try add(sections, of: segment)
        }
    }

    /// Whether the segment `file`, where it says so, is of the same image.
    private func checkVolume(_ sections: [Section], of file: any HostFile) throws(ImageError) {
        guard let section = sections.first(where: { $0.type == "data" }), section.dataSize >= UInt64(Volume.length),
            let volume = try? section.parse(in: file, { bytes throws(ParseFault) in try Volume(parsing: bytes) }),
            let identifier = volume.setIdentifier, let wanted = description.volume.setIdentifier
        else { return }
        guard identifier == wanted else {
            throw ImageError(
                .corrupt, path: file.path, offset: section.dataOffset.advanced(by: 64),
                "section \"data\": the segment is of another image: its set is \(hexBytes(identifier)), "
                    + "but that of the first segment is \(hexBytes(wanted))")
        }
    }

    /// Adds the tables and digests of a segment.
    private mutating func add(_ sections: [Section], of file: any HostFile) throws(ImageError) {
        var data: Section?
        for section in sections {
            switch section.type {
            case "sectors": data = section
            case "table": try addTable(section, of: file, data: data)
            case "table2": addCopy(section, of: file)
            default: break
            }
        }
        let found = EWFDescription.digests(sections, of: file, &faults)
        digests.md5 = found.md5 ?? digests.md5
        digests.sha1 = found.sha1 ?? digests.sha1
    }

    private mutating func addTable(_ section: Section, of file: any HostFile, data: Section?) throws(ImageError) {
        let (place, count) = try ChunkTable.header(section, in: file)
        guard count > 0 else { return }
        // In the form of SMART the chunks follow the entries.
        let holder = data ?? section
        let end = holder.offset + UInt64(Section.length) + holder.dataSize
        tables.append(
            ChunkTable(
                file: file, firstChunk: chunkCount, count: count, place: place, copy: nil, end: min(end, file.size)))
        chunkCount += UInt64(count)
    }

    private mutating func addCopy(_ section: Section, of file: any HostFile) {
        guard let last = tables.indices.last else { return }
        do throws(ImageError) {
            let (place, count) = try ChunkTable.header(section, in: file)
            if count == tables[last].count { tables[last].copy = place }
        } catch {
            faults.append(error)
        }
    }
}

extension Collection where Element == UInt8 {
    /// The bytes at its end for which `condition` holds.
    func suffix(while condition: (UInt8) -> Bool) -> [UInt8] {
        Array(reversed().prefix(while: condition).reversed())
    }
}
