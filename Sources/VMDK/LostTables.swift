import BlockImage

extension GrainTables {
    /// The most tables that are looked through for an entry: those of 2 TiB in grains of 64 KiB.
    private static let tableLimit = 1 << 16
    /// The most bytes after the tables that are looked through for data.
    private static let dataLimit: UInt64 = 16 << 20
    /// The bytes of tables that are read at once.
    private static let runSize: UInt64 = 64 << 10

    /// The most grains without an entry that a sound extent is taken to have: a writer that is killed leaves one each time.
    private static let leakLimit: UInt64 = 16

    /// Why what a table without entries has no grain for is not zeros, although there is no copy of the table that says
    /// so: no table has a grain at all, and yet there is data where grains lie; or the file has grains with data that
    /// no table has. Nil where all is well, as in a new disk.
    ///
    /// Reads up to all tables, and where the file has more grains than they use, the space between these. Throws what the
    /// host throws: then nothing is known.
    func lostTables() throws(ImageError) -> ImageError? {
        guard missing.area.start < min(missing.area.end, file.size) else { return nil }
        // What lies past the last grain of a device need not be the image's.
        if !file.isDevice, let error = try lostDirectory() { return error }
        return try strayGrains()
    }

    /// The error where the file has grains with data that no table has, and these may be those of a table that was lost.
    /// Nil where entries may say that a grain is zeros: writers leave the grains in the file that they replace so.
    ///
    /// A writer that ends in the middle of a write leaves one grain like that each time, and one that keeps its tables in
    /// memory any number, but the header says so then. These are noted. They are more where a table was lost, or there is
    /// no copy of it that would say so, or it did not get lost alone.
    private func strayGrains() throws(ImageError) -> ImageError? {
        guard case .hosted(hasZeroedGrains: false) = format, compression == nil, !missing.isUnclean,
            directory.count <= Self.tableLimit
        else { return nil }
        // A table cannot lack more than one grain where the file has no more than that besides those that are used.
        let stored = (file.size - missing.area.start) / grainSize
        guard stored > 1 else { return nil }
        for directory in [directory, redundantDirectory].compactMap({ $0 }) {
            let isFull = try unlessDamaged { () throws(ImageError) in try hasGrains(directory, count: stored - 1) }
            if isFull == true { return nil }
        }
        var check = GrainCheck(
            self, capacity: missing.capacity, start: GuestOffset(0), useCapacity: SpaceUses.defaultCapacity,
            result: CheckResult())
        let areas = [directory, redundantDirectory].compactMap { $0 }.map { directory in
            let size = UInt64(directory.count * directory.entrySize)
            return SpaceUse(
                .directory, at: directory.offset.rawValue / sectorSize, count: (size + sectorSize - 1) / sectorSize)
        }
        let isChecked = try unlessDamaged { () throws(ImageError) in
            try check.run(areas) { _ in }
            return true
        }
        let count = check.result.leaks
        guard isChecked == true, count > 1 else { return nil }
        let fault = "the file has \(counted(count, "grain")) with data that no grain table has"
        guard redundantDirectory == nil || check.result.corruptions > 0 || count > Self.leakLimit else {
            findings.add(
                "\(path: file.path): at \(directory.offset): \(fault): its writer was killed, most likely; grains without an "
                    + "entry are read as zeros")
            return nil
        }
        return ImageError(
            .corrupt, path: file.path, offset: directory.offset,
            "\(fault), so that a grain table without entries may have lost them")
    }

    /// Whether the tables of `directory` have `count` grains or more. Reads no further than that.
    private func hasGrains(_ directory: TableLocation, count: UInt64) throws(ImageError) -> Bool {
        var left = count
        var first = 0
        var known = KnownEntries()
        while first < directory.count {
            try ReadScope.checkWanted()
            let limit = min(TableCache.pageEntries, directory.count - first)
            let entries = try directoryEntries(of: directory, from: first, count: limit)
            var index = 0
            while index < entries.count {
                let run = runOfTables(entries, from: index)
                defer { index += max(run, 1) }
                guard run > 0, known.insert(entries[index]) else { continue }
                let grains = try grains(ofTables: run, from: first + index, atSector: entries[index])
                let found = grains.reduce(UInt64(0)) { $0 + ($1 > 1 ? 1 : 0) }
                if found >= left { return true }
                left -= found
            }
            first += limit
        }
        return false
    }

    /// The error where no table has a grain. Reads up to the first entry, which most disks have in their first table.
    private func lostDirectory() throws(ImageError) -> ImageError? {
        var start = missing.area.start
        for directory in [directory, redundantDirectory].compactMap({ $0 }) {
            let end = try unlessDamaged { () throws(ImageError) in try endOfEmptyTables(directory) } ?? nil
            guard let end else { return nil }
            start = max(start, end)
        }
        let place =
            try unlessDamaged { () throws(ImageError) in
                try firstData(from: start, to: min(missing.area.end, file.size))
            } ?? nil
        guard let place else { return nil }
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
        var known = KnownEntries()
        while first < directory.count {
            let count = min(TableCache.pageEntries, directory.count - first)
            let offset = directory.offset.advanced(by: UInt64(first * directory.entrySize))
            try ReadScope.checkWanted()
            let hole = file.run(at: offset, limit: UInt64(count * directory.entrySize))
            defer { first += count }
            if hole.isHole, hole.count >= UInt64(count * directory.entrySize) { continue }
            let entries = try directoryEntries(of: directory, from: first, count: count)
            for (index, entry) in entries.enumerated() where entry != 0 {
                guard known.insert(entry) else { continue }
                guard tablesLeft > 0, let table = try? table(first + index, entry: entry, of: directory) else {
                    return nil
                }
                tablesLeft -= 1
                let size = UInt64(table.count * table.entrySize)
                end = max(end, table.offset.rawValue + size)
                let run = file.run(at: table.offset, limit: size)
                if run.isHole, run.count >= size { continue }
                guard try tableEntries(first + index, table).allSatisfy({ $0 == 0 }) else { return nil }
            }
        }
        return end
    }

    /// How many grain tables lie one after another in the file by `entries` of a directory, from the entry `index` on,
    /// at most as many as are read at once; 0 where that entry leads to none in the file. Only for hosted extents.
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

    /// The entries of the `count` grain tables from this number on, which lie one after another from `sector` on. Where
    /// the host cannot read all of them at once, each is read by itself, to know which one it is.
    private func grains(ofTables count: Int, from number: Int, atSector sector: UInt64) throws(ImageError) -> [UInt64] {
        do throws(ImageError) {
            return try tables(count, atSector: sector)
        } catch {
            guard error.isLasting else { throw error }
        }
        let size = UInt64(tableEntryCount * format.entrySize)
        var grains: [UInt64] = []
        for index in 0..<count {
            let place = sector + UInt64(index) * (size / sectorSize)
            grains += try naming("grain table \(number + index)", at: HostOffset(place * sectorSize)) {
                () throws(ImageError) in try tables(1, atSector: place)
            }
        }
        return grains
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
            try naming("data", at: HostOffset(position)) { () throws(ImageError) in
                try buffer.fill(Int(count)) { output throws(ImageError) in
                    try file.read(Int(count), at: HostOffset(position), into: &output)
                }
            }
            if let index = buffer.array.firstIndex(where: { $0 != 0 }) {
                return HostOffset(position + UInt64(index) / sectorSize * sectorSize)
            }
            position += count
            left -= count
        }
        return nil
    }

    /// Whether the file was cut inside its last grain: it does not end with a sector, or a grain lies past the end of the
    /// file. Throws what the host throws.
    func isCut() throws(ImageError) -> Bool {
        if file.size % sectorSize != 0 { return true }
        var tablesLeft = Self.tableLimit
        var first = 0
        var known = KnownEntries()
        while first < directory.count, tablesLeft > 0 {
            try ReadScope.checkWanted()
            let count = min(TableCache.pageEntries, directory.count - first)
            let entries = try unlessDamaged { () throws(ImageError) in
                try directoryEntries(of: directory, from: first, count: count)
            }
            guard let entries else { return true }
            for (index, entry) in entries.enumerated() where entry != 0 && known.insert(entry) {
                tablesLeft -= 1
                guard tablesLeft > 0 else { break }
                let grains = try unlessDamaged { () throws(ImageError) in
                    let table = try table(first + index, entry: entry, of: directory)
                    return try tableEntries(first + index, table)
                }
                guard let grains else { return true }
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
