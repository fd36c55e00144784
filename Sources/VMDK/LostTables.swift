import BlockImage

extension GrainTables {
    /// The most tables that are looked through for an entry: those of 2 TiB in grains of 64 KiB.
    private static let tableLimit = 1 << 16
    /// The most bytes behind the tables that are looked through for data.
    private static let dataLimit: UInt64 = 16 << 20
    /// The bytes of tables that are read at once.
    private static let runSize: UInt64 = 64 << 10

    /// Why what a table without entries has no grain for is not zeros, although there is no copy of the table to tell:
    /// no table has a grain at all, and yet there is data where grains lie; or the file has grains with data that no table
    /// has. Nil where all is well, as in a new disk.
    ///
    /// A writer that ended in the middle of a write leaves one grain like that, and one that kept its tables in memory any
    /// number, but the header says so then.
    func lostTables() -> ImageError? {
        guard missing.area.start < min(missing.area.end, file.size) else { return nil }
        return lostDirectory() ?? strayGrains()
    }

    /// The error where the file has more than one grain with data that no table has. Reads all tables, and where the file
    /// has more room than they use, that. Nil where entries may say that a grain is zeros: writers leave the grains in the
    /// file that they replace so.
    private func strayGrains() -> ImageError? {
        guard case .hosted(hasZeroedGrains: false) = format, compression == nil, !missing.isUnclean,
            directory.count <= Self.tableLimit, let used = try? usedGrains(directory)
        else { return nil }
        let room = (file.size - missing.area.start) / grainSize
        guard room > used + 1 else { return nil }
        if let redundantDirectory, let used = try? usedGrains(redundantDirectory), room <= used + 1 { return nil }
        var check = GrainCheck(
            self, capacity: missing.capacity, start: GuestOffset(0), useCapacity: SpaceUses.defaultCapacity,
            result: CheckResult())
        let areas = [directory, redundantDirectory].compactMap { $0 }.map { directory in
            let size = UInt64(directory.count * directory.entrySize)
            return SpaceUse(
                .directory, at: directory.offset.rawValue / sectorSize, count: (size + sectorSize - 1) / sectorSize)
        }
        guard (try? check.run(areas) { _ in }) != nil, check.result.leaks > 1 else { return nil }
        return ImageError(
            .corrupt, path: file.path, offset: directory.offset,
            "the file has \(counted(check.result.leaks, "grain")) with data that no grain table has, so that a grain "
                + "table without entries may have lost them")
    }

    /// How many grains the tables of `directory` have.
    private func usedGrains(_ directory: TableLocation) throws(ImageError) -> UInt64 {
        var count: UInt64 = 0
        var first = 0
        while first < directory.count {
            let limit = min(TableCache.pageEntries, directory.count - first)
            let entries = try entries(of: directory, from: first, count: limit)
            var index = 0
            while index < entries.count {
                let run = runOfTables(entries, from: index)
                defer { index += max(run, 1) }
                guard run > 0 else { continue }
                let grains = try tables(run, atSector: entries[index])
                count += grains.reduce(0) { $0 + ($1 > 1 ? 1 : 0) }
            }
            first += limit
        }
        return count
    }

    /// The error where no table has a grain. Reads up to the first entry, which most disks have in their first table.
    private func lostDirectory() -> ImageError? {
        var start = missing.area.start
        for directory in [directory, redundantDirectory].compactMap({ $0 }) {
            guard let end = try? endOfEmptyTables(directory) else { return nil }
            start = max(start, end)
        }
        guard let place = try? firstData(from: start, to: min(missing.area.end, file.size)) else { return nil }
        return ImageError(
            .corrupt, path: file.path, offset: directory.offset,
            "the grain directory and its grain tables have no grain, but there is data at \(place), where grains lie: "
                + "their entries were lost")
    }

    /// Where `directory` and its tables, which have no entry, end; nil where one has an entry, or there are too many.
    private func endOfEmptyTables(_ directory: TableLocation) throws(ImageError) -> UInt64? {
        var end = directory.offset.rawValue + UInt64(directory.count * directory.entrySize)
        var tablesLeft = Self.tableLimit
        var first = 0
        while first < directory.count {
            let count = min(TableCache.pageEntries, directory.count - first)
            let offset = directory.offset.advanced(by: UInt64(first * directory.entrySize))
            let hole = file.run(at: offset, limit: UInt64(count * directory.entrySize))
            defer { first += count }
            if hole.isHole, hole.count >= UInt64(count * directory.entrySize) { continue }
            let entries = try entries(of: directory, from: first, count: count)
            for (index, entry) in entries.enumerated() where entry != 0 {
                guard tablesLeft > 0, let table = try? table(first + index, entry: entry, of: directory) else {
                    return nil
                }
                tablesLeft -= 1
                let size = UInt64(table.count * table.entrySize)
                end = max(end, table.offset.rawValue + size)
                let run = file.run(at: table.offset, limit: size)
                if run.isHole, run.count >= size { continue }
                guard try self.entries(of: table, from: 0, count: table.count).allSatisfy({ $0 == 0 }) else {
                    return nil
                }
            }
        }
        return end
    }

    /// How many grain tables lie one behind another in the file by `entries` of a directory, from the entry `index` on, at
    /// most as many as are read at once; 0 where that entry leads to none in the file. Only for hosted extents.
    func runOfTables(_ entries: [UInt64], from index: Int) -> Int {
        let size = UInt64(tableEntryCount * format.entrySize)
        let first = entries[index]
        guard first != 0, first * sectorSize < file.size, file.size - first * sectorSize >= size else { return 0 }
        guard size % sectorSize == 0 else { return 1 }
        // Entries have 32 bits.
        let limit = Int(min(max(Self.runSize / size, 1), (file.size - first * sectorSize) / size))
        var count = 1
        while count < limit, index + count < entries.count,
            entries[index + count] == first + UInt64(count) * (size / sectorSize)
        { count += 1 }
        return count
    }

    /// The entries of the `count` grain tables from `sector` on, which lie in the file; of those in a hole none.
    func tables(_ count: Int, atSector sector: UInt64) throws(ImageError) -> [UInt64] {
        let table = format.table(in: file, sector: sector, count: count * tableEntryCount, name: "grain table")
        let size = UInt64(table.count * table.entrySize)
        let run = file.run(at: table.offset, limit: size)
        if run.isHole, run.count >= size { return [] }
        return try entries(of: table, from: 0, count: table.count)
    }

    /// The first place from `start` up to `end` of the file, in steps of a sector, that is not zeros.
    private func firstData(from start: UInt64, to end: UInt64) throws(ImageError) -> HostOffset? {
        var position = start
        var left = Self.dataLimit
        let buffer = AlignedBuffer(capacity: 1 << 16)
        while position < end, left > 0 {
            let run = file.run(at: HostOffset(position), limit: end - position)
            guard !run.isHole else {
                position += max(run.count, 1)
                continue
            }
            let count = min(run.count, 1 << 16, end - position, left)
            try buffer.fill(Int(count)) { output throws(ImageError) in
                try file.read(Int(count), at: HostOffset(position), into: &output)
            }
            if let index = buffer.array.firstIndex(where: { $0 != 0 }) {
                return HostOffset(position + UInt64(index) / sectorSize * sectorSize)
            }
            position += count
            left -= count
        }
        return nil
    }

    /// Whether the file was cut inside its last grain: it does not end with a sector, or a grain lies past the end of the file.
    func isCut() -> Bool {
        if file.size % sectorSize != 0 { return true }
        var tablesLeft = Self.tableLimit
        var first = 0
        while first < directory.count, tablesLeft > 0 {
            let count = min(TableCache.pageEntries, directory.count - first)
            guard let entries = try? entries(of: directory, from: first, count: count) else { return true }
            for (index, entry) in entries.enumerated() where entry != 0 {
                tablesLeft -= 1
                guard tablesLeft > 0 else { break }
                guard let table = try? table(first + index, entry: entry, of: directory),
                    let grains = try? self.entries(of: table, from: 0, count: table.count)
                else { return true }
                let isBehind = grains.contains { entry in
                    if case .allocated(let sector) = format.grain(entry) {
                        sector * sectorSize >= file.size
                    } else {
                        false
                    }
                }
                if isBehind { return true }
            }
            first += count
        }
        return false
    }
}
