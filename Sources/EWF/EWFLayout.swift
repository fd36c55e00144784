import BlockImage
import ByteFormat
import FormatCore

/// The sections of one segment as they stand in it, sound or not.
struct EWFLayout: FormatLayout {
    private let file: any HostFile

    init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        _ = try file.bytes(Int(min(file.size, 16)), at: HostOffset(0), of: "segment header")
    }

    let unit: UInt64 = 512

    /// Hands over each section as far as they can be followed; answers why they end before the last one.
    private func forEachSection(_ body: (Section) throws(ImageError) -> Void) throws(ImageError) -> ImageError? {
        var position = UInt64(SegmentHeader.length)
        for _ in 0..<Section.countLimit {
            try ReadScope.checkWanted()
            let section: Section
            do throws(ImageError) { section = try Section(of: file, at: position) } catch {
                if case .system = error.code { throw error }
                return error
            }
            try body(section)
            if section.isLast { return nil }
            guard section.next >= position + UInt64(Section.length) else {
                return ImageError(
                    .corrupt, path: file.path, offset: HostOffset(position + 16),
                    "the next section must lie behind this one")
            }
            position = section.next
        }
        return ImageError(.unsupported, path: file.path, "has more than \(Section.countLimit) sections")
    }

    func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        let start = try file.bytes(
            Int(min(file.size, UInt64(SegmentHeader.length))), at: HostOffset(0), of: "segment header")
        try consumer.structure(LayoutStructure("segment header", at: HostOffset(0), size: UInt64(SegmentHeader.length)))
        {
            () throws(ImageError) in
            var cursor = LayoutCursor(start, at: HostOffset(0), isLittleEndian: true, telling: consumer)
            if !start.starts(with: SegmentHeader.signature) { cursor.faults[0] = "no EWF segment: must be EVF" }
            try cursor.bytes("signature", size: 8) { "\(hexBytes($0))" }
            try cursor.number("fields_start", size: 1)
            try cursor.number("segment_number", size: 2)
            try cursor.number("fields_end", size: 2)
        }
        var lister = LayoutEntryLister(consumer, "chunk table entries", limit: options.entryLimit)
        var texts = 0
        let fault = try forEachSection { (section) throws(ImageError) in
            let size = UInt64(Section.length) + section.dataSize
            let name = "section \(printable(section.type))"
            try consumer.structure(LayoutStructure(name, at: HostOffset(section.offset), size: size)) {
                () throws(ImageError) in
                if CaseText.types.contains(section.type) { texts += 1 }
                try list(section, showsText: texts <= CaseText.sectionLimit * CaseText.types.count, to: consumer)
                if section.type == "table", options.showsEntries { try listEntries(section, &lister) }
            }
        }
        try lister.finish()
        guard let fault else { return }
        try consumer.structure(LayoutStructure("section", at: fault.offset, size: nil)) { () throws(ImageError) in
            try consumer.fault(fault.detail)
        }
    }

    private func list(
        _ section: Section, showsText: Bool, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        let descriptor = try file.bytes(Section.length, at: HostOffset(section.offset), of: "section descriptor")
        var cursor = LayoutCursor(
            descriptor, at: HostOffset(section.offset), isLittleEndian: true, telling: consumer)
        try cursor.text("type", size: 16)
        try cursor.number("next", size: 8) { "\(HostOffset($0))" }
        try cursor.number("size", size: 8) { counted($0, "byte") }
        try cursor.reserved("padding", size: 40)
        try cursor.number("checksum", size: 4) { hexadecimal($0) }
        guard
            ["volume", "disk", "data", "hash", "digest", "table", "table2", "header", "header2"].contains(section.type),
            section.dataSize > 0
        else { return }
        let held = section.dataOffset.rawValue < file.size ? file.size - section.dataOffset.rawValue : 0
        let size = Int(min(section.dataSize, held, 1 << 16))
        let bytes = try file.bytes(size, at: size > 0 ? section.dataOffset : HostOffset(0), of: section.type)
        var data = LayoutCursor(bytes, at: section.dataOffset, isLittleEndian: true, telling: consumer)
        switch section.type {
        case "volume", "disk", "data": try listVolume(section, bytes, &data)
        case "hash", "digest": try listDigests(section, bytes, &data)
        case "table", "table2": try listTable(section, &data)
        default:
            guard showsText, let text = try? CaseText(inflating: bytes) else { return }
            for (field, name) in CaseText.names {
                if let value = text.text(of: field) { try consumer.note("\(name): \(quoting: value)") }
            }
        }
    }

    private func listVolume(_ section: Section, _ bytes: [UInt8], _ cursor: inout LayoutCursor) throws(ImageError) {
        do throws(ParseFault) { _ = try Volume(parsing: bytes) } catch {
            cursor.faults[error.position] = "\(error.message)"
        }
        let isSMART = bytes.count < Volume.length
        try cursor.number("media_type", size: 4)
        try cursor.number("number_of_chunks", size: 4)
        try cursor.number("sectors_per_chunk", size: 4)
        try cursor.number("bytes_per_sector", size: 4) { counted($0, "byte") }
        try cursor.number("number_of_sectors", size: isSMART ? 4 : 8)
        guard !isSMART else {
            try cursor.bytes("unknown", size: 65) { _ in "" }
            try cursor.text("signature", size: 5)
            _ = try cursor.number("checksum", size: 4) { hexadecimal($0) }
            return
        }
        try cursor.bytes("geometry", size: 12) { "\(hexBytes($0))" }
        try cursor.number("media_flags", size: 4)
        try cursor.number("palm_start", size: 4)
        try cursor.bytes("unknown", size: 4) { _ in "" }
        try cursor.number("smart_start", size: 4)
        try cursor.number("compression_level", size: 4) { ["0: none", "1: good", "2: best"][at: $0] ?? "\($0)" }
        try cursor.number("error_granularity", size: 4) { counted($0, "sector") }
        try cursor.bytes("unknown", size: 4) { _ in "" }
        try cursor.bytes("set_identifier", size: 16) { "\(hexBytes($0))" }
        try cursor.bytes("unknown", size: 963) { _ in "" }
        try cursor.bytes("signature", size: 5) { _ in "" }
        try cursor.number("checksum", size: 4) { hexadecimal($0) }
    }

    private func listDigests(_ section: Section, _ bytes: [UInt8], _ cursor: inout LayoutCursor) throws(ImageError) {
        var digests = StoredDigests()
        do throws(ParseFault) { try digests.add(bytes, of: section.type) } catch {
            cursor.faults[error.position] = "\(error.message)"
        }
        try cursor.bytes("md5", size: 16) { "\(hexBytes($0))" }
        if section.type == "digest" {
            try cursor.bytes("sha1", size: 20) { "\(hexBytes($0))" }
            try cursor.reserved("padding", size: 40)
        } else {
            try cursor.bytes("unknown", size: 16) { "\(hexBytes($0))" }
        }
        try cursor.number("checksum", size: 4) { hexadecimal($0) }
    }

    private func listTable(_ section: Section, _ cursor: inout LayoutCursor) throws(ImageError) {
        do throws(ImageError) { _ = try ChunkTable.header(section, in: file) } catch {
            if let offset = error.offset, offset >= section.dataOffset {
                cursor.faults[Int(min(offset.rawValue - section.dataOffset.rawValue, 23))] = error.detail
            }
        }
        try cursor.number("number_of_entries", size: 4)
        try cursor.reserved("padding", size: 4)
        try cursor.number("base_offset", size: 8) { "\(HostOffset($0))" }
        try cursor.reserved("padding", size: 4)
        try cursor.number("checksum", size: 4) { hexadecimal($0) }
    }

    private func table(_ section: Section) -> ChunkTable? {
        guard let (place, count) = try? ChunkTable.header(section, in: file), count > 0 else { return nil }
        let held = section.dataOffset.rawValue + ChunkTable.headerLength + UInt64(count) * 4 <= file.size
        return held
            ? ChunkTable(file: file, firstChunk: 0, count: count, place: place, copy: nil, end: file.size) : nil
    }

    private func listEntries(_ section: Section, _ lister: inout LayoutEntryLister) throws(ImageError) {
        guard let table = table(section) else { return }
        let location = table.location(table.place)
        var index = 0
        while index < table.count, !lister.isExhausted {
            let count = min(table.count - index, 4096)
            let offset = location.offset.advanced(by: UInt64(index) * 4)
            let buffer = AlignedBuffer(capacity: count * 4, alignment: 16)
            try buffer.fill(count * 4) { output throws(ImageError) in
                try file.read(count * 4, at: offset, into: &output)
            }
            let entries = location.decode(buffer.bytes)
            for (place, entry) in entries.enumerated() {
                let host = table.place.base + entry & ~ChunkTable.compressed
                let kind = entry & ChunkTable.compressed == 0 ? "stored" : "compressed"
                try lister.add(
                    LayoutEntry(
                        UInt64(index + place), at: offset.advanced(by: UInt64(place) * 4), raw: [entry],
                        facts: [.init("kind", .text(kind)), .init("host", .offset(host))],
                        fault: host < file.size
                            ? nil : "points to \(HostOffset(host)), but the file ends at \(HostOffset(file.size))"),
                    isEmpty: false)
            }
            index += count
        }
        lister.omit(UInt64(table.count - index))
    }

    func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        recorder.record(.header, at: HostOffset(0), count: UInt64(SegmentHeader.length)) { _, _ in true }
        let fault = try forEachSection { (section) throws(ImageError) in
            let use: HostUse =
                switch section.type {
                case "table", "table2": .blockTable
                case "sectors": .compressed
                case "header", "header2", "volume", "disk", "data": .header
                default: .bookkeeping
                }
            recorder.record(use, at: HostOffset(section.offset), count: UInt64(Section.length) + section.dataSize) {
                // Sections are no whole sectors.
                _, _ in true
            }
        }
        if let fault { recorder.note("\(fault.detail): what follows is not shown") }
    }
}

extension [String] {
    /// The element at `index`; nil where there is none.
    fileprivate subscript(at index: UInt64) -> String? { index < UInt64(count) ? self[Int(index)] : nil }
}
