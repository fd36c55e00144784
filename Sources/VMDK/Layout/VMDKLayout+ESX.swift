import BlockImage
import ByteFormat

extension VMDKLayout {
    func listCOWD(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        let bytes = try held(UInt64(COWDHeader.size), at: 0, of: "COWD header")
        let header = try? COWDHeader(parsing: bytes + Array(repeating: 0, count: max(0, COWDHeader.size - bytes.count)))
        try consumer.structure(LayoutStructure("COWD header", at: HostOffset(0), size: UInt64(COWDHeader.size))) {
            () throws(ImageError) in
            var cursor = LayoutCursor(bytes, at: HostOffset(0), isLittleEndian: true, telling: consumer)
            if let feature = header?.unsupportedFeature { cursor.add([feature]) }
            do throws(ParseFault) { try header?.checkGeometry() } catch { cursor.add([error]) }
            try cursor.bytes("magicNumber", size: 4) { "\"\(printable($0))\"" }
            try cursor.number("version", size: 4)
            try cursor.number("flags", size: 4) { "0x\(String($0, radix: 16))" }
            try cursor.number("numSectors", size: 4, sectorsText)
            try cursor.number("grainSize", size: 4, sectorsText)
            try cursor.number("gdOffset", size: 4, sectorText)
            try cursor.number("numGDEntries", size: 4) { counted($0, "entry", "entries") }
            try cursor.number("freeSector", size: 4, sectorText)
            if header?.parentFileName == nil {
                for name in ["cylinders", "heads", "sectors"] { try cursor.number(name, size: 4) }
                try cursor.reserved("rest of parentFileName", size: 1012)
            } else {
                try cursor.text("parentFileName", size: 1024)
            }
            try cursor.number("parentGeneration", size: 4)
            try cursor.number("generation", size: 4)
            try cursor.text("name", size: 60)
            try cursor.text("description", size: 512)
            try cursor.number("savedGeneration", size: 4)
            try cursor.reserved("reserved", size: 8)
            try cursor.number("uncleanShutdown", size: 4) { $0 == 0 ? "no" : "yes: its last writer did not close it" }
            try cursor.reserved("padding", size: 396)
        }
        if let header, let grains = grains(of: header) { try listGrains(grains, to: consumer, options) }
    }

    /// The way to the grains by `header`; nil where its numbers say none that could be gone.
    func grains(of header: COWDHeader) -> GrainLayout? {
        guard (try? header.checkGeometry()) != nil, header.capacity > 0 else { return nil }
        return GrainLayout(
            format: .cowd, sector: UInt64(header.directoryOffset), count: header.usedDirectoryEntryCount,
            grainSize: UInt64(header.grainSize), tableEntryCount: UInt64(COWDHeader.tableEntryCount),
            capacity: UInt64(header.capacity))
    }

    /// The areas that the constant header of an seSparse extent names, with the use that each has.
    static let areas: [(name: String, use: HostUse?)] = [
        ("volatileHeader", .bookkeeping), ("journalHeader", .bookkeeping), ("journal", .bookkeeping),
        ("grainDirectory", .grainDirectory), ("grainTables", nil), ("freeBitmap", .bookkeeping),
        ("backMap", .bookkeeping), ("grains", nil),
    ]

    func listSESparse(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        let bytes = try held(UInt64(SESparseHeader.size), at: 0, of: "seSparse header")
        let header = try? SESparseHeader(
            parsing: bytes + Array(repeating: 0, count: SESparseHeader.size - bytes.count))
        try consumer.structure(
            LayoutStructure("seSparse constant header", at: HostOffset(0), size: UInt64(SESparseHeader.size))
        ) { () throws(ImageError) in
            var cursor = LayoutCursor(bytes, at: HostOffset(0), isLittleEndian: true, telling: consumer)
            if let feature = header?.unsupportedFeature { cursor.add([feature]) }
            do throws(ParseFault) { try header?.checkGeometry() } catch { cursor.add([error]) }
            try cursor.number("magic", size: 8) { "0x\(String($0, radix: 16))" }
            try cursor.number("version", size: 8) { "\($0 >> 32).\($0 & 0xffff_ffff)" }
            try cursor.number("capacity", size: 8, sectorsText)
            try cursor.number("grainSize", size: 8, sectorsText)
            try cursor.number("grainTableSize", size: 8, sectorsText)
            try cursor.number("flags", size: 8) { "0x\(String($0, radix: 16))" }
            try cursor.reserved("reserved", size: 32)
            for area in Self.areas {
                try cursor.number("\(area.name)Offset", size: 8, sectorText)
                try cursor.number("\(area.name)Size", size: 8, sectorsText)
            }
            try cursor.reserved("pad", size: 304)
        }
        guard let header else { return }
        try listVolatileHeader(header, to: consumer)
        if let grains = grains(of: header) { try listGrains(grains, to: consumer, options) }
    }

    private func listVolatileHeader(
        _ header: SESparseHeader, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        guard header.volatileHeader.offset <= sectorLimit else { return }
        let start = header.volatileHeader.offset * sectorSize
        let size = UInt64(SESparseVolatileHeader.size)
        try consumer.structure(LayoutStructure("seSparse volatile header", at: HostOffset(start), size: size)) {
            () throws(ImageError) in
            let bytes = try held(size, at: start, of: "volatile header")
            var cursor = LayoutCursor(bytes, at: HostOffset(start), isLittleEndian: true, telling: consumer)
            do throws(ParseFault) {
                if let feature = try SESparseVolatileHeader(parsing: bytes).unsupportedFeature { cursor.add([feature]) }
            } catch {
                cursor.add([error])
            }
            try cursor.number("magic", size: 8) { "0x\(String($0, radix: 16))" }
            try cursor.number("freeGrainTable", size: 8)
            try cursor.number("nextTransaction", size: 8)
            try cursor.number("replayJournal", size: 8) { $0 == 0 ? "no" : "yes" }
            try cursor.reserved("pad", size: 480)
        }
    }

    /// The way to the grains by `header`; nil where its numbers say none that could be gone.
    func grains(of header: SESparseHeader) -> GrainLayout? {
        guard (try? header.checkGeometry()) != nil, header.capacity > 0,
            header.grainSize == SESparseHeader.grainSize, header.grainTableSize == SESparseHeader.tableSize
        else { return nil }
        return GrainLayout(
            format: .seSparse(header.areas), sector: header.directory.offset, count: header.directoryEntryCount,
            grainSize: header.grainSize, tableEntryCount: UInt64(SESparseHeader.tableEntryCount),
            capacity: header.capacity)
    }
}
