import BlockImage
import ByteFormat

extension VMDKLayout {
    /// The header of a hosted sparse extent in the sector at `offset`, whatever of it is wrong; nil where the file ends
    /// before it does. `faults`: what is.
    func sparseHeader(at offset: UInt64) throws(ImageError) -> (header: SparseHeader?, faults: [ParseFault]) {
        let bytes = try held(UInt64(SparseHeader.size), at: offset, of: "sparse header")
        guard bytes.count == SparseHeader.size else { return (nil, []) }
        var faults: [ParseFault] = []
        var sound = bytes
        do throws(ParseFault) {
            _ = try SparseHeader(parsing: bytes)
        } catch {
            faults.append(error)
            // The other fields are read as if these were right.
            sound.replaceSubrange(0..<4, with: "KDMV".utf8)
            sound.replaceSubrange(73..<77, with: [0x0a, 0x20, 0x0d, 0x0a])
        }
        guard let header = try? SparseHeader(parsing: sound) else { return (nil, faults) }
        if let feature = header.unsupportedFeature { faults.append(feature) }
        do throws(ParseFault) { try header.checkGeometry() } catch { faults.append(error) }
        if header.overhead > file.sectorCount {
            faults.append(
                ParseFault(
                    at: 64, "overHead: \(header.overhead) sectors of metadata, but the file has \(file.size) bytes"))
        }
        return (header, faults)
    }

    func listHosted(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        let (first, faults) = try sparseHeader(at: 0)
        try listSparseHeader("sparse header", at: 0, faults, to: consumer)
        guard let first else { return }
        try reportingReadErrors(consumer) { () throws(ImageError) in
            try listEmbeddedDescriptor(first, to: consumer, options)
        }
        var header = first
        if first.hasDirectoryAtEnd {
            let footer = try? StreamFooter.find(for: first, in: file)
            try consumer.structure(
                LayoutStructure("footer", at: footer?.position, size: UInt64(StreamFooter.size))
            ) { () throws(ImageError) in
                guard let footer else {
                    return try consumer.fault(
                        "is missing, which must end the file as gdOffset says that the grain directory is at the end")
                }
                if footer.position.rawValue + 3 * sectorSize != file.size {
                    try consumer.note("is not at its place, the last sectors of the file but one")
                }
                let start = footer.position.rawValue + UInt64(StreamFooter.size - SparseHeader.size)
                try listSparseHeader("sparse header", at: start, try sparseHeader(at: start).faults, to: consumer)
            }
            header = footer?.header ?? first
        }
        if let grains = grains(of: header) { try listGrains(grains, to: consumer, options) }
        if first.hasMarkers { try listMarkers(of: first, to: consumer, options) }
    }

    /// The way to the grains by `header`; nil where its numbers say none that could be gone.
    func grains(of header: SparseHeader) -> GrainLayout? {
        guard (try? header.checkGeometry()) != nil, header.capacity > 0, !header.hasDirectoryAtEnd else { return nil }
        let hasRedundant =
            header.hasRedundantDirectory && header.redundantDirectoryOffset != header.directoryOffset
        return GrainLayout(
            format: .hosted(hasZeroedGrains: header.hasZeroedGrains), sector: header.directoryOffset,
            redundantSector: hasRedundant ? header.redundantDirectoryOffset : nil, count: header.directoryEntryCount,
            grainSize: header.grainSize, tableEntryCount: UInt64(header.grainTableEntryCount),
            capacity: header.capacity, isCompressed: header.isCompressed && header.hasMarkers)
    }

    private func listSparseHeader(
        _ name: String, at offset: UInt64, _ faults: [ParseFault], to consumer: any LayoutConsumer
    ) throws(ImageError) {
        let place = HostOffset(offset)
        try consumer.structure(LayoutStructure(name, at: place, size: UInt64(SparseHeader.size))) {
            () throws(ImageError) in
            var cursor = LayoutCursor(
                try held(UInt64(SparseHeader.size), at: offset, of: name), at: place, isLittleEndian: true,
                telling: consumer)
            cursor.add(faults)
            try cursor.bytes("magicNumber", size: 4) { "\"\(printable($0))\"" }
            try cursor.number("version", size: 4)
            try cursor.number("flags", size: 4, Self.flagText)
            try cursor.number("capacity", size: 8, sectorsText)
            try cursor.number("grainSize", size: 8, sectorsText)
            try cursor.number("descriptorOffset", size: 8) { $0 == 0 ? "none" : sectorText($0) }
            try cursor.number("descriptorSize", size: 8, sectorsText)
            try cursor.number("numGTEsPerGT", size: 4) { counted($0, "entry", "entries") }
            try cursor.number("rgdOffset", size: 8) { $0 == 0 ? "none" : sectorText($0) }
            try cursor.number("gdOffset", size: 8) {
                $0 == SparseHeader.directoryAtEnd ? "GD_AT_END: the footer says where" : sectorText($0)
            }
            try cursor.number("overHead", size: 8, sectorsText)
            try cursor.number("uncleanShutdown", size: 1) { $0 == 0 ? "no" : "yes: its last writer did not close it" }
            for (name, meaning) in [
                ("singleEndLineChar", "\\n"), ("nonEndLineChar", "space"), ("doubleEndLineChar1", "\\r"),
                ("doubleEndLineChar2", "\\n"),
            ] { try cursor.number(name, size: 1) { "0x\(String($0, radix: 16)), to be \(meaning)" } }
            try cursor.number("compressAlgorithm", size: 2) {
                $0 == 0 ? "0: none" : $0 == 1 ? "1: deflate" : "\($0)"
            }
            try cursor.reserved("pad", size: 433)
        }
    }

    private static func flagText(_ flags: UInt64) -> String {
        let names: [(UInt64, String)] = [
            (0, "valid newline check"), (1, "redundant grain directory"), (2, "zeroed-grain entries"),
            (16, "compressed grains"), (17, "markers"),
        ]
        let set = (0..<32 as Range<UInt64>).filter { flags >> $0 & 1 == 1 }.map { bit in
            "\(names.first { $0.0 == bit }?.1 ?? "unknown") (bit \(bit))"
        }
        return set.isEmpty ? "none" : set.joined(separator: ", ")
    }
}

extension LayoutCursor {
    /// Takes note of what is wrong.
    mutating func add(_ faults: [ParseFault]) {
        for fault in faults {
            self.faults[fault.position] =
                self.faults[fault.position].map { "\($0); \(fault.message)" } ?? "\(fault.message)"
        }
    }
}

extension VMDKLayout {
    /// The most markers that are walked over: as many as a reader that has lost its tables looks at.
    private static let markerLimit = StreamScan.markerLimit

    /// A marker of a stream.
    struct PlacedMarker {
        let offset: UInt64
        let value: UInt64
        let size: UInt32
        let type: UInt32
        let kind: StreamMarker.Kind?
        /// The bytes that it and what follows it take, up to the next.
        let extent: UInt64
    }

    /// Hands over the markers of a stream, one after another, up to its end, to one that has no meaning, or until `body`
    /// answers false.
    func forEachMarker(
        of header: SparseHeader, _ body: (UInt64, PlacedMarker) throws(ImageError) -> Bool
    ) throws(ImageError) {
        var sector = max(header.overhead, 1)
        for index in 0..<UInt64(Self.markerLimit) {
            guard sector < file.sectorCount else { return }
            let offset = sector * sectorSize
            guard file.size - offset >= UInt64(StreamMarker.size) else { return }
            let bytes = try file.bytes(StreamMarker.size, at: HostOffset(offset), of: "stream marker")
            guard let marker = try? StreamMarker(parsing: bytes) else { return }
            func number(_ range: Range<Int>) -> UInt64 { bytes[range].reversed().reduce(0) { $0 << 8 | UInt64($1) } }
            var sectors: UInt64 = 1
            switch marker.kind {
            case .grain(_, let size)?:
                sectors = (UInt64(StreamMarker.grainHeaderSize) + UInt64(size) + sectorSize - 1) / sectorSize
            case .metadata(let metadata, let count)?:
                // The footer's own count is 1 by the specification, and not written by everyone.
                if metadata != .endOfStream {
                    sectors += min(max(count, metadata == .footer ? 1 : 0), file.sectorCount)
                }
            case nil: break
            }
            let placed = PlacedMarker(
                offset: offset, value: number(0..<8), size: UInt32(truncatingIfNeeded: number(8..<12)),
                type: UInt32(truncatingIfNeeded: number(12..<16)), kind: marker.kind, extent: sectors * sectorSize)
            guard try body(index, placed) else { return }
            guard let kind = marker.kind else { return }
            if case .metadata(.endOfStream, _) = kind { return }
            sector += sectors
        }
    }

    /// Lists the markers: those of grains one by one where entries are asked for, else in runs.
    private func listMarkers(
        of header: SparseHeader, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        let start = max(header.overhead, 1)
        try consumer.structure(
            LayoutStructure("markers", at: HostOffset(min(start, sectorLimit) * sectorSize), size: nil)
        ) {
            () throws(ImageError) in
            var lister = LayoutEntryLister(consumer, "markers", limit: options.entryLimit)
            var hasEnd = false
            try reportingReadErrors(consumer) { () throws(ImageError) in
                try forEachMarker(of: header) { (index, marker) throws(ImageError) in
                    var entry = LayoutEntry(index, at: HostOffset(marker.offset), raw: [marker.value], facts: [])
                    let isGrain = describe(marker, header, &entry)
                    if case .metadata(.endOfStream, _)? = marker.kind { hasEnd = true }
                    if isGrain, !options.showsEntries, entry.fault == nil {
                        entry.facts = [.init("kind", .text("grains"))]
                        entry.raw = []
                    }
                    try lister.add(entry, isEmpty: isGrain && !options.showsEntries)
                    return !lister.isExhausted
                }
            }
            let isCut = lister.isExhausted
            try lister.finish()
            if isCut, !hasEnd { try consumer.note("what markers follow is left out") }
            guard !hasEnd, !isCut else { return }
            // A stream whose tables lie before it, as QEMU writes it, needs no end, and nothing follows it.
            if header.hasDirectoryAtEnd {
                try consumer.fault("the end-of-stream marker is missing: the stream breaks off")
            } else {
                try consumer.note("there is no end-of-stream marker")
            }
        }
    }

    /// Says what a marker is; answers whether it is a grain's.
    private func describe(_ marker: PlacedMarker, _ header: SparseHeader, _ entry: inout LayoutEntry) -> Bool {
        switch marker.kind {
        case .grain(let lba, let size)?:
            let guest = lba <= sectorLimit ? lba * sectorSize : .max
            entry.facts = [
                .init("kind", .text("grain")), .init("guest", .offset(guest)), .init("bytes", .number(UInt64(size))),
            ]
            if marker.offset + UInt64(StreamMarker.grainHeaderSize) + UInt64(size) > file.size {
                entry.fault = "its \(size) bytes do not lie in the file, which ends at \(HostOffset(file.size))"
            } else if lba >= header.capacity {
                entry.fault = "its sector \(lba) lies past the end of the disk, which has \(header.capacity)"
            } else if header.grainSize > 0, lba % header.grainSize != 0 {
                entry.fault = "its sector \(lba) is no multiple of the grain size, \(header.grainSize)"
            } else if header.grainSize <= SparseHeader.grainSizeLimit, UInt64(size) > 2 * header.grainSize * sectorSize
            {
                entry.fault = "has \(counted(size, "byte")), more than twice the grain's"
            }
            return true
        case .metadata(let metadata, let sectors)?:
            let name =
                switch metadata {
                case .endOfStream: "end of stream"
                case .grainTable: "grain table"
                case .grainDirectory: "grain directory"
                case .footer: "footer"
                case .progress: "progress"
                }
            entry.facts = [.init("kind", .text(name)), .init("sectors", .number(sectors))]
            return false
        case nil:
            entry.facts = [.init("type", .number(UInt64(marker.type)))]
            entry.fault = "type \(marker.type) has no meaning: the stream is damaged here"
            return false
        }
    }
}
