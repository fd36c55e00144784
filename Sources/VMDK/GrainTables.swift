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
    /// What is known of grains that the tables do not have.
    let missing: MissingGrains
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
        if tables[first] != 0 {
            let place = try grainTable(directoryIndex, entry: tables[first], at: grainIndex(at: offset))
            return try grainRun(at: offset, limit: limit, directoryIndex: directoryIndex, place)
        }
        // The redundant directory has its entries in the same pages.
        let copies = try redundantPage(at: directoryIndex)
        if let place = try copyOfMissingTable(directoryIndex, copies, at: offset) {
            return try grainRun(at: offset, limit: limit, directoryIndex: directoryIndex, place)
        }
        let end = tables.index(after: first, within: directory.count - directoryIndex) { index, _ in
            let hasCopy = copies.map { index < $0.entries.count && $0.entries[index] != 0 } ?? false
            return tables[index] == 0 && !hasCopy && UInt64(index - first) * tableCoverage < limit
        }
        // Not beyond the last table's end, which is less than 2^63 + 2^42.
        let covered = UInt64(directoryIndex + end - first) * tableCoverage - offset
        return try absentRun(at: offset, count: min(limit, covered), isTableEmpty: true) { () throws(ImageError) in
            try lastGrain(upTo: directoryIndex - 1)
        }
    }

    /// The index, in its grain table, of the grain at `offset`.
    private func grainIndex(at offset: UInt64) -> Int { Int(offset % tableCoverage / grainSize) }

    /// Throws why the start of the grain directory cannot be read.
    func readDirectory() throws(ImageError) {
        _ = try directoryPage(at: 0)
    }

    /// The run of grains from `offset` of the extent on, which all stand in the grain table `place`.
    private func grainRun(
        at offset: UInt64, limit: UInt64, directoryIndex: Int, _ place: PlacedTable
    ) throws(ImageError) -> SparseExtent.Run {
        let index = grainIndex(at: offset)
        let skipped = offset % grainSize
        let (table, stored, first) = place
        // A table lies in one page, so that all of it is here.
        let copy = stored[first] == 0 ? try differences(place, directoryIndex) : nil
        let grains = copy?.entries ?? stored
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
            if let copy, copy.conflicts.contains(first) {
                throw ImageError(
                    .corrupt, path: file.path, offset: table.offset(of: index),
                    "\(subject()): is 0, but the redundant grain table has a grain there, and the two tables differ "
                        + "elsewhere too, so that it cannot be known which is right")
            }
            let end = grains.index(after: first, within: tableEntryCount - index) { next, covered in
                format.grain(grains[next]) == start && covered * grainSize - skipped < limit
                    && copy?.conflicts.contains(next) != true
            }
            if start == .zeroed { return (count(upTo: end), .zero(explicit: true)) }
            return try absentRun(
                at: offset, count: count(upTo: end), isTableEmpty: grains.allSatisfy { $0 == 0 }
            ) { () throws(ImageError) in
                if let last = lastGrain(in: grains[..<first], directoryIndex) { return last }
                return try lastGrain(upTo: directoryIndex - 1)
            }
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
            guard host < file.size else {
                return (count(upTo: end), try restOfLastGrain(at: host, subject(), table.offset(of: index)))
            }
            return (min(count(upTo: end), file.size - host), .data(file: file, offset: HostOffset(host)))
        }
    }
}

extension GrainTables {
    /// A table's entries from the page that holds the one that was asked for, and that one's index in them.
    typealias Page = (entries: [UInt64], index: Int)
    /// The same of a grain table, with where it lies.
    typealias PlacedTable = (table: TableLocation, entries: [UInt64], index: Int)

    /// The page of the grain directory that holds its entry `index`; of the redundant one where the first cannot be
    /// read.
    func directoryPage(at index: Int) throws(ImageError) -> Page {
        do throws(ImageError) {
            return try page(of: directory, at: index)
        } catch {
            guard let redundantDirectory, !error.isTransient,
                let page = try unlessTransient({ () throws(ImageError) in try page(of: redundantDirectory, at: index) })
            else { throw error }
            findings.add("\(error); the redundant grain directory is read instead")
            return page
        }
    }

    /// The page of the redundant grain directory that holds its entry `index`; nil where there is none in the file.
    private func redundantPage(at index: Int) throws(ImageError) -> Page? {
        guard let redundantDirectory else { return nil }
        return try unlessDamaged { () throws(ImageError) in try page(of: redundantDirectory, at: index) }
    }

    /// The grain table of the grain at `offset`; nil where no directory has one.
    func place(at offset: UInt64) throws(ImageError) -> PlacedTable? {
        let directoryIndex = Int(offset / tableCoverage)
        let (tables, first) = try directoryPage(at: directoryIndex)
        if tables[first] != 0 {
            return try grainTable(directoryIndex, entry: tables[first], at: grainIndex(at: offset))
        }
        return try copyOfMissingTable(directoryIndex, try redundantPage(at: directoryIndex), at: offset)
    }

    /// The grain table that the directory's `entry` names, and its page that holds the entry `index`.
    ///
    /// Where that is no table in the file, or cannot be read, the redundant directory's entry is taken instead, if that
    /// leads to one.
    private func grainTable(
        _ directoryIndex: Int, entry: UInt64, at index: Int
    ) throws(ImageError) -> PlacedTable {
        do throws(ImageError) {
            let table = try self.table(directoryIndex, entry: entry, of: directory)
            let page = try page(of: table, at: index)
            return (table, page.entries, page.index)
        } catch {
            guard !error.isTransient,
                let copy = try unlessTransient({ () throws(ImageError) in
                    try redundantTable(directoryIndex, at: index)
                }) ?? nil
            else { throw error }
            findings.add("\(error); the grain table of the redundant grain directory is read instead")
            return copy
        }
    }

    /// The grain table that the redundant directory names, and its page that holds the entry `index`; throws where there is
    /// none.
    private func redundantTable(_ directoryIndex: Int, at index: Int) throws(ImageError) -> PlacedTable? {
        guard let redundantDirectory else { return nil }
        let tables = try page(of: redundantDirectory, at: directoryIndex)
        guard tables.entries[tables.index] != 0 else { return nil }
        let table = try self.table(directoryIndex, entry: tables.entries[tables.index], of: redundantDirectory)
        let page = try page(of: table, at: index)
        return (table, page.entries, page.index)
    }

    /// The table that `copies`, the page of the redundant directory, leads to, where the first directory has none at all;
    /// nil where that is none in the file, or has no grain.
    private func copyOfMissingTable(
        _ directoryIndex: Int, _ copies: Page?, at offset: UInt64
    ) throws(ImageError) -> PlacedTable? {
        guard let copies, copies.entries[copies.index] != 0,
            let place = try unlessDamaged({ () throws(ImageError) in
                try redundantTable(directoryIndex, at: grainIndex(at: offset))
            }) ?? nil, place.entries.contains(where: { $0 != 0 })
        else { return nil }
        findings.add(
            "\(path: file.path): at \(directory.offset(of: directoryIndex)): grain directory entry \(directoryIndex): is 0, but "
                + "the redundant grain directory has a grain table with grains there, which is read instead")
        return place
    }

    /// Takes note of which redundant tables from this one on, as far as they lie one after another, are empty: tables
    /// of parts of a disk that were never written to are most of all, and are not read one by one.
    private func noteEmptyCopies(_ directory: Page, _ directoryIndex: Int, for place: PlacedTable) {
        let first = format.tableSector(directory.entries[directory.index]).map { HostOffset($0 &* sectorSize) }
        guard let first, !missing.compared.isKnown(place.table.offset, first), place.entries.allSatisfy({ $0 == 0 })
        else { return }
        let count = runOfTables(directory.entries, from: directory.index)
        // Where the host cannot read all of them, the one that is needed is read by itself.
        guard count > 0, let entries = try? tables(count, atSector: directory.entries[directory.index]) else { return }
        for number in 0..<count {
            let table = entries.dropFirst(number * tableEntryCount).prefix(tableEntryCount)
            if table.allSatisfy({ $0 == 0 }) { missing.compared.insert(directoryIndex + number) }
        }
    }

    /// What the redundant grain table has and the one at `place`, with this index, has not; nil where there is nothing.
    func differences(_ place: PlacedTable, _ directoryIndex: Int) throws(ImageError) -> ComparedTables? {
        guard !missing.compared.contains(directoryIndex) else { return nil }
        let directory = try redundantPage(at: directoryIndex)
        if let directory { noteEmptyCopies(directory, directoryIndex, for: place) }
        guard !missing.compared.contains(directoryIndex) else { return nil }
        let copy = try unlessDamaged({ () throws(ImageError) in try redundantTable(directoryIndex, at: 0) }) ?? nil
        // What is read because the first table cannot be is no comparison.
        if let copy, copy.table.offset == place.table.offset { return nil }
        let comparison = copy.flatMap { copy in
            missing.compared.comparison(of: place.table.offset, with: copy.table.offset) {
                compared(place.entries, with: copy.entries)
            }
        }
        guard let found = comparison else {
            missing.compared.insert(directoryIndex)
            return nil
        }
        if found.recovered > 0 {
            findings.add(
                "\(path: file.path): grain table \(directoryIndex): lacks \(counted(found.recovered, "entry", "entries")) that the "
                    + "redundant one has, which is the same otherwise and is read instead")
        }
        return found
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

    /// The entry of the grain `index` of the extent in the first tables; 0 where they have none.
    func entry(ofGrain index: UInt64) throws(ImageError) -> UInt64 {
        let directoryIndex = Int(index / UInt64(tableEntryCount))
        let (tables, first) = try directoryPage(at: directoryIndex)
        guard tables[first] != 0 else { return 0 }
        let place = try grainTable(directoryIndex, entry: tables[first], at: Int(index % UInt64(tableEntryCount)))
        return place.entries[place.index]
    }

    private func page(of table: TableLocation, at index: Int) throws(ImageError) -> Page {
        let found = try resources.tables.page(of: table, at: index, counters: resources.counters)
        return (found.page.entries, found.index)
    }
}

extension GrainTables {
    /// The `count` bytes from `offset` on, all of grains that no table has: what was never written, unless the extent
    /// shows that grains were lost. `isTableEmpty`: whether their tables have no grain at all. `previous` finds the
    /// grain before them.
    private func absentRun(
        at offset: UInt64, count: UInt64, isTableEmpty: @autoclosure () -> Bool,
        previous: () throws(ImageError) -> StreamGaps.PlacedGrain
    ) throws(ImageError) -> SparseExtent.Run {
        guard let gaps = missing.gaps, let compression else {
            if !missing.isSound, isTableEmpty(), let error = try missing.lostTables(of: self) { throw error }
            return (count, .unallocated)
        }
        let grain = offset / grainSize
        let found = try gaps.grains(after: try previous(), of: self)
        guard let next = found.first(where: { $0.index >= grain }) else { return (count, .unallocated) }
        // At most 2^32 grains of 2^22 bytes.
        if next.index > grain { return (min(count, UInt64(next.index) * grainSize - offset), .unallocated) }
        return (min(count, grainSize - offset % grainSize), compression.storage(atSector: UInt64(next.sector)))
    }

    /// The last grain that the first entries of the grain table with this index have; nil where they have none.
    private func lastGrain(in entries: ArraySlice<UInt64>, _ directoryIndex: Int) -> StreamGaps.PlacedGrain? {
        for index in entries.indices.reversed() {
            guard case .allocated(let sector) = format.grain(entries[index]) else { continue }
            return StreamGaps.PlacedGrain(
                index: UInt64(directoryIndex) * UInt64(tableEntryCount) + UInt64(index - entries.startIndex),
                sector: sector)
        }
        return nil
    }

    /// The last grain of the grain table `index` or one before it.
    private func lastGrain(upTo index: Int) throws(ImageError) -> StreamGaps.PlacedGrain {
        guard index >= 0, let gaps = missing.gaps else { return .none }
        return try gaps.lastGrain(upTo: index) { () throws(ImageError) in
            var number = index
            while number >= 0 {
                let (tables, first) = try directoryPage(at: number)
                for place in (0...first).reversed() {
                    defer { number -= 1 }
                    guard tables[place] != 0 else { continue }
                    if let known = try gaps.knownLastGrain(upTo: number) { return known }
                    // Streams have entries of 32 bits.
                    let entries = try gaps.entries(ofTable: number, at: HostOffset(tables[place] * sectorSize)) {
                        () throws(ImageError) in try grainTable(number, entry: tables[place], at: 0).entries
                    }
                    if let found = lastGrain(in: entries[...], number) { return found }
                }
                if number >= 0, let known = try gaps.knownLastGrain(upTo: number) { return known }
            }
            return .none
        }
    }

    /// How what the file lacks of its last grain, from `host` on, is stored: it is lost where the file was cut, and else
    /// what was never written.
    private func restOfLastGrain(
        at host: UInt64, _ subject: String, _ entry: HostOffset
    ) throws(ImageError) -> Extent.Storage {
        let message: ErrorText =
            "\(subject): its grain goes on past \(HostOffset(host)), but the file ends at \(HostOffset(file.size))"
        if try missing.isCut(self) {
            findings.add("\(path: file.path): at \(entry): \(message): the file was cut")
            throw ImageError(.truncated, path: file.path, offset: entry, message)
        }
        findings.add("\(path: file.path): at \(entry): \(message): the rest is read as zeros")
        return .zero(explicit: true)
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
