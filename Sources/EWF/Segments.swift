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
    private mutating func checkVolume(_ sections: [Section], of file: any HostFile) throws(ImageError) {
        guard let section = sections.first(where: { $0.type == "data" }), section.dataSize >= UInt64(Volume.length)
        else { return }
        let volume: Volume
        do throws(ImageError) {
            volume = try section.parse(in: file) { bytes throws(ParseFault) in try Volume(parsing: bytes) }
        } catch {
            return try note(error)
        }
        guard let identifier = volume.setIdentifier, let wanted = description.volume.setIdentifier else { return }
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
        for (index, section) in sections.enumerated() {
            if index % 256 == 0 { try ReadScope.checkWanted() }
            switch section.type {
            case "sectors": data = section
            case "table":
                let copy = sections[(index + 1)...].first { $0.type == "table" || $0.type == "table2" }
                try addTable(section, copy: copy?.type == "table2" ? copy : nil, of: file, data: data)
            default: break
            }
        }
        let found = try EWFDescription.digests(sections, of: file, &faults)
        digests.md5 = found.md5 ?? digests.md5
        digests.sha1 = found.sha1 ?? digests.sha1
    }

    /// Adds the table in `section`, or what its copy, the section `copy`, says where its own header is damaged.
    private mutating func addTable(
        _ section: Section, copy: Section?, of file: any HostFile, data: Section?
    ) throws(ImageError) {
        let own = header(section, of: file)
        let other = copy.map { header($0, of: file) }
        let (place, count): (ChunkTable.Place, Int)
        do throws(ImageError) {
            (place, count) = try own.get()
        } catch {
            guard case .success(let sound) = other else { throw error }
            try note(error)
            (place, count) = sound
        }
        var second: ChunkTable.Place?
        switch other {
        case .failure(let error): try note(error)
        case .success((let found, count)): second = found.section == place.section ? nil : found
        case .success((let found, let otherCount)):
            try note(
                ImageError(
                    .corrupt, path: file.path, offset: found.section.dataOffset,
                    "section \"table2\": has \(otherCount) entries, but the section \"table\" before it has \(count)"))
        case nil: break
        }
        guard count > 0 else { return }
        // In the form of SMART the chunks follow the entries.
        let holder = data ?? section
        let end = holder.offset + UInt64(Section.length) + holder.dataSize
        tables.append(
            ChunkTable(
                file: file, firstChunk: chunkCount, count: count, place: place, copy: second, end: min(end, file.size)))
        chunkCount += UInt64(count)
    }

    private func header(
        _ section: Section, of file: any HostFile
    ) -> Result<(place: ChunkTable.Place, count: Int), ImageError> {
        do throws(ImageError) { return .success(try ChunkTable.header(section, in: file)) } catch {
            return .failure(error)
        }
    }

    /// Keeps `error` for checks. Throws it where it is none of the image: the host fails, or the reader is gone.
    private mutating func note(_ error: ImageError) throws(ImageError) {
        switch error.code {
        case .corrupt, .truncated, .unsupported: faults.append(error)
        default: throw error
        }
    }
}

extension Collection where Element == UInt8 {
    /// The bytes at its end for which `condition` holds.
    func suffix(while condition: (UInt8) -> Bool) -> [UInt8] {
        Array(reversed().prefix(while: condition).reversed())
    }
}
