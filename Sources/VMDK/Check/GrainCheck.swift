import BlockImage
import ByteFormat

/// A check of one extent in grains, while it runs.
struct GrainCheck {
    /// The entries of grain tables beyond those that the file's own bytes can hold that are looked at, at most: as many
    /// again, but at least 2^21 and at most 2^24. The tables of a hostile image can overlap each other.
    static let entryLimits: ClosedRange<UInt64> = 1 << 21...UInt64(Image.walkLimit)

    let tables: GrainTables
    /// The size of the extent in bytes.
    let capacity: UInt64
    /// Where it begins on the disk.
    let start: GuestOffset
    var result: CheckResult
    private var uses: SpaceUses
    private var isFirst = true
    private var entriesLeft: UInt64 = 0
    private var space = UnusedSpace()
    /// The entries of the directory, and those of the redundant one, whose tables were read in this pass: a hostile
    /// directory can name one grain table again and again. Of a table that is named again with another copy, the two are
    /// not compared: that it is shared is reported anyway.
    private var known = (first: KnownEntries(), redundant: KnownEntries())

    init(_ tables: GrainTables, capacity: UInt64, start: GuestOffset, useCapacity: Int, result: CheckResult) {
        self.tables = tables
        self.capacity = capacity
        self.start = start
        self.result = result
        uses = SpaceUses(capacity: useCapacity)
    }

    private var file: any HostFile { tables.file }
    private var path: String { tables.file.path }
    private var tableSectors: UInt64 {
        (UInt64(tables.tableEntryCount * tables.format.entrySize) + sectorSize - 1) / sectorSize
    }

    /// Checks all tables, and that nothing lies where something else does; `areas` are those that the header names.
    ///
    /// Throws `unsupported` where the tables name each other too often, and what reading the file throws.
    mutating func run(_ areas: [SpaceUse], progress: (Double) -> Void) throws(ImageError) {
        repeat {
            let size = UInt64(tables.format.entrySize)
            entriesLeft = file.allocatedSize / size
            entriesLeft += min(max(file.size / size, Self.entryLimits.lowerBound), Self.entryLimits.upperBound)
            known = (KnownEntries(), KnownEntries())
            for area in areas { uses.add(area) }
            try walkDirectory(progress)
            isFirst = false
            var found: [CheckFinding] = []
            var count: UInt64 = 0
            let path = path
            let base = start
            func addOverlap(_ use: SpaceUse, _ other: SpaceUse) {
                count += 1
                guard found.count < CheckResult.findingLimit else { return }
                let place = HostOffset(use.start * sectorSize)
                let isSame = use.start == other.start && use.user == other.user && use.more > 0
                let fault =
                    isSame
                    ? "\(use.more + 1) of this kind begin at \(place)"
                    : "begins at \(place), inside \(other.text), which ends at \(HostOffset(other.end * sectorSize))"
                found.append(
                    CheckFinding(
                        .overlap, .corruption, path: path, at: place,
                        guest: use.user == .grain ? base.advanced(by: use.number - base.rawValue) : nil,
                        times: isSame ? UInt64(use.more) : 1, "\(use.text): \(fault)"))
            }
            uses.finishPass(overlap: addOverlap, gap: { space.add($0) })
            for finding in found { result.add(finding) }
            if count > UInt64(found.count) {
                result.add(
                    CheckFinding(
                        .overlap, .corruption, path: path, times: count - UInt64(found.count), "more that overlaps"))
            }
        } while uses.lower != .max
        // What a stream has that its tables do not is found by its markers.
        guard tables.compression == nil else { return }
        // What was discarded from an seSparse extent stays in its grains.
        if case .seSparse = tables.format {
        } else {
            // What lies past the last used sector of a device was there before the image, most likely.
            if !file.isDevice { space.add(uses.end..<max(uses.end, file.sectorCount)) }
            if let finding = try space.finding(of: tables) { result.add(finding) }
        }
    }

    private mutating func walkDirectory(_ progress: (Double) -> Void) throws(ImageError) {
        let step = 4096
        var first = 0
        while first < tables.directory.count {
            progress(Double(first) / Double(tables.directory.count))
            try ReadScope.checkWanted()
            let count = min(step, tables.directory.count - first)
            let entries = try tables.directoryEntries(of: tables.directory, from: first, count: count)
            let redundant = try tables.redundantDirectory.map { directory throws(ImageError) in
                try tables.directoryEntries(of: directory, from: first, count: count)
            }
            for index in 0..<count { try walk(entries[index], redundant?[index], first + index) }
            first += count
        }
    }

    /// Walks over the grain table that `entry`, with this number, of the grain directory names, once however many name it,
    /// and compares it with the one that the entry `redundant` names.
    private mutating func walk(_ entry: UInt64, _ redundant: UInt64?, _ number: Int) throws(ImageError) {
        let first = place(ofTable: entry, number, of: tables.directory)
        let second = tables.redundantDirectory.flatMap { directory in
            redundant.flatMap { place(ofTable: $0, number, of: directory) }
        }
        let isNew = first != nil && known.first.insert(entry)
        let isNewCopy = second != nil && known.redundant.insert(redundant ?? 0)
        var (table, copy): ([UInt64]?, [UInt64]?)
        if isNew || isNewCopy {
            table = try first.map { table throws(ImageError) in try read(table, number) }
            copy = try second.map { table throws(ImageError) in try read(table, number) }
        }
        if isFirst, let redundant { compare(table, copy, number, (entry, redundant)) }
        guard isNew || first == nil && isNewCopy else { return }
        if let entries = tables.completed(table, with: copy) { try walk(entries, number) }
    }

    /// Where the grain table lies that `entry` of `directory` names; nil where it names none, or none in the file.
    private mutating func place(ofTable entry: UInt64, _ number: Int, of directory: TableLocation) -> TableLocation? {
        guard entry != 0 else { return nil }
        let isRedundant = directory.offset != tables.directory.offset
        let table: TableLocation
        do throws(ImageError) {
            table = try tables.table(number, entry: entry, of: directory)
        } catch {
            guard isFirst else { return nil }
            let place = directory.offset.advanced(by: UInt64(number * directory.entrySize))
            let guest = start.advanced(by: UInt64(number) * tables.grainSize * UInt64(tables.tableEntryCount))
            let kind: CheckFinding.Kind = isRedundant ? .redundancy : error.code == .truncated ? .outOfFile : .entry
            let path = path
            result.add(kind, .corruption, at: place) {
                CheckFinding(
                    kind, .corruption, path: path, at: place, guest: guest,
                    "\(isRedundant ? "redundant " : "")grain directory entry \(number) at \(place): \(error.detail)")
            }
            return nil
        }
        uses.add(
            SpaceUse(
                isRedundant ? .redundantTable : .table, at: table.offset.rawValue / sectorSize, count: tableSectors,
                number: UInt64(number)))
        return table
    }

    /// The entries of `table`, which the directory entry with this number names; none where it lies in a hole.
    private mutating func read(_ table: TableLocation, _ number: Int) throws(ImageError) -> [UInt64] {
        let size = UInt64(table.count * table.entrySize)
        let run = file.run(at: table.offset, limit: size)
        if run.isHole, run.count >= size { return [] }
        guard entriesLeft >= UInt64(table.count) else {
            throw ImageError(
                .unsupported, path: file.path, offset: table.offset,
                "grain directory entry \(number): the grain tables have more entries together than fit into the file: "
                    + "not checked")
        }
        entriesLeft -= UInt64(table.count)
        return try tables.tableEntries(number, table)
    }

    /// Compares the two grain tables of one place of the disk.
    private mutating func compare(
        _ table: [UInt64]?, _ copy: [UInt64]?, _ number: Int, _ entries: (UInt64, UInt64)
    ) {
        func add(_ fault: @autoclosure () -> ErrorText, entry: Int = 0) {
            let guest = start.advanced(by: UInt64(number * tables.tableEntryCount + entry) * tables.grainSize)
            let path = path
            result.add(.redundancy, .corruption) {
                CheckFinding(
                    .redundancy, .corruption, path: path, guest: guest, "grain directory entry \(number): \(fault())")
            }
        }
        guard (entries.0 == 0) == (entries.1 == 0) else {
            return add("is \(entries.0), but that of the redundant grain directory is \(entries.1)")
        }
        guard let table, let copy else { return }
        let count = max(table.count, copy.count)
        func value(_ table: [UInt64], _ index: Int) -> UInt64 { index < table.count ? table[index] : 0 }
        let different = (0..<count).filter { value(table, $0) != value(copy, $0) }
        guard let first = different.first else { return }
        add(
            "its grain table and the redundant one differ in \(counted(different.count, "entry", "entries")); "
                + "entry \(first) is \(value(table, first)) and \(value(copy, first))", entry: first)
    }

    private mutating func walk(_ table: [UInt64], _ number: Int) throws(ImageError) {
        for (index, entry) in table.enumerated() where entry != 0 {
            // At most 2^25 tables that cover 2^42 bytes each: less than 2^63 + 2^42, as the capacity is.
            let offset = (UInt64(number) * UInt64(tables.tableEntryCount) + UInt64(index)) * tables.grainSize
            guard offset < capacity else { return }
            try judge(entry, index, number, offset)
        }
    }

    private mutating func judge(_ entry: UInt64, _ index: Int, _ number: Int, _ offset: UInt64) throws(ImageError) {
        let guest = start.advanced(by: offset)
        let path = path
        func add(
            _ kind: CheckFinding.Kind, as severity: CheckFinding.Severity = .corruption, at place: HostOffset? = nil,
            _ fault: @autoclosure () -> ErrorText
        ) {
            guard isFirst else { return }
            result.add(kind, severity, in: UInt64(number), at: place) {
                CheckFinding(
                    kind, severity, path: path, at: place, guest: guest,
                    "grain table \(number), entry \(index) (guest offset \(guest)): \(fault())")
            }
        }
        let format = tables.format
        let end = HostOffset(file.size)
        switch format.grain(entry) {
        case .unallocated, .zeroed: break
        case .invalid: add(.entry, "\(format.grainFault(entry))")
        case .allocated(let sector):
            let place = HostOffset(sector * sectorSize)
            guard place < end else {
                return add(.outOfFile, at: place, "points to a grain at \(place), but the file ends at \(end)")
            }
            var size = min(tables.grainSize, capacity - offset)
            if tables.compression == nil, isFirst, size > end.rawValue - place.rawValue {
                // Where the file was not cut, the rest was never written, and is read as zeros.
                let isCut = try tables.missing.isCut(tables)
                add(
                    .outOfFile, as: isCut ? .corruption : .warning, at: end,
                    "its \(size) bytes at \(place) are cut by the end of the file at \(end)"
                        + (isCut ? "" : "; the rest is read as zeros"))
            }
            if let compression = tables.compression {
                do throws(ImageError) {
                    size = UInt64(try compression.dataSize(ofGrain: offset / tables.grainSize, at: place))
                    size += UInt64(StreamMarker.grainHeaderSize)
                } catch {
                    if case .system = error.code { throw error }
                    return add(.marker, at: place, error.detail)
                }
            }
            let sectors = (size + sectorSize - 1) / sectorSize
            uses.add(SpaceUse(.grain, at: sector, count: sectors, number: guest.rawValue))
        }
    }
}

extension GrainTables {
    /// The `count` entries of the grain directory `table` from `first` on, all of which lie in the file. Where the host
    /// cannot read them, the error says what they are.
    func directoryEntries(
        of table: TableLocation, from first: Int, count: Int
    ) throws(ImageError) -> [UInt64] {
        try naming(table.name, at: table.offset) { () throws(ImageError) in
            try entries(of: table, from: first, count: count)
        }
    }

    /// The entries of the grain table `table` with this number, likewise.
    func tableEntries(_ number: Int, _ table: TableLocation) throws(ImageError) -> [UInt64] {
        try naming("grain table \(number)", at: table.offset) { () throws(ImageError) in
            try entries(of: table, from: 0, count: table.count)
        }
    }

    /// The `count` entries of `table` from `first` on, all of which lie in the file.
    func entries(of table: TableLocation, from first: Int, count: Int) throws(ImageError) -> [UInt64] {
        let bytes = count * table.entrySize
        let buffer = AlignedBuffer(capacity: bytes, alignment: 64)
        let offset = table.offset.advanced(by: UInt64(first * table.entrySize))
        try buffer.fill(bytes) { output throws(ImageError) in try file.read(bytes, at: offset, into: &output) }
        return table.decode(buffer.bytes)
    }
}
