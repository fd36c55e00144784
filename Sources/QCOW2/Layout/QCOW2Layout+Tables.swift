import BlockImage
import ByteFormat

extension QCOW2Layout {
    /// An L1 table: of the disk, or of a snapshot.
    struct L1Table {
        /// What it is called.
        var name: String
        var offset: UInt64
        var count: UInt64
        /// The index of the snapshot that it is of; nil for the disk's own.
        var snapshot: UInt32?
        /// Whether it is the disk's own, in which COPIED must agree with the refcounts.
        var isActive: Bool { snapshot == nil }
    }

    /// The disk's L1 table, and those of the snapshots that can be read, one after another.
    func forEachL1Table(
        _ header: Header, _ body: (L1Table) throws(ImageError) -> Void
    ) throws(ImageError) {
        try body(
            L1Table(
                name: "L1 table", offset: header.l1TableOffset, count: UInt64(header.l1Size), snapshot: nil))
        try forEachSnapshot(header) { (index, _, bytes) throws(ImageError) in
            var reader = ByteReader(bytes)
            guard let snapshot = try? Snapshot(parsing: &reader) else { return }
            try body(
                L1Table(
                    name: "L1 table of snapshot \(index)", offset: snapshot.l1TableOffset,
                    count: UInt64(snapshot.l1Size), snapshot: index))
        }
    }

    func listL1Tables(
        _ header: Header, _ refcounts: RefcountLookup?, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        var lister = LayoutEntryLister(consumer, "L1 entries", limit: options.entryLimit)
        var entries = LayoutEntryLister(consumer, "L2 entries", limit: options.entryLimit)
        try forEachL1Table(header) { (table) throws(ImageError) in
            // Of snapshots that are not listed, nothing is read.
            if lister.isExhausted, entries.isExhausted || !options.showsEntries { return lister.omit(table.count) }
            let structure = LayoutStructure(
                table.name, at: HostOffset(table.offset), size: table.count * 8)
            try consumer.begin(structure)
            let stored = StoredTable(file, at: table.offset, count: min(table.count, UInt64(Header.l1SizeLimit)))
            if stored.count < table.count {
                try consumer.fault(
                    "of its \(table.count) entries only \(stored.count) lie in the file"
                        + (stored.count == UInt64(Header.l1SizeLimit)
                            ? " or are looked at, the most that are allowed" : ""))
            }
            try reportingReadErrors(consumer) { () throws(ImageError) in
                try stored.visit { (index, word, _) throws(ImageError) in
                    let entry = entry(L1Entry(rawValue: word), index, of: table, stored, header, refcounts)
                    try lister.add(entry, isEmpty: word == 0)
                    if lister.isExhausted { lister.omit(stored.count - index - 1) }
                    return !lister.isExhausted
                }
            }
            try lister.finish()
            if options.showsEntries {
                try listL2Tables(of: table, stored, header, refcounts, &entries, to: consumer)
            }
            try consumer.end()
        }
        try lister.finish()
        try entries.finish()
    }

    /// Does what reads the file; where the host cannot, that is reported as a fault.
    func reportingReadErrors(
        _ consumer: any LayoutConsumer, _ body: () throws(ImageError) -> Void
    ) throws(ImageError) {
        do throws(ImageError) {
            try body()
        } catch {
            // What the consumer threw is about no place of this file.
            guard error.subject == .file(file.path) else { throw error }
            try consumer.fault(error.detail)
        }
    }

    /// The bytes of the disk that an L2 table covers, from the L1 entry `index` on.
    private func guestStart(_ index: UInt64, _ header: Header) -> UInt64 {
        // At most 2^22 tables of 2^(21 + 18) bytes each.
        index &* header.l2Coverage
    }

    private func entry(
        _ entry: L1Entry, _ index: UInt64, of table: L1Table, _ stored: StoredTable, _ header: Header,
        _ refcounts: RefcountLookup?
    ) -> LayoutEntry {
        var listed = LayoutEntry(index, at: stored.offset(of: index), raw: [entry.rawValue], facts: [])
        listed.facts.append(.init("guest", .range(guestStart(index, header), header.l2Coverage)))
        let offset = entry.l2TableOffset
        guard entry.rawValue != 0 else { return listed }
        let isCopied = L1Entry.copied.isSet(in: entry.rawValue)
        listed.facts.append(.init("l2", .offset(offset)))
        if isCopied { listed.facts.append(.init("COPIED", .flag)) }
        var faults: [String] = []
        if L1Entry.reservedLow.isSet(in: entry.rawValue) || L1Entry.reservedHigh.isSet(in: entry.rawValue) {
            faults.append("reserved bits are set")
        }
        if let fault = placeFault(offset, header) {
            faults.append(fault)
        } else if offset != 0 {
            faults += refcountFaults(HostOffset(offset), isCopied, table, refcounts, &listed)
        }
        listed.fault = faults.isEmpty ? nil : faults.joined(separator: "; ")
        return listed
    }

    /// Why no table or cluster of this file can begin at `offset`; nil where one can.
    func placeFault(_ offset: UInt64, _ header: Header) -> String? {
        if offset % header.clusterSize != 0 {
            return "points to \(HostOffset(offset)), which is not aligned to the cluster size (\(header.clusterSize))"
        }
        if offset >= file.size {
            return "points to \(HostOffset(offset)), but the file ends at \(HostOffset(file.size))"
        }
        return nil
    }

    /// Adds the refcount of the cluster at `offset`; answers what of it contradicts COPIED.
    private func refcountFaults(
        _ offset: HostOffset, _ isCopied: Bool, _ table: L1Table, _ refcounts: RefcountLookup?,
        _ listed: inout LayoutEntry
    ) -> [String] {
        guard let refcounts else { return [] }
        guard let count = refcounts.refcount(of: offset) else { return ["its refcount cannot be read"] }
        listed.facts.append(.init("refcount", .number(count)))
        if count == 0 { return ["is in use, but its refcount is 0"] }
        guard table.isActive, isCopied != (count == 1) else { return [] }
        return [isCopied ? "has COPIED, but its refcount is \(count)" : "has a refcount of 1, but not COPIED"]
    }
}

extension QCOW2Layout {
    /// Lists the entries of the L2 tables that an L1 table names, table by table.
    private func listL2Tables(
        of table: L1Table, _ stored: StoredTable, _ header: Header, _ refcounts: RefcountLookup?,
        _ lister: inout LayoutEntryLister, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        var unlisted: UInt64 = 0
        var pages = lister
        try reportingReadErrors(consumer) { () throws(ImageError) in
            try stored.visit { (index, word, _) throws(ImageError) in
                let offset = L1Entry(rawValue: word).l2TableOffset
                guard offset != 0, placeFault(offset, header) == nil else { return true }
                guard !pages.isExhausted else {
                    unlisted += 1
                    return true
                }
                try listL2Table(index, at: offset, of: table, header, refcounts, &pages, to: consumer)
                return true
            }
        }
        lister = pages
        if unlisted > 0 { try consumer.omit(unlisted, "L2 tables") }
    }

    private func listL2Table(
        _ number: UInt64, at offset: UInt64, of table: L1Table, _ header: Header, _ refcounts: RefcountLookup?,
        _ lister: inout LayoutEntryLister, to consumer: any LayoutConsumer
    ) throws(ImageError) {
        let format = l2Format(header)
        let wanted = header.clusterSize / UInt64(format.wordsPerEntry * 8)
        try consumer.begin(
            LayoutStructure("L2 table of L1 index \(number)", at: HostOffset(offset), size: header.clusterSize))
        let stored = StoredTable(file, at: offset, count: wanted, words: format.wordsPerEntry)
        if stored.count < wanted { try consumer.fault("of its \(wanted) entries only \(stored.count) lie in the file") }
        var pages = lister
        try reportingReadErrors(consumer) { () throws(ImageError) in
            var empty: UInt64 = 0
            try stored.visit { (index, word, bitmap) throws(ImageError) in
                let isEmpty = word == 0 && bitmap == 0
                if isEmpty { empty += 1 }
                guard !isEmpty || index + 1 == stored.count else { return true }
                func add(_ index: UInt64, _ word: UInt64, _ bitmap: UInt64, count: UInt64 = 1) throws(ImageError) {
                    let guest = guestStart(number, header) &+ index << UInt64(header.clusterBits)
                    var listed = LayoutEntry(
                        index, count: count, at: stored.offset(of: index),
                        raw: format.isExtended ? [word, bitmap] : [word],
                        facts: [.init("guest", .range(guest, header.clusterSize))])
                    let isEmpty = word == 0 && bitmap == 0
                    if !isEmpty {
                        describe(
                            L2Entry(rawValue: word), SubclusterBitmap(rawValue: bitmap), guest, format, table, header,
                            refcounts, &listed)
                    }
                    try pages.add(listed, isEmpty: isEmpty)
                }
                // Entries that say nothing are one, and not looked at one by one: tables of large disks have many.
                if empty > 0 { try add(index + (isEmpty ? 1 : 0) - empty, 0, 0, count: empty) }
                empty = 0
                if !isEmpty { try add(index, word, bitmap) }
                if pages.isExhausted { pages.omit(stored.count - index - 1) }
                return !pages.isExhausted
            }
        }
        try pages.finish()
        lister = pages
        try consumer.end()
    }

    /// Adds what an L2 entry says, and what is wrong with it.
    private func describe(
        _ entry: L2Entry, _ bitmap: SubclusterBitmap, _ guest: UInt64, _ format: L2Format, _ table: L1Table,
        _ header: Header, _ refcounts: RefcountLookup?, _ listed: inout LayoutEntry
    ) {
        var faults: [String] = []
        let isCopied = L2Entry.copied.isSet(in: entry.rawValue)
        let isCompressed = L2Entry.compressed.isSet(in: entry.rawValue)
        do throws(ParseFault) {
            let mapping = try entry.mapping(format, bitmap: bitmap)
            listed.facts += Self.facts(mapping)
            if case .compressed(let host, let count) = mapping {
                if host.rawValue >= file.size {
                    faults.append("points to \(host), but the file ends at \(HostOffset(file.size))")
                }
                listed.facts.append(.init("bytes", .number(count)))
                if isCopied { faults.append("has COPIED, which a compressed cluster must not have") }
            } else if let host = mapping.host, format.hasDataFile, host.rawValue != guest {
                faults.append("points to \(host) of the data file, where guest offset \(GuestOffset(guest)) cannot lie")
            }
        } catch {
            faults.append(error.message)
            if !isCompressed {
                listed.facts.append(.init("host", .offset(L2Entry.offset.masked(in: entry.rawValue))))
            }
        }
        if format.isExtended, !isCompressed { listed.facts.append(.init("subclusters", .text(bitmap.text))) }
        if isCopied { listed.facts.append(.init("COPIED", .flag)) }
        let offset = L2Entry.offset.masked(in: entry.rawValue)
        if !isCompressed {
            // Bit 0 of an extended entry is reserved, too.
            let low = entry.rawValue & (format.isExtended ? 0x1ff : L2Entry.reservedLow.mask)
            if low != 0 || L2Entry.reservedHigh.isSet(in: entry.rawValue) { faults.append("reserved bits are set") }
            if offset != 0, !format.hasDataFile, offset % header.clusterSize == 0 {
                if let fault = placeFault(offset, header) {
                    faults.append(fault)
                } else {
                    faults += refcountFaults(HostOffset(offset), isCopied, table, refcounts, &listed)
                }
            }
        }
        listed.fault = faults.isEmpty ? nil : faults.joined(separator: "; ")
    }

    private static func facts(_ mapping: ClusterMapping) -> [LayoutEntry.Fact] {
        switch mapping {
        case .unallocated: [.init("kind", .text("unallocated"))]
        case .zero(nil): [.init("kind", .text("zero"))]
        case .zero(let host?): [.init("kind", .text("zero, preallocated")), .init("host", .offset(host.rawValue))]
        case .data(let host): [.init("kind", .text("data")), .init("host", .offset(host.rawValue))]
        case .compressed(let host, _): [.init("kind", .text("compressed")), .init("host", .offset(host.rawValue))]
        case .subclusters(_, let host):
            [.init("kind", .text("by subcluster"))] + (host.map { [.init("host", .offset($0.rawValue))] } ?? [])
        }
    }
}

extension SubclusterBitmap {
    /// One letter for each subcluster, the first first: d data, z zero, `-` unallocated, `!` both.
    fileprivate var text: String {
        String(
            (0..<UInt64(Self.count)).map { index -> Character in
                let isAllocated = rawValue >> index & 1 == 1
                let isZero = rawValue >> (index + 32) & 1 == 1
                return isAllocated ? (isZero ? "!" : "d") : (isZero ? "z" : "-")
            })
    }
}
