import BlockImage

/// The labels of other systems in a primary partition of an MBR, which divide it into partitions of their own.
extension TableReader {
    /// Adds what a label in the partition of the entry `index` of `record` says, from the number `next` on.
    mutating func readLabel(in index: Int, of record: BootRecord, _ sectors: Sectors, next: inout Int) {
        let parent = record.entries[index]
        guard parent.isUsed, sectors.sectorSize == .bytes512, parent.sectorCount > 1 else { return }
        let isBSD = BSDLabel.partitionTypes.contains(parent.type)
        guard isBSD || SolarisLabel.partitionTypes.contains(parent.type),
            let bytes = try? sectors.bytes(BootRecord.size, at: UInt64(parent.firstSector) + 1)
        else { return }
        if isBSD, let label = BSDLabel(bytes) {
            add(label, in: index, parent, sectors, next: &next)
        } else if !isBSD, let label = SolarisLabel(bytes) {
            add(label, in: index, parent, sectors, next: &next)
        }
    }

    private mutating func add(
        _ label: BSDLabel, in index: Int, _ parent: BootRecord.Entry, _ sectors: Sectors, next: inout Int
    ) {
        let start = UInt64(parent.firstSector)
        let base = label.base(type: parent.type, start: start)
        let range = start..<start + UInt64(parent.sectorCount)
        for (letter, entry) in label.entries.enumerated() where entry.type != 0 {
            let first = base + UInt64(entry.firstSector)
            let end = first + UInt64(entry.sectorCount)
            // That is the partition itself.
            if first..<end == range { continue }
            guard range.lowerBound <= first, end <= range.upperBound else {
                let name = String(UnicodeScalar(UInt8(ascii: "a") + UInt8(letter)))
                noteOutside("\(name) of its BSD disklabel", in: index, entry.sectorCount, from: first)
                continue
            }
            // One without sectors has a number all the same.
            if first < end, let (start, size) = place(first...end - 1, number: next, in: sectors) {
                table.partitions.append(
                    Partition(number: next, start: start, size: size, entry: .bsd(type: entry.type)))
            }
            next += 1
        }
    }

    /// All of it counts from the partition; Linux numbers also the slice that is the whole.
    private mutating func add(
        _ label: SolarisLabel, in index: Int, _ parent: BootRecord.Entry, _ sectors: Sectors, next: inout Int
    ) {
        let start = UInt64(parent.firstSector)
        for (slice, entry) in label.slices.enumerated() where entry.sectorCount > 0 {
            let first = start + UInt64(entry.firstSector)
            let end = first + UInt64(entry.sectorCount)
            defer { next += 1 }
            guard end <= start + UInt64(parent.sectorCount) else {
                noteOutside("slice \(slice) of its Solaris VTOC", in: index, entry.sectorCount, from: first)
                continue
            }
            if let (start, size) = place(first...end - 1, number: next, in: sectors) {
                table.partitions.append(
                    Partition(number: next, start: start, size: size, entry: .solaris(tag: entry.tag)))
            }
        }
    }

    private mutating func noteOutside(_ part: String, in index: Int, _ count: UInt32, from first: UInt64) {
        notes.add(
            "partition \(index + 1): \(part) is \(count) sectors from LBA \(first) on, not wholly in it: it is left out"
        )
    }
}
