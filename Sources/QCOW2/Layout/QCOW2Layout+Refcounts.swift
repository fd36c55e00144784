import BlockImage
import ByteFormat

extension QCOW2Layout {
    /// Lists the refcount table and how full each refcount block is.
    func listRefcounts(
        _ header: Header, _ refcounts: RefcountLookup, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        let size = UInt64(header.refcountTableClusters) << UInt64(header.clusterBits)
        let structure = LayoutStructure("refcount table", at: HostOffset(header.refcountTableOffset), size: size)
        try consumer.structure(structure) { () throws(ImageError) in
            let table = StoredTable(file, at: header.refcountTableOffset, count: refcounts.tableEntries)
            if table.count < size / 8 {
                try consumer.fault(
                    "of its \(size / 8) entries only \(table.count) are looked at: the others lie "
                        + "past the end of the file, or past the most that are allowed")
            }
            var lister = LayoutEntryLister(consumer, "refcount table entries", limit: options.entryLimit)
            var counted = CountedBlocks()
            try reportingReadErrors(consumer) { () throws(ImageError) in
                try table.visit { (index, word, _) throws(ImageError) in
                    let entry = entry(word, index, table, header, refcounts, &counted)
                    try lister.add(entry, isEmpty: word == 0)
                    if lister.isExhausted { lister.omit(table.count - index - 1) }
                    return !lister.isExhausted
                }
            }
            try lister.finish()
        }
    }

    /// How full the blocks are that were counted so far, by their offsets: all entries of a hostile table may name one. When
    /// there are too many, counting begins anew, so that a block that is named again and again is still counted seldom.
    private struct CountedBlocks {
        static let limit = 65_536
        var used: [UInt64: UInt64?] = [:]
    }

    private func entry(
        _ word: UInt64, _ index: UInt64, _ table: StoredTable, _ header: Header, _ refcounts: RefcountLookup,
        _ counted: inout CountedBlocks
    ) -> LayoutEntry {
        let coverage = refcounts.blockEntries << UInt64(header.clusterBits)
        var listed = LayoutEntry(
            index, at: table.offset(of: index), raw: [word],
            facts: [.init("covers", .range(index.multipliedReportingOverflow(by: coverage).partialValue, coverage))])
        guard word != 0 else { return listed }
        let offset = RefcountTableEntry.offset.masked(in: word)
        listed.facts.append(.init("block", .offset(offset)))
        var faults: [String] = []
        if RefcountTableEntry.reserved.isSet(in: word) { faults.append("reserved bits are set") }
        if let fault = placeFault(offset, header) {
            faults.append(fault)
        } else if offset != 0 {
            if let used = usedRefcounts(ofBlockAt: offset, header, &counted) {
                listed.facts.append(.init("used", .number(used)))
                listed.facts.append(.init("of", .number(refcounts.blockEntries)))
            } else {
                faults.append("its block cannot be read as a whole: the file ends within it")
            }
            let own = refcounts.refcount(of: HostOffset(offset))
            if own != 1 { faults.append("its block's own refcount is \(own ?? 0), but must be 1") }
        }
        listed.fault = faults.isEmpty ? nil : faults.joined(separator: "; ")
        return listed
    }

    /// How many refcounts of the block at `offset` are not 0; nil where the block cannot be read.
    private func usedRefcounts(
        ofBlockAt offset: UInt64, _ header: Header, _ counted: inout CountedBlocks
    ) -> UInt64? {
        if let known = counted.used[offset] { return known }
        var used: UInt64 = 0
        let isWhole = try? forEachRefcount(ofBlockAt: offset, header) { _ in used += 1 }
        let answer = isWhole == true ? used : nil
        if counted.used.count >= CountedBlocks.limit { counted.used = [:] }
        counted.used.updateValue(answer, forKey: offset)
        return answer
    }

    /// Hands over the place in the block at `offset` of each refcount that is not 0, as far as the file goes; answers
    /// whether that was the whole block.
    func forEachRefcount(
        ofBlockAt offset: UInt64, _ header: Header, _ body: (UInt64) -> Void
    ) throws(ImageError) -> Bool {
        let table = StoredTable(file, at: offset, count: header.clusterSize / 8)
        let format = header.refcountFormat
        try table.visit { (index, word, _) in
            guard word != 0 else { return true }
            let first = index * format.perWord
            for place in first..<first + format.perWord where format.refcount(place, inWord: word) != 0 { body(place) }
            return true
        }
        return table.count == header.clusterSize / 8
    }
}
