import BlockImage
import ByteFormat

extension VMDKLayout {
    /// Lists the grain directory, the redundant one compared with it, and the grain tables where entries are asked for.
    func listGrains(
        _ grains: GrainLayout, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        try listDirectory(
            "grain directory", sector: grains.sector, comparedWith: nil, grains, to: consumer, options)
        if let redundant = grains.redundantSector {
            try listDirectory(
                "redundant grain directory", sector: redundant, comparedWith: grains.sector, grains, to: consumer,
                options)
        }
        guard options.showsEntries else { return }
        try listTables(grains, to: consumer, options)
    }

    private func directory(sector: UInt64, _ grains: GrainLayout) -> StoredGrainTable {
        StoredGrainTable(file, sector: sector, count: grains.count, entrySize: grains.entrySize)
    }

    private func listDirectory(
        _ name: String, sector: UInt64, comparedWith other: UInt64?, _ grains: GrainLayout,
        to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        let table = directory(sector: sector, grains)
        let first = other.map { directory(sector: $0, grains) }
        try consumer.structure(
            LayoutStructure(name, at: table.offset, size: grains.count * grains.entrySize)
        ) { () throws(ImageError) in
            if table.count < grains.count {
                try consumer.fault("of its \(grains.count) entries only \(table.count) lie in the file")
            }
            var lister = LayoutEntryLister(consumer, "\(name) entries", limit: options.entryLimit)
            try reportingReadErrors(consumer) { () throws(ImageError) in
                try table.visit { (index, word) throws(ImageError) in
                    var entry = entry(word, index, of: table, grains)
                    if let first, index < first.count, let primary = try first.page(from: index, limit: 1).first {
                        let difference = try difference(between: primary, and: word, grains)
                        entry.fault = entry.fault ?? difference
                    }
                    try lister.add(entry, isEmpty: word == 0)
                    if lister.isExhausted { lister.omit(table.count - index - 1) }
                    return !lister.isExhausted
                }
            }
            try lister.finish()
        }
    }

    /// The sector of the grain table that `word` names; nil where it names none, or none that lies in the file.
    func tableSector(_ word: UInt64, _ grains: GrainLayout) -> UInt64? {
        guard word != 0, let sector = grains.format.tableSector(word), sector <= sectorLimit,
            sector * sectorSize < file.size
        else { return nil }
        return sector
    }

    private func entry(
        _ word: UInt64, _ index: UInt64, of table: StoredGrainTable, _ grains: GrainLayout
    ) -> LayoutEntry {
        // At most 2^25 tables of 2^42 bytes each, but the last begins on the disk.
        var entry = LayoutEntry(
            index, at: table.offset(of: index), raw: [word],
            facts: [.init("guest", .range(index &* grains.tableCoverage, grains.tableCoverage))])
        guard word != 0 else { return entry }
        guard let sector = grains.format.tableSector(word) else {
            entry.fault = grains.format.tableFault(word)
            return entry
        }
        let start = sector <= sectorLimit ? sector * sectorSize : .max
        entry.facts.append(.init("table", .offset(start)))
        if start >= file.size || file.size - start < grains.tableSize {
            entry.fault =
                "its grain table at \(HostOffset(start)) must lie in the file, but that ends at \(HostOffset(file.size))"
        }
        return entry
    }

    /// What differs between the grain tables that an entry of the grain directory and the same of the redundant one
    /// lead to; nil where nothing does.
    private func difference(
        between primary: UInt64, and redundant: UInt64, _ grains: GrainLayout
    ) throws(ImageError) -> String? {
        if primary == 0 || redundant == 0 {
            return primary == redundant
                ? nil
                : redundant == 0
                    ? "is 0, where the grain directory has a grain table"
                    : "has a grain table, where the grain directory has none"
        }
        guard let one = tableSector(primary, grains), let other = tableSector(redundant, grains) else {
            return nil
        }
        let tables = [one, other].map {
            StoredGrainTable(file, sector: $0, count: grains.tableEntryCount, entrySize: grains.entrySize)
        }
        // A table has at most 4,096 entries, so that one page holds it.
        guard one != other, let left = try? tables[0].page(from: 0), let right = try? tables[1].page(from: 0),
            left != right
        else { return nil }
        let places = zip(left, right).enumerated().filter { $0.element.0 != $0.element.1 }
        guard let place = places.first else { return "its grain table is cut by the file's end" }
        return
            "its grain table differs from that of the grain directory in \(counted(places.count, "entry", "entries")), "
            + "first in entry \(place.offset): \(place.element.1) instead of \(place.element.0)"
    }

    private func listTables(
        _ grains: GrainLayout, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        var lister = LayoutEntryLister(consumer, "grain table entries", limit: options.entryLimit)
        var unlisted: UInt64 = 0
        var listed = KnownEntries()
        var repeated: UInt64 = 0
        try reportingReadErrors(consumer) { () throws(ImageError) in
            try directory(sector: grains.sector, grains).visit { (number, word) throws(ImageError) in
                guard let sector = tableSector(word, grains) else { return true }
                guard listed.insert(sector) else {
                    repeated += 1
                    return true
                }
                guard !lister.isExhausted else {
                    unlisted += 1
                    return true
                }
                try listTable(number, sector: sector, grains, &lister, to: consumer)
                return true
            }
        }
        if unlisted > 0 { try consumer.omit(unlisted, "grain tables") }
        if repeated > 0 {
            try consumer.fault(
                "\(counted(repeated, "entry", "entries")) of the grain directory \(repeated == 1 ? "names" : "name") grain "
                    + "tables that entries before name as well; each is listed once")
        }
    }

    private func listTable(
        _ number: UInt64, sector: UInt64, _ grains: GrainLayout, _ lister: inout LayoutEntryLister,
        to consumer: any LayoutConsumer
    ) throws(ImageError) {
        // Of the last table, only the entries that the capacity takes.
        let covered = number &* grains.grainSize &* grains.tableEntryCount
        let left = (grains.capacity - min(covered, grains.capacity) + grains.grainSize - 1) / grains.grainSize
        let table = StoredGrainTable(
            file, sector: sector, count: min(grains.tableEntryCount, left), entrySize: grains.entrySize)
        var entries = lister
        try consumer.begin(
            LayoutStructure("grain table \(number)", at: table.offset, size: grains.tableSize))
        try reportingReadErrors(consumer) { () throws(ImageError) in
            var empty: UInt64 = 0
            try table.visit { (index, word) throws(ImageError) in
                if word == 0 { empty += 1 }
                guard word != 0 || index + 1 == table.count else { return true }
                func add(_ word: UInt64, _ index: UInt64, count: UInt64 = 1) throws(ImageError) {
                    let guest = number &* grains.tableCoverage &+ index &* grains.grainSize &* sectorSize
                    var entry = try grainEntry(word, index, guest, of: table, grains)
                    entry.count = count
                    try entries.add(entry, isEmpty: word == 0)
                }
                // Entries that say nothing are one, and not looked at one by one.
                if empty > 0 { try add(0, index + (word == 0 ? 1 : 0) - empty, count: empty) }
                empty = 0
                if word != 0 { try add(word, index) }
                if entries.isExhausted { entries.omit(table.count - index - 1) }
                return !entries.isExhausted
            }
        }
        try entries.finish()
        lister = entries
        try consumer.end()
    }

    private func grainEntry(
        _ word: UInt64, _ index: UInt64, _ guest: UInt64, of table: StoredGrainTable, _ grains: GrainLayout
    ) throws(ImageError) -> LayoutEntry {
        var entry = LayoutEntry(
            index, at: table.offset(of: index), raw: [word],
            facts: [.init("guest", .range(guest, grains.grainSize * sectorSize))])
        switch grains.format.grain(word) {
        case .unallocated: break
        case .zeroed: entry.facts.append(.init("kind", .text("zeroed")))
        case .invalid: entry.fault = grains.format.grainFault(word)
        case .allocated(let sector):
            let host = sector <= sectorLimit ? sector * sectorSize : .max
            entry.facts.append(.init("kind", .text(grains.isCompressed ? "compressed" : "data")))
            entry.facts.append(.init("host", .offset(host)))
            guard host < file.size else {
                entry.fault =
                    "points to a grain at \(HostOffset(host)), but the file ends at \(HostOffset(file.size))"
                break
            }
            guard grains.isCompressed, file.size - host >= UInt64(StreamMarker.size),
                let marker = try? StreamMarker(
                    parsing: try file.bytes(StreamMarker.size, at: HostOffset(host), of: "grain marker"))
            else { break }
            guard case .grain(let lba, let size)? = marker.kind else {
                entry.fault = "no grain's marker stands at \(HostOffset(host))"
                break
            }
            entry.facts.append(.init("bytes", .number(UInt64(size))))
            if lba != guest / sectorSize {
                entry.fault = "the marker at \(HostOffset(host)) is that of sector \(lba), not of \(guest / sectorSize)"
            }
        }
        return entry
    }
}
