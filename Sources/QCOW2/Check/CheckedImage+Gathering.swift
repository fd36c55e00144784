import BlockImage
import ByteFormat

extension CheckedImage {
    /// What an L1 entry says, while entries are gathered.
    private struct Reference {
        /// The offset, and in its lowest bit whether a snapshot's table has the entry, so that those of one L2 table lie
        /// together once they are sorted, the active ones first.
        var key: UInt64
        var times: UInt64
        var l1Index: UInt32
    }

    /// Finds the L1 tables, the bitmaps' tables, and which L2 tables there are; adds what is wrong with the entries
    /// that lead there to `result`.
    ///
    /// Throws `unsupported` where there is more of them than the limits allow, and what reading the file throws.
    mutating func gather(_ refcounts: inout Refcounts, _ result: inout CheckResult) throws(ImageError) {
        gatherL1Tables(&result)
        gatherBitmaps(&result)
        let entries = (l1Tables.map(\.size) + bitmapTables.map(\.size)).reduce(0, +)
        guard entries <= limits.entries else {
            throw ImageError(
                .unsupported, path: file.path,
                "the L1 tables and the tables of bitmaps have \(entries) entries together, more than are checked "
                    + "(\(limits.entries))")
        }
        var references: [Reference] = []
        var room = 1 << 12
        for table in l1Tables {
            try file.forEachChunk(of: table.size, at: table.offset) { words, first throws(ImageError) in
                for (index, word) in words.enumerated() where word != 0 {
                    let number = first + UInt64(index)
                    let entry = L1Entry(rawValue: word)
                    try judge(entry, number, of: table, &refcounts, &result)
                    let flag: UInt64 = table.snapshot == nil ? 0 : 1
                    references.append(
                        Reference(
                            key: entry.l2TableOffset | flag, times: table.times,
                            l1Index: UInt32(truncatingIfNeeded: number)))
                }
                if references.count > room {
                    references = Self.joined(references)
                    guard references.count <= limits.tables * 2 else { throw tooManyTables }
                    room = max(room, references.count * 2)
                }
            }
        }
        l2Tables = Self.tables(Self.joined(references))
        guard l2Tables.count <= limits.tables else { throw tooManyTables }
        let unaligned = l2Tables.filter { $0.offset % clusterSize != 0 && $0.offset < file.size }
        guard UInt64(unaligned.count) <= limits.unalignedEntries / (clusterSize / 8) else {
            throw ImageError(
                .unsupported, path: file.path,
                "\(unaligned.count) L2 tables do not begin at a cluster, more than are checked")
        }
    }

    private var tooManyTables: ImageError {
        ImageError(.unsupported, path: file.path, "has more than \(limits.tables) L2 tables, which is the limit")
    }

    /// The same references in order, with those to one table by one kind of table joined.
    private static func joined(_ references: [Reference]) -> [Reference] {
        var joined: [Reference] = []
        for reference in references.sorted(by: { ($0.key, $0.l1Index) < ($1.key, $1.l1Index) }) {
            if joined.last?.key == reference.key {
                joined[joined.count - 1].times += reference.times
            } else {
                joined.append(reference)
            }
        }
        return joined
    }

    private static func tables(_ references: [Reference]) -> [L2TableUse] {
        var tables: [L2TableUse] = []
        for reference in references {
            let isActive = reference.key & 1 == 0
            let offset = reference.key & ~1
            if tables.last?.offset == offset {
                tables[tables.count - 1].snapshotTimes += reference.times
            } else {
                tables.append(
                    L2TableUse(
                        offset: offset, activeTimes: isActive ? reference.times : 0,
                        snapshotTimes: isActive ? 0 : reference.times, l1Index: reference.l1Index))
            }
        }
        return tables
    }

    /// Adds what is wrong with an L1 entry that is not 0, but for where it leads.
    private func judge(
        _ entry: L1Entry, _ index: UInt64, of table: L1Table, _ refcounts: inout Refcounts,
        _ result: inout CheckResult
    ) throws(ImageError) {
        func add(_ kind: CheckFinding.Kind, times: UInt64, _ fault: @autoclosure () -> String) {
            let location = HostOffset(table.offset).advanced(by: index * 8)
            result.add(kind, .corruption, times: times, in: table.offset, at: location) {
                let name = ClusterUser.l1Table(snapshot: table.snapshot).text
                return CheckFinding(
                    kind, .corruption, path: file.path, at: location, guest: GuestOffset(index * header.l2Coverage),
                    times: times, "entry \(index) of \(name) at \(location): \(fault())")
            }
        }
        if L1Entry.reservedLow.isSet(in: entry.rawValue) || L1Entry.reservedHigh.isSet(in: entry.rawValue) {
            add(.reservedBits, times: table.times, "has reserved bits set: \(hexadecimal(entry.rawValue))")
        }
        guard table.snapshot == nil, entry.l2TableOffset != 0,
            let refcount = try refcounts.refcount(of: entry.l2TableOffset / clusterSize),
            (refcount == 1) != L1Entry.copied.isSet(in: entry.rawValue)
        else { return }
        add(.copiedFlag, times: 1, "\(Self.copiedFault(refcount)) the L2 table at \(HostOffset(entry.l2TableOffset))")
    }

    /// What is wrong with a COPIED flag that contradicts this refcount.
    static func copiedFault(_ refcount: UInt64) -> String {
        refcount == 1
            ? "COPIED is not set, but must be, as the refcount is 1, of"
            : "COPIED is set, but must not be, as the refcount is \(refcount), of"
    }
}

extension CheckedImage {
    private mutating func gatherL1Tables(_ result: inout CheckResult) {
        l1Tables = [
            L1Table(offset: header.l1TableOffset, size: UInt64(header.l1Size), times: 1, snapshot: nil)
        ]
        let snapshots = description.snapshots
        if format.hasDataFile, !snapshots.isEmpty {
            result.add(
                CheckFinding(
                    .snapshot, .corruption, path: file.path, at: HostOffset(60),
                    "header: nb_snapshots is \(snapshots.count), but an image with a data file can have none"))
        }
        struct Place: Hashable {
            var offset: UInt64
            var size: UInt32
        }
        var known: [Place: Int] = [:]
        for (index, snapshot) in snapshots.enumerated() {
            if let fault = fault(of: snapshot) {
                result.add(
                    CheckFinding(
                        .snapshot, .corruption, path: file.path, at: snapshot.entryOffset,
                        "snapshot \(index) (\"\(snapshot.id)\") at \(snapshot.entryOffset): \(fault)"))
            }
            guard snapshot.l1TableOffset % clusterSize == 0, snapshot.l1Size <= Header.l1SizeLimit else { continue }
            let place = Place(offset: snapshot.l1TableOffset, size: snapshot.l1Size)
            if let same = known[place] {
                l1Tables[same].times += 1
                continue
            }
            known[place] = l1Tables.count
            l1Tables.append(
                L1Table(offset: place.offset, size: UInt64(place.size), times: 1, snapshot: index))
        }
        // The extra data is judged apart: both may be wrong with one snapshot.
        for (index, snapshot) in snapshots.enumerated() where header.version >= 3 && snapshot.extraDataSize < 16 {
            result.add(
                CheckFinding(
                    .snapshot, .corruption, path: file.path, at: snapshot.entryOffset,
                    "snapshot \(index) (\"\(snapshot.id)\") at \(snapshot.entryOffset): has "
                        + "\(snapshot.extraDataSize) bytes of extra data, but version 3 must have at least 16"))
        }
    }

    private func fault(of snapshot: Snapshot) -> String? {
        if snapshot.l1TableOffset % clusterSize != 0 {
            return header.misplaced("l1_table_offset", snapshot.l1TableOffset)
        }
        if snapshot.l1Size > Header.l1SizeLimit {
            return "l1_size is \(snapshot.l1Size), but at most \(Header.l1SizeLimit) is allowed"
        }
        return nil
    }

    /// Bitmaps that the autoclear bit does not vouch for are no longer there: their clusters are leaks.
    private mutating func gatherBitmaps(_ result: inout CheckResult) {
        guard header.autoclearFeatures.contains(.bitmaps) else {
            if description.extensions.bitmaps != nil {
                result.add(
                    CheckFinding(
                        .bitmap, .warning, path: file.path, at: HostOffset(88),
                        "header: a program that knows no bitmaps wrote to the image, so that its bitmaps are void; "
                            + "their clusters are counted as leaks"))
            }
            return
        }
        struct Place: Hashable {
            var offset: UInt64
            var size: UInt32
        }
        var known: [Place: Int] = [:]
        for (index, bitmap) in description.bitmaps.enumerated() {
            func add(_ severity: CheckFinding.Severity, _ fault: String) {
                result.add(
                    CheckFinding(
                        .bitmap, severity, path: file.path, at: bitmap.entryOffset,
                        "bitmap \(index) (\"\(bitmap.name)\") at \(bitmap.entryOffset): \(fault)"))
            }
            if let fault = bitmap.structureFault(header) { add(.corruption, fault) }
            if bitmap.flags.contains(.inUse) { add(.warning, "was not saved when the image was closed, and is void") }
            guard bitmap.tableOffset != 0, header.isTableOffset(bitmap.tableOffset),
                UInt64(bitmap.tableSize) <= Bitmap.sizeLimit / clusterSize
            else { continue }
            let place = Place(offset: bitmap.tableOffset, size: bitmap.tableSize)
            if let same = known[place] {
                bitmapTables[same].times += 1
                continue
            }
            known[place] = bitmapTables.count
            bitmapTables.append(
                BitmapTable(offset: place.offset, size: UInt64(place.size), times: 1, bitmap: index))
        }
    }
}

extension Bitmap {
    /// What of its directory entry contradicts the header, whether the bitmap says something or not; nil: nothing.
    fileprivate func structureFault(_ header: Header) -> String? {
        if tableOffset == 0 || !header.isTableOffset(tableOffset) {
            return header.misplaced("bitmap_table_offset", tableOffset)
        }
        if type != 1 { return "type is \(type), but must be 1" }
        if flags.rawValue & ~(Flags.inUse.rawValue | Flags.auto.rawValue | Flags.extraDataCompatible.rawValue) != 0 {
            return "flags are \(hexadecimal(UInt64(flags.rawValue))), but only bits 0 to 2 have a meaning"
        }
        let bitsOfCluster = header.clusterSize * 8
        // A bitmap that was not saved may be of the disk as it was before it grew.
        let needed =
            flags.contains(.inUse) ? 1 : (bitCount(diskSize: header.virtualSize) + bitsOfCluster - 1) / bitsOfCluster
        if UInt64(tableSize) < needed { return "bitmap_table_size is \(tableSize), but the disk needs \(needed)" }
        if UInt64(tableSize) > Self.sizeLimit / header.clusterSize {
            return "bitmap_table_size is \(tableSize), but bits may take at most \(Self.sizeLimit) bytes"
        }
        return nil
    }
}
