import BlockImage
import ByteFormat

/// Finds out which table a disk has, and puts together what it says.
struct TableReader {
    let disk: Image
    /// Those that may be meant, the likelier first.
    let sectorSizes: [SectorSize]
    var table = PartitionTable()
    var notes = Notes()

    init(disk: Image, sectorSizes: [SectorSize]) {
        self.disk = disk
        self.sectorSizes = sectorSizes
    }

    /// The table of the disk whose first 512 bytes are `first`.
    consuming func table(afterBootSector first: [UInt8]) -> PartitionTable {
        if let size = sectorSizes.first { table.sectorSize = size }
        let record = BootRecord(first)
        let fileSystem = FileSystemBootSector(first)
        if let record, record.entries.contains(where: \.isProtective) {
            readGPT(under: record, fileSystem: fileSystem)
        } else {
            if let record { readMBR(record, fileSystem: fileSystem) }
            let isForgotten = noteForgottenGPT()
            if !isForgotten, first.allSatisfy({ $0 == 0 }) { readWipedGPT() }
        }
        noteOverlaps()
        noteDynamicDisk()
        noteAppleMap(first)
        table.notes = notes.all
        return table
    }

    // MARK: MBR

    private mutating func readMBR(_ record: BootRecord, fileSystem: FileSystemBootSector?) {
        // Bytes that are no boot indicators are part of some program: Linux goes by that alone.
        guard record.hasBootIndicators else { return }
        let sectors = Sectors(disk: disk, sectorSize: sectorSize(for: record))
        if let fileSystem {
            // A disk that was a file system and was partitioned later keeps that one's parameters, since boot loaders
            // leave them alone; but mkfs.fat --mbr writes an entry that names the whole file system, from sector 0 on.
            let used = record.entries.filter(\.isUsed)
            let isTable =
                !used.isEmpty
                && used.allSatisfy { $0.type != 0 && $0.firstSector > 0 && UInt64($0.firstSector) < sectors.count }
            guard isTable else { return }
            notes.add("sector 0 is an MBR, but also the boot sector of a \(fileSystem.rawValue) file system")
        }
        table.scheme = .mbr
        table.sectorSize = sectors.sectorSize
        if record.diskSignature != 0 { table.diskID = "0x" + hexDigits(record.diskSignature, 8) }
        var chain = LogicalPartitions(sectors: sectors)
        for (index, entry) in record.entries.enumerated() where entry.isUsed {
            guard let partition = place(entry, number: index + 1, after: 0, in: sectors, of: record) else { continue }
            guard entry.isExtended else {
                table.partitions.append(partition)
                continue
            }
            table.extendedPartitions.append(partition)
            // Linux numbers the logical partitions of several extended ones through.
            chain.read(entry, number: index + 1)
        }
        if table.extendedPartitions.count > 1 {
            let count = table.extendedPartitions.count
            notes.add("there are \(count) extended partitions, but an MBR must have one at most")
        }
        for note in chain.notes { notes.add(note) }
        for (index, logical) in chain.found.enumerated() {
            if let partition = place(logical.entry, number: 5 + index, after: logical.base, in: sectors, of: record) {
                table.partitions.append(partition)
            }
        }
        var next = 5 + chain.found.count
        for index in record.entries.indices { readLabel(in: index, of: record, sectors, next: &next) }
    }

    /// The partition of `entry`, whose first sector counts from `base`, as far as it is on the disk.
    private mutating func place(
        _ entry: BootRecord.Entry, number: Int, after base: UInt64, in sectors: Sectors, of record: BootRecord
    ) -> Partition? {
        // Sums of numbers of 32 bits each.
        let first = base + UInt64(entry.firstSector)
        let last = first + UInt64(entry.sectorCount) - 1
        guard let (start, size) = place(first...last, number: number, in: sectors) else { return nil }
        var partition = Partition(
            number: number, start: start, size: size, entry: .mbr(type: entry.type, isActive: entry.isActive))
        if record.diskSignature != 0 {
            partition.uuid =
                hexDigits(record.diskSignature, 8) + "-" + hexDigits(UInt64(number), 2)
        }
        return partition
    }

    /// What an MBR counts in, which it does not say itself: what its first extended partition is to be found with.
    private func sectorSize(for record: BootRecord) -> SectorSize {
        let usual = sectorSizes.first ?? .bytes512
        guard sectorSizes.count > 1, let extended = record.entries.first(where: \.isExtended) else { return usual }
        let fitting = sectorSizes.first { size in
            let sectors = Sectors(disk: disk, sectorSize: size)
            let bytes = try? sectors.bytes(BootRecord.size, at: UInt64(extended.firstSector))
            return bytes.flatMap { BootRecord($0) } != nil
        }
        return fitting ?? usual
    }

    // MARK: GPT

    private mutating func readGPT(under record: BootRecord, fileSystem: FileSystemBootSector?) {
        let search = GPTSearch(disk: disk, sectorSizes: sectorSizes)
        // Without a GPT, the entry may be some byte of a file system's boot program.
        guard search.found != nil || record.hasBootIndicators && fileSystem == nil else { return }
        for note in search.notes { notes.add(note) }
        guard let found = search.found else { return }
        let others = record.entries.enumerated().filter { $1.isUsed && $1.type != 0 && !$1.isProtective }
        if !others.isEmpty {
            let names = others.map { String($0.offset + 1) }.joined(separator: ", ")
            notes.add("the MBR is a hybrid: its entries \(names) name partitions too, but those of the GPT count")
        }
        use(found)
    }

    /// Uses the backup of a GPT where the first sectors of the disk were wiped.
    private mutating func readWipedGPT() {
        let (found, former) = GPTSearch.backup(ofWiped: disk, sectorSizes: sectorSizes)
        if let former { notes.add(former) }
        guard let found else { return }
        notes.add(
            "the first sectors of the disk, where the protective MBR and the primary GPT were, are zeros; the backup GPT "
                + "at LBA \(found.copy.header.myLBA) is used")
        use(found)
    }

    private mutating func use(_ found: GPTSearch.Found) {
        let header = found.copy.header
        let sectors = found.sectors
        table.scheme = .gpt
        table.sectorSize = sectors.sectorSize
        table.diskID = header.diskGUID.isZero ? nil : header.diskGUID.description
        table.usedBackup = found.isBackup
        if header.lastUsableLBA >= sectors.count {
            notes.add(
                "the GPT is of a larger disk: its last usable sector is LBA \(header.lastUsableLBA), "
                    + "but the disk has \(sectors.count) sectors"
            )
        }
        for (index, entry) in found.copy.usedEntries {
            guard index < GPTSearch.entryLimit else {
                notes.add("the GPT has used entries after the first \(GPTSearch.entryLimit), which are not read")
                break
            }
            add(entry, number: index + 1, of: header, in: sectors)
        }
    }

    private mutating func add(_ entry: GPTEntry, number: Int, of header: GPTHeader, in sectors: Sectors) {
        guard entry.firstLBA <= entry.lastLBA else {
            notes.add(
                "partition \(number): ends at LBA \(entry.lastLBA), before it begins at LBA \(entry.firstLBA): "
                    + "it is left out")
            return
        }
        let range = entry.firstLBA...entry.lastLBA
        guard let (start, size) = place(range, number: number, in: sectors) else { return }
        if range.lowerBound < header.firstUsableLBA || range.upperBound > header.lastUsableLBA {
            notes.add(
                "partition \(number): is LBA \(range.lowerBound) to \(range.upperBound), but the usable sectors are "
                    + "LBA \(header.firstUsableLBA) to \(header.lastUsableLBA)"
            )
        }
        table.partitions.append(
            Partition(
                number: number, start: start, size: size,
                entry: .gpt(
                    type: entry.type, unique: entry.unique, attributes: entry.attributes, name: entry.name),
                uuid: entry.unique.description))
    }

    /// Says so where sector 0 leads to no GPT, but one is there: the MBR was lost, or the GPT is a former one. Without
    /// a protective entry neither Linux nor firmware uses it. Answers whether it is so.
    private mutating func noteForgottenGPT() -> Bool {
        var isForgotten = false
        for size in sectorSizes {
            let copy = try? GPTCopy(at: 1, in: Sectors(disk: disk, sectorSize: size))
            guard copy != nil else { continue }
            notes.add(
                "there is a GPT at LBA 1 of \(size.rawValue) bytes, but sector 0 has no protective entry (type 0xee): "
                    + "it is not used"
            )
            isForgotten = true
        }
        return isForgotten
    }

    /// Says so where the volumes of the disk stand in a database of Windows at its end, and not in the table.
    private mutating func noteDynamicDisk() {
        for index in table.partitions.indices where isDynamic(table.partitions[index]) {
            table.partitions[index].isDynamic = true
        }
        guard table.partitions.contains(where: \.isDynamic) else { return }
        notes.add("this is a dynamic disk of Windows (LDM): its volumes are not read, and may span several disks")
    }

    private func isDynamic(_ partition: Partition) -> Bool {
        switch partition.entry {
        case .mbr(let type, _):
            guard type == 0x42 else { return false }
            let sectors = Sectors(disk: disk, sectorSize: .bytes512)
            return (try? sectors.bytes(8, at: 6)) == Array("PRIVHEAD".utf8)
        case .gpt(let type, _, _, _): return type.description == "af9b60a0-1431-4f62-bc68-3311714a69ad"
        case .bsd, .solaris: return false
        }
    }

    /// Says so where the disk has an Apple partition map: a driver descriptor in its first block, and an entry of the map in the
    /// second (Inside Macintosh: Devices, "The Partition Map").
    ///
    ///     OFFSET SIZE FIELD
    ///          0    2 sbSig: "ER"
    ///          2    2 sbBlkSize, big-endian
    private mutating func noteAppleMap(_ first: [UInt8]) {
        let size = Int(first[2]) << 8 | Int(first[3])
        guard table.scheme == .none, first.starts(with: "ER".utf8), [512, 1024, 2048, 4096].contains(size) else {
            return
        }
        let sectors = Sectors(disk: disk, sectorSize: .bytes512)
        guard (try? sectors.bytes(4, at: UInt64(size / 512))) == Array("PM".utf8) + [0, 0] else { return }
        table.scheme = .apple
        notes.add("this disk has an Apple partition map (APM), whose partitions are not read")
    }

    // MARK: Both

    /// Where the sectors of `range`, which are a partition's, lie, as far as they are on the disk; nil where none is.
    mutating func place(
        _ range: ClosedRange<UInt64>, number: Int, in sectors: Sectors
    ) -> (start: GuestOffset, size: UInt64)? {
        guard range.lowerBound < sectors.count else {
            notes.add(
                "partition \(number): begins at LBA \(range.lowerBound), but the disk has \(sectors.count) sectors: "
                    + "it is left out")
            return nil
        }
        let last = min(range.upperBound, sectors.count - 1)
        if last < range.upperBound {
            notes.add(
                "partition \(number): ends at LBA \(range.upperBound), but the disk has \(sectors.count) sectors: "
                    + "it is cut there")
        }
        return (sectors.offset(of: range.lowerBound), (last - range.lowerBound + 1) * sectors.size)
    }

    private mutating func noteOverlaps() {
        // What a disklabel names overlaps the partition that has the label, as it should; and of Solaris' slices one may be
        // the whole.
        let partitions = table.partitions
        noteOverlaps(of: partitions.filter { !$0.isInLabel })
        noteOverlaps(of: partitions.filter { $0.isInLabel && !$0.isWholeSlice })
    }

    private mutating func noteOverlaps(of partitions: [Partition]) {
        // In the order of the disk it is enough to look at the one that reaches furthest so far.
        var furthest: Partition?
        for partition in partitions.sorted(by: { ($0.start, $0.number) < ($1.start, $1.number) }) {
            if let before = furthest, partition.start < before.end {
                let numbers = [before.number, partition.number].sorted()
                notes.add("partitions \(numbers[0]) and \(numbers[1]) overlap")
            }
            if partition.end > furthest?.end ?? GuestOffset(0) { furthest = partition }
        }
    }
}
