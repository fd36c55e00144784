import BlockImage

/// The way from a place in an extent to its grain: the grain directory leads to grain tables, and these to the grains.
///
/// Every table lies where the file says, so that each place is checked against the file's end before it is used.
struct GrainTables: Sendable {
    /// The file.
    let file: any HostFile
    /// The size of a grain in bytes, at most 2^30.
    let grainSize: UInt64
    /// How many entries a grain table has, at most 4,096.
    let tableEntryCount: Int
    /// What the entries mean.
    let format: TableFormat
    /// Where the grain directory lies: in the file, as a whole.
    let directory: TableLocation
    /// A second grain directory, with grain tables of its own, for where the first is damaged.
    let redundantDirectory: TableLocation?
    /// How the grains are read if they are compressed; nil where they lie in the file as they are.
    let compression: CompressedGrains?
    let findings: ReadFindings
    let resources: LayerResources

    /// The bytes of the disk that one grain table covers, at most 2^42.
    private var tableCoverage: UInt64 { grainSize * UInt64(tableEntryCount) }

    /// How the extent is stored from its byte `offset` on: at least one byte, at most `limit`, which must both lie
    /// inside it.
    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> SparseExtent.Run {
        // At most 2^25 by the limit on the directory's entries.
        let directoryIndex = Int(offset / tableCoverage)
        let (tables, first) = try directoryPage(at: directoryIndex)
        guard tables[first] != 0 else {
            let end = tables.index(after: first, within: directory.count - directoryIndex) { index, _ in
                tables[index] == 0 && UInt64(index - first) * tableCoverage < limit
            }
            // Not beyond the last table's end, which is less than 2^63 + 2^42.
            let covered = UInt64(directoryIndex + end - first) * tableCoverage - offset
            return (min(limit, covered), .unallocated)
        }
        return try grainRun(at: offset, limit: limit, directoryIndex: directoryIndex, entry: tables[first])
    }

    /// Throws why the start of the grain directory cannot be read.
    func readDirectory() throws(ImageError) {
        _ = try directoryPage(at: 0)
    }

    /// The run of grains from `offset` of the extent on, which all stand in the grain table that `entry` of the
    /// directory names.
    private func grainRun(
        at offset: UInt64, limit: UInt64, directoryIndex: Int, entry: UInt64
    ) throws(ImageError) -> SparseExtent.Run {
        let index = Int(offset % tableCoverage / grainSize)
        let skipped = offset % grainSize
        let (table, grains, first) = try grainTable(directoryIndex, entry: entry, at: index)
        /// The bytes of the grains from the first up to `end` that are asked for.
        func count(upTo end: Int) -> UInt64 { min(limit, UInt64(end - first) * grainSize - skipped) }
        func subject() -> String { "grain table \(directoryIndex), entry \(index)" }

        let start = format.grain(grains[first])
        switch start {
        case .invalid:
            throw ImageError(
                .corrupt, path: file.path, offset: table.offset(of: index),
                "\(subject()): \(format.grainFault(grains[first]))")
        case .unallocated, .zeroed:
            let end = grains.index(after: first, within: tableEntryCount - index) { next, covered in
                format.grain(grains[next]) == start && covered * grainSize - skipped < limit
            }
            return (count(upTo: end), start == .zeroed ? .zero(explicit: true) : .unallocated)
        case .allocated(let sector):
            // A sector is less than 2^54 and a table covers at most 2^33 of them, so that no sum below leaves 64 bits.
            let hostStart = sector * sectorSize
            guard hostStart < file.size else {
                throw ImageError(
                    .truncated, path: file.path, offset: table.offset(of: index),
                    "\(subject()): points to a grain at \(HostOffset(hostStart)), "
                        + "which must lie in the file, but that ends at \(HostOffset(file.size))")
            }
            if let compression { return (count(upTo: first + 1), compression.storage(atSector: sector)) }
            let end = grains.index(after: first, within: tableEntryCount - index) { next, covered in
                let expected = sector + covered * (grainSize / sectorSize)
                return format.grain(grains[next]) == .allocated(sector: expected)
                    && expected * sectorSize < file.size && covered * grainSize - skipped < limit
            }
            let host = hostStart + skipped
            // The last grain of a file may be cut short; the rest of it is zeros.
            guard host < file.size else { return (count(upTo: end), .zero(explicit: true)) }
            return (min(count(upTo: end), file.size - host), .data(file: file, offset: HostOffset(host)))
        }
    }
}

extension GrainTables {
    /// A table's entries from the page that holds the one that was asked for, and that one's index in them.
    private typealias Page = (entries: [UInt64], index: Int)

    /// The page of the grain directory that holds its entry `index`; of the redundant one where the first cannot be
    /// read.
    private func directoryPage(at index: Int) throws(ImageError) -> Page {
        do throws(ImageError) {
            return try page(of: directory, at: index)
        } catch {
            guard let redundantDirectory, let page = try? page(of: redundantDirectory, at: index) else { throw error }
            findings.add("\(error); the redundant grain directory is read instead")
            return page
        }
    }

    /// The grain table that the directory's `entry` names, and its page that holds the entry `index`.
    ///
    /// Where that is no table in the file, or cannot be read, the redundant directory's entry is taken instead, if that
    /// leads to one.
    private func grainTable(
        _ directoryIndex: Int, entry: UInt64, at index: Int
    ) throws(ImageError) -> (TableLocation, [UInt64], Int) {
        do throws(ImageError) {
            let table = try self.table(directoryIndex, entry: entry, of: directory)
            let page = try page(of: table, at: index)
            return (table, page.entries, page.index)
        } catch {
            guard let redundantDirectory, let tables = try? page(of: redundantDirectory, at: directoryIndex),
                tables.entries[tables.index] != 0,
                let table = try? self.table(
                    directoryIndex, entry: tables.entries[tables.index], of: redundantDirectory),
                let page = try? page(of: table, at: index)
            else { throw error }
            findings.add("\(error); the grain table of the redundant grain directory is read instead")
            return (table, page.entries, page.index)
        }
    }

    /// Where the grain table lies that the `entry` with this index of `directory` names; throws where it does not lie
    /// in the file.
    func table(
        _ directoryIndex: Int, entry: UInt64, of directory: TableLocation
    ) throws(ImageError) -> TableLocation {
        guard let sector = format.tableSector(entry) else {
            throw ImageError(
                .corrupt, path: file.path, offset: directory.offset(of: directoryIndex),
                "grain directory entry \(directoryIndex): \(format.tableFault(entry))")
        }
        let table = format.table(in: file, sector: sector, count: tableEntryCount, name: "grain table")
        guard table.offset.rawValue + UInt64(tableEntryCount * format.entrySize) <= file.size else {
            throw ImageError(
                .truncated, path: file.path, offset: directory.offset(of: directoryIndex),
                "grain directory entry \(directoryIndex): points to a grain table at \(table.offset), "
                    + "which must lie in the file, but that ends at \(HostOffset(file.size))")
        }
        return table
    }

    private func page(of table: TableLocation, at index: Int) throws(ImageError) -> Page {
        let found = try resources.tables.page(of: table, at: index, counters: resources.counters)
        return (found.page.entries, found.index)
    }
}

extension TableLocation {
    /// Where the entry `index` lies in the file.
    fileprivate func offset(of index: Int) -> HostOffset {
        offset.advanced(by: UInt64(index * entrySize))
    }
}

extension [UInt64] {
    /// The end of the run that begins at `first`: the first later index that does not belong to it, which `belongs`
    /// says of an index and of how many entries come before it in the run. At most `limit` entries are in the run.
    fileprivate func index(after first: Int, within limit: Int, belongs: (Int, UInt64) -> Bool) -> Int {
        let last = Swift.min(count, first + limit)
        var next = first + 1
        while next < last, belongs(next, UInt64(next - first)) { next += 1 }
        return next
    }
}
