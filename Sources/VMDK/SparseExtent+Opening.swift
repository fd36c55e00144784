import BlockImage
import ByteFormat

extension SparseExtent {
    /// Opens the extent in `file`, of the kind that its own first bytes say. Where they say none, it is taken for one
    /// of `expected`, the kind of its extent line, so that its header is the one that is found missing.
    ///
    /// Throws `corrupt` for a header or a geometry that cannot be, `unsupported` for features that are not read, and
    /// `truncated` when the file ends before its metadata does.
    static func open(
        _ file: any HostFile, as expected: Magic, resources: LayerResources
    ) throws(ImageError) -> SparseExtent {
        let start = try file.bytes(Int(min(file.size, 8)), at: HostOffset(0), of: "extent")
        let opening = Opening(file: file, resources: resources)
        switch Magic(firstBytes: start) ?? expected {
        case .hostedSparse: return try opening.hosted()
        case .cowd: return try opening.cowd()
        case .seSparse: return try opening.seSparse()
        }
    }
}

/// What the ways to open the kinds of extents share.
private struct Opening {
    /// Where a grain directory lies.
    struct DirectoryPlace {
        var sector: UInt64
        /// The sector of the redundant one, where there is one in the file.
        var redundantSector: UInt64?
        var note: ErrorText?
    }

    let file: any HostFile
    let resources: LayerResources
    let findings = ReadFindings()

    func cowd() throws(ImageError) -> SparseExtent {
        let header = try COWDHeader.load(from: file)
        if let feature = header.unsupportedFeature { throw file.unsupported(feature) }
        do throws(ParseFault) { try header.checkGeometry() } catch { throw file.corrupt(error) }
        let capacity = UInt64(header.capacity) * sectorSize
        let grainSize = UInt64(header.grainSize) * sectorSize
        let count = Int(header.usedDirectoryEntryCount)
        let sector = UInt64(header.directoryOffset)
        try checkDirectory(sector: sector, count: count, format: .cowd, position: 20)
        let map = map(
            .cowd, DirectoryPlace(sector: sector), count: count, grainSize: grainSize,
            tableEntryCount: COWDHeader.tableEntryCount, capacity: capacity,
            grainArea: GrainArea(start: UInt64(COWDHeader.size), end: .max))
        return extent(
            .cowd, capacity: capacity, grainSize: grainSize, map: map, notes: unclean(header.uncleanShutdown))
    }

    func seSparse() throws(ImageError) -> SparseExtent {
        let header = try SESparseHeader.load(from: file)
        if let refusal = try header.refusal(in: file) { throw refusal }
        let capacity = header.capacity * sectorSize
        let grainSize = header.grainSize * sectorSize
        let format = TableFormat.seSparse(header.areas)
        let count = Int(header.directoryEntryCount)
        try checkDirectory(sector: header.directory.offset, count: count, format: format, position: 128)
        let map = map(
            format, DirectoryPlace(sector: header.directory.offset), count: count, grainSize: grainSize,
            tableEntryCount: SESparseHeader.tableEntryCount, capacity: capacity,
            // Both are held to 2^63.
            grainArea: GrainArea(
                start: header.grains.offset * sectorSize,
                end: (header.grains.offset + header.grains.size) * sectorSize))
        return extent(.seSparse, capacity: capacity, grainSize: grainSize, map: map, notes: [])
    }

    func hosted() throws(ImageError) -> SparseExtent {
        let header = try SparseHeader.load(from: file)
        if let feature = header.unsupportedFeature { throw file.unsupported(feature) }
        do throws(ParseFault) { try header.checkGeometry() } catch { throw file.corrupt(error) }
        guard header.overhead <= file.sectorCount else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(64),
                "overHead: \(header.overhead) sectors of metadata, but the file has only \(file.size) bytes")
        }
        // An extent of no sectors has no table, and what its header says of one is not looked at.
        guard header.capacity > 0 else { return hosted(header, .nothing, []) }
        do throws(ImageError) {
            return try hostedByTables(header)
        } catch {
            guard header.hasMarkers, !error.isTransient else { throw error }
            return try hostedByMarkers(header, missing: error)
        }
    }

    /// The extent as its grain directory has it, which the header or the footer leads to.
    private func hostedByTables(_ header: SparseHeader) throws(ImageError) -> SparseExtent {
        guard header.hasDirectoryAtEnd else { return try hosted(by: header, notes: []) }
        guard let footer = try StreamFooter.find(for: header, in: file) else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(file.size),
                "footer: is missing, which must end the file as gdOffset says that the grain directory is at the end")
        }
        return try hosted(by: footer.header, notes: footer.notes(first: header, in: file).map { VMDKNote($0) })
    }

    /// The extent whose grain directory `header`, the first or the footer, leads to.
    private func hosted(by header: SparseHeader, notes: [VMDKNote]) throws(ImageError) -> SparseExtent {
        let place = try directoryPlace(header)
        let format = TableFormat.hosted(hasZeroedGrains: header.hasZeroedGrains)
        let map = map(
            format, place, count: Int(header.directoryEntryCount), grainSize: header.grainSize * sectorSize,
            tableEntryCount: Int(header.grainTableEntryCount), capacity: header.capacity * sectorSize,
            grainArea: header.grainArea, isUnclean: header.uncleanShutdown, compression: compression(of: header))
        // A stream can do without its directory, so it must be known now whether that can be read.
        if header.hasMarkers, case .tables(let tables) = map { try tables.readDirectory() }
        return hosted(header, map, (place.note.map { [VMDKNote($0)] } ?? []) + notes)
    }

    /// The extent as the markers in it say, where its grain directory is `missing`.
    private func hostedByMarkers(
        _ header: SparseHeader, missing: ImageError
    ) throws(ImageError) -> SparseExtent {
        var scan = StreamScan(file, header: header) { (try? hosted(by: $0, notes: [])) != nil }
        var offset: HostOffset?
        var manner = ""
        switch try scan.run() {
        case .footer(let footer):
            return try hosted(by: footer.header, notes: footer.notes(first: header, in: file).map { VMDKNote($0) })
        case .complete: break
        case .broken(let place, let how): (offset, manner) = (place, how)
        }
        let count = scan.grains.count
        // Where there is nothing at all, it is no recovery.
        guard let compression = compression(of: header), count > 0 || offset == nil else { throw missing }
        let grains = RecoveredGrains(
            scan.grains, compression: compression, breakingAt: offset, manner: manner)
        var note: ErrorText = "\(missing); its \(count) grains were found by scanning the markers"
        if let end = grains.end {
            let lost = GuestOffset(end.firstLostGrain * compression.grainSize)
            note += ", up to \(end.offset), where the stream \(end.manner): what the extent had "
            note += end.firstLostGrain == 0 ? "in other grains may be lost" : "from \(lost) on is lost"
        }
        return hosted(header, .recovered(grains), [VMDKNote(note)])
    }

    private func hosted(_ header: SparseHeader, _ map: SparseExtent.Map, _ notes: [VMDKNote]) -> SparseExtent {
        extent(
            .hostedSparse, capacity: header.capacity * sectorSize, grainSize: header.grainSize * sectorSize, map: map,
            compression: compression(of: header), notes: notes + unclean(header.uncleanShutdown))
    }

    private func compression(of header: SparseHeader) -> CompressedGrains? {
        guard header.isCompressed else { return nil }
        return CompressedGrains(
            file: file, capacity: header.capacity * sectorSize, grainSize: header.grainSize * sectorSize,
            resources: resources)
    }

    private func extent(
        _ magic: Magic, capacity: UInt64, grainSize: UInt64, map: SparseExtent.Map,
        compression: CompressedGrains? = nil, notes: [VMDKNote]
    ) -> SparseExtent {
        SparseExtent(
            magic: magic, file: file, capacity: capacity, grainSize: grainSize, compression: compression, notes: notes,
            findings: findings, map: map)
    }

    private func unclean(_ uncleanShutdown: Bool) -> [VMDKNote] {
        uncleanShutdown ? [VMDKNote(uncleanShutdownOf: file)] : []
    }
}

extension Opening {
    /// The way to the grains through the grain directory of `count` entries at `place`, which lies in the file.
    private func map(
        _ format: TableFormat, _ place: DirectoryPlace, count: Int, grainSize: UInt64, tableEntryCount: Int,
        capacity: UInt64, grainArea: GrainArea, isUnclean: Bool = false, compression: CompressedGrains? = nil
    ) -> SparseExtent.Map {
        guard count > 0 else { return .nothing }
        func directory(_ sector: UInt64) -> TableLocation {
            format.table(in: file, sector: sector, count: count, name: "grain directory")
        }
        return .tables(
            GrainTables(
                file: file, grainSize: grainSize, tableEntryCount: tableEntryCount, format: format,
                directory: directory(place.sector), redundantDirectory: place.redundantSector.map(directory),
                compression: compression,
                missing: MissingGrains(
                    capacity: capacity, area: grainArea, isUnclean: isUnclean,
                    gaps: compression.map { _ in StreamGaps(firstSector: grainArea.start / sectorSize) }),
                findings: findings, resources: resources))
    }

    /// Whether a grain directory of `count` entries at `sector` lies in the file.
    private func holdsDirectory(sector: UInt64, count: Int, format: TableFormat) -> Bool {
        sector > 0 && sector <= sectorLimit
            && sector * sectorSize + UInt64(count * format.entrySize) <= file.size
    }

    /// Throws unless a grain directory of `count` entries at `sector` lies in the file; the field that says where is at
    /// `position`.
    private func checkDirectory(
        sector: UInt64, count: Int, format: TableFormat, position: UInt64
    ) throws(ImageError) {
        if count == 0 || holdsDirectory(sector: sector, count: count, format: format) { return }
        throw ImageError(
            sector == 0 ? .corrupt : .truncated, path: file.path, offset: HostOffset(position),
            "gdOffset: a grain directory of \(count) entries at sector \(sector) does not lie in the file, "
                + "which has \(file.size) bytes")
    }

    /// The sectors of the grain directory and of the redundant one; of the latter alone when the first does not lie in
    /// the file.
    private func directoryPlace(_ header: SparseHeader) throws(ImageError) -> DirectoryPlace {
        let count = Int(header.directoryEntryCount)
        let format = TableFormat.hosted(hasZeroedGrains: header.hasZeroedGrains)
        let hasRedundant =
            header.hasRedundantDirectory && header.redundantDirectoryOffset != header.directoryOffset
            && holdsDirectory(sector: header.redundantDirectoryOffset, count: count, format: format)
        do throws(ImageError) {
            try checkDirectory(sector: header.directoryOffset, count: count, format: format, position: 56)
            return DirectoryPlace(
                sector: header.directoryOffset, redundantSector: hasRedundant ? header.redundantDirectoryOffset : nil)
        } catch {
            guard hasRedundant else { throw error }
            return DirectoryPlace(
                sector: header.redundantDirectoryOffset,
                note: "\(path: file.path): \(error.detail); the redundant one at sector "
                    + "\(header.redundantDirectoryOffset) is read")
        }
    }
}

extension SparseHeader {
    /// Where grains may lie: after the overhead, whose place is no larger than the file where the extent is read, and
    /// the descriptor.
    fileprivate var grainArea: GrainArea {
        let hasDescriptor = descriptorOffset <= sectorLimit / 2 && descriptorSize <= sectorLimit / 2
        let descriptorEnd = hasDescriptor ? descriptorOffset + descriptorSize : 0
        let start = hasMarkers ? max(overhead, 1) : max(overhead, descriptorEnd, 1)
        return GrainArea(start: min(start, sectorLimit) * sectorSize, end: .max)
    }

    /// The header of the sparse extent `file`.
    static func load(from file: any HostFile) throws(ImageError) -> SparseHeader {
        let bytes = try file.bytes(size, at: HostOffset(0), of: "sparse header")
        do throws(ParseFault) { return try SparseHeader(parsing: bytes) } catch { throw file.corrupt(error) }
    }
}

extension COWDHeader {
    /// The header of the COWD extent `file`.
    static func load(from file: any HostFile) throws(ImageError) -> COWDHeader {
        let bytes = try file.bytes(size, at: HostOffset(0), of: "COWD header")
        do throws(ParseFault) { return try COWDHeader(parsing: bytes) } catch { throw file.corrupt(error) }
    }
}

extension SESparseHeader {
    /// The constant header of the seSparse extent `file`.
    static func load(from file: any HostFile) throws(ImageError) -> SESparseHeader {
        let bytes = try file.bytes(size, at: HostOffset(0), of: "seSparse header")
        do throws(ParseFault) { return try SESparseHeader(parsing: bytes) } catch { throw file.corrupt(error) }
    }

    /// Why the extent `file` that this is the header of is not read, the volatile header looked at as well; nil when
    /// it is read. Throws where the geometry or the volatile header cannot be.
    func refusal(in file: any HostFile) throws(ImageError) -> ImageError? {
        if let feature = unsupportedFeature { return file.unsupported(feature) }
        do throws(ParseFault) { try checkGeometry() } catch { throw file.corrupt(error) }
        // Held to `sectorLimit`; at most 2^63, so past no file's end that an offset in bytes cannot name.
        let offset = HostOffset(volatileHeader.offset * sectorSize)
        let bytes = try file.bytes(SESparseVolatileHeader.size, at: offset, of: "volatile header")
        do throws(ParseFault) {
            let header = try SESparseVolatileHeader(parsing: bytes)
            return header.unsupportedFeature.map { file.unsupported($0, base: Int(offset.rawValue)) }
        } catch {
            throw file.corrupt(error, base: Int(offset.rawValue))
        }
    }
}
