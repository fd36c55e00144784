import BlockImage
import ByteFormat

extension VMDKLayout {
    /// Tells `recorder` what every sector of the file is used for. No more is read than the grain directories and grain
    /// tables that lie in the file, each table once for each entry that names it, but at most twice the file in all.
    ///
    /// Damage is passed over: `list` reports it.
    public func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        switch magic {
        case nil:
            recorder.record(.descriptor, at: HostOffset(0), count: file.size) { _, _ in false }
        case .hostedSparse:
            try recordHosted(in: recorder)
        case .cowd:
            recorder.record(.header, at: HostOffset(0), count: UInt64(COWDHeader.size)) { _, _ in false }
            let bytes = try held(UInt64(COWDHeader.size), at: 0, of: "COWD header")
            if let header = try? COWDHeader(parsing: bytes), let grains = grains(of: header) {
                record(grains, in: recorder)
            }
        case .seSparse:
            recorder.record(.header, at: HostOffset(0), count: UInt64(SESparseHeader.size)) { _, _ in false }
            let bytes = try held(UInt64(SESparseHeader.size), at: 0, of: "seSparse header")
            if let header = try? SESparseHeader(parsing: bytes) {
                recordAreas(bytes, in: recorder)
                if let grains = grains(of: header) { record(grains, in: recorder) }
            }
        }
    }

    private func recordHosted(in recorder: any HostUseRecorder) throws(ImageError) {
        recorder.record(.header, at: HostOffset(0), count: UInt64(SparseHeader.size)) { _, _ in false }
        guard let first = try sparseHeader(at: 0).header else { return }
        if first.descriptorOffset != 0, first.descriptorOffset <= sectorLimit {
            let size = min(first.descriptorSize, sectorLimit) * sectorSize
            recorder.record(.descriptor, at: HostOffset(first.descriptorOffset * sectorSize), count: size) { _, _ in
                false
            }
        }
        var header = first
        if first.hasDirectoryAtEnd { header = (try? StreamFooter.find(for: first, in: file))?.header ?? first }
        if first.hasMarkers {
            do throws(ImageError) { try recordMarkers(of: first, in: recorder) } catch { recorder.note("\(error)") }
        }
        if let grains = grains(of: header) { record(grains, in: recorder) }
    }

    /// Records a stream by its markers, which say how many bytes each grain takes.
    private func recordMarkers(of header: SparseHeader, in recorder: any HostUseRecorder) throws(ImageError) {
        try forEachMarker(of: header) { (_, marker) in
            let start = HostOffset(marker.offset)
            let content = start.advanced(by: sectorSize)
            let rest = marker.extent - sectorSize
            func record(_ use: HostUse, at offset: HostOffset, count: UInt64) {
                recorder.record(use, at: offset, count: count) { _, earlier in earlier == use }
            }
            switch marker.kind {
            case .grain?: record(.compressed, at: start, count: marker.extent)
            case .metadata(.grainTable, _)?:
                record(.marker, at: start, count: sectorSize)
                record(.grainTable, at: content, count: rest)
            case .metadata(.grainDirectory, _)?:
                record(.marker, at: start, count: sectorSize)
                record(.grainDirectory, at: content, count: rest)
            case .metadata(.endOfStream, _)?:
                // Space for what the tables know better, where it is no stream's end but what was never written.
                let isEnd = marker.offset + 2 * sectorSize >= file.size || header.hasDirectoryAtEnd
                if isEnd { record(.marker, at: start, count: sectorSize) }
            case .metadata?: record(.marker, at: start, count: marker.extent)
            case nil: break
            }
            return true
        }
    }

    private func recordAreas(_ bytes: [UInt8], in recorder: any HostUseRecorder) {
        var reader = ByteReader(bytes, at: 80)
        for area in Self.areas {
            guard let offset = try? reader.read(.little, as: UInt64.self),
                let size = try? reader.read(.little, as: UInt64.self)
            else { return }
            guard let use = area.use, use != .grainDirectory, offset <= sectorLimit, size <= sectorLimit else {
                continue
            }
            recorder.record(use, at: HostOffset(offset * sectorSize), count: size * sectorSize) { _, _ in false }
        }
    }

    /// Records the grain directories, their tables, and the grains, in bytes at most twice what the file has, and a bit.
    private func record(_ grains: GrainLayout, in recorder: any HostUseRecorder) {
        var budget = min(file.size, .max >> 2) * 2 + (1 << 20)
        var grainBudget = min(file.size, .max >> 2) * 2 + (64 << 20)
        var isIncomplete = false
        func walk(_ sector: UInt64, directory: HostUse, table: HostUse) throws(ImageError) {
            let stored = StoredGrainTable(file, sector: sector, count: grains.count, entrySize: grains.entrySize)
            recorder.record(directory, at: stored.offset, count: grains.count * grains.entrySize) { _, earlier in
                grains.isCompressed && earlier == directory
            }
            try stored.visit { (index, word) throws(ImageError) in
                guard let place = tableSector(word, grains) else { return true }
                let start = index &* grains.tableCoverage
                recorder.record(
                    StoredRange(
                        table, at: HostOffset(place * sectorSize), count: grains.tableSize, start: start,
                        covered: grains.tableCoverage))
                let earlier = recorder.record(
                    table, at: HostOffset(place * sectorSize), count: grains.tableSize
                ) { _, earlier in grains.isCompressed && earlier == table }
                // A stream's tables were met as markers; of another extent, what was walked over once is known.
                guard table == .grainTable, grains.isCompressed || earlier != .grainTable else { return true }
                guard budget >= grains.tableSize else {
                    isIncomplete = true
                    return true
                }
                budget -= grains.tableSize
                isIncomplete =
                    try !recordGrains(ofTableAt: place, start, grains, &grainBudget, in: recorder) || isIncomplete
                return true
            }
        }
        do throws(ImageError) {
            try walk(grains.sector, directory: .grainDirectory, table: .grainTable)
            if let sector = grains.redundantSector {
                try walk(sector, directory: .redundantDirectory, table: .redundantTable)
            }
        } catch {
            recorder.note("\(error)")
        }
        if isIncomplete {
            recorder.note("so many entries name the same tables or grains that not all were walked over")
        }
    }

    /// Records the grains of the grain table at `sector`, of the disk from `start` on; false where `budget`, in bytes, did not allow all.
    private func recordGrains(
        ofTableAt sector: UInt64, _ start: UInt64, _ grains: GrainLayout, _ budget: inout UInt64,
        in recorder: any HostUseRecorder
    ) throws(ImageError) -> Bool {
        var isComplete = true
        let table = StoredGrainTable(
            file, sector: sector, count: grains.tableEntryCount, entrySize: grains.entrySize)
        let covered = grains.grainSize * sectorSize
        try table.visit { (index, word) throws(ImageError) in
            let guest = start &+ index &* covered
            guard case .allocated(let place) = grains.format.grain(word), place <= sectorLimit else { return true }
            let host = HostOffset(place * sectorSize)
            guard host.rawValue < file.size else {
                // One entry, whatever a grain has.
                recorder.record(grains.isCompressed ? .compressed : .data, at: host, count: 1) { _, _ in true }
                return true
            }
            guard grains.isCompressed else {
                // The file may end inside its last grain.
                let count = min(covered, file.size - host.rawValue)
                guard budget >= count else {
                    isComplete = false
                    return false
                }
                budget -= count
                recorder.record(.data, at: host, count: count) { _, _ in false }
                recorder.record(StoredRange(.data, at: host, count: count, start: guest, covered: covered))
                return true
            }
            guard file.size - host.rawValue >= UInt64(StreamMarker.size),
                let marker = try? StreamMarker(
                    parsing: try file.bytes(StreamMarker.size, at: host, of: "grain marker")),
                case .grain(_, let size)? = marker.kind
            else { return true }
            let count = UInt64(StreamMarker.grainHeaderSize) + UInt64(size)
            let held = min(count, file.size - host.rawValue)
            guard budget >= held else {
                isComplete = false
                return false
            }
            budget -= held
            recorder.record(.compressed, at: host, count: count) { _, earlier in earlier == .compressed }
            recorder.record(StoredRange(.compressed, at: host, count: held, start: guest, covered: covered))
            return true
        }
        return isComplete
    }
}
