import BlockImage
import ByteFormat

extension QCOW2Layer {
    /// The bytes of the files that it is stored in: they bound what walks over its tables may take.
    public var hostSize: UInt64 { files.reduce(0) { $0.addingReportingOverflow($1.size).partialValue } }

    /// The fewest bytes that an entry of its tables is for.
    public var granuleSize: UInt64 { source.format.clusterSize }

    /// Without its L2 table all that this covers is lost, without its entry a cluster; neighbours whose entries lead
    /// nowhere either are one.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let limit = min(limit, virtualSize - start.rawValue)
        let coverage = source.header.l2Coverage
        let position = origin + start.rawValue
        let index = Int(position / coverage)
        let rest = coverage - position % coverage
        func count(of tables: Int) -> UInt64 {
            let (more, overflow) = coverage.multipliedReportingOverflow(by: UInt64(max(tables, 1) - 1))
            return overflow ? limit : min(limit, rest.addingReportingOverflow(more).overflow ? limit : rest + more)
        }
        guard index < l1Table.count else { return limit }
        guard let (l1, place) = try? source.page(of: l1Table, at: index) else {
            // All entries past the end of the file are lost, and else those that would have been read with this one.
            let entry = l1Table.offset.advanced(by: UInt64(index) * 8)
            let isCut = entry.rawValue + 8 > source.file.size
            return isCut ? limit : count(of: TableCache.pageEntries - index % TableCache.pageEntries)
        }
        let words = source.format.wordsPerEntry
        let clusterSize = source.format.clusterSize
        let offset = L1Entry(rawValue: l1.entries[place]).l2TableOffset
        let table = source.table(at: offset, count: Int(clusterSize / 8), name: "L2 table")
        let word = Int(position % coverage / clusterSize) * words
        guard offset % clusterSize == 0, offset < source.file.size else {
            // Entries that lead nowhere either, of those that lie in this page.
            var tables = 1
            while place + tables < l1.entries.count, count(of: tables) < limit {
                let next = L1Entry(rawValue: l1.entries[place + tables]).l2TableOffset
                guard next != 0, next % clusterSize != 0 || next >= source.file.size else { break }
                tables += 1
            }
            return count(of: tables)
        }
        guard let (l2, first) = try? source.page(of: table, at: word + words - 1) else {
            let isCut = offset + UInt64(word + words) * 8 > source.file.size
            let page = UInt64((TableCache.pageEntries - word % TableCache.pageEntries) / words) * clusterSize
            return min(limit, isCut ? rest : min(rest, page - position % clusterSize))
        }
        guard !source.format.isExtended else {
            let subcluster = clusterSize / UInt64(SubclusterBitmap.count)
            return min(limit, subcluster - position % subcluster)
        }
        var next = first + 1
        while next < l2.entries.count, leadsNowhere(L2Entry(rawValue: l2.entries[next])) { next += 1 }
        return min(limit, UInt64(next - first) * clusterSize - position % clusterSize)
    }

    /// Whether the entry names a place that cannot be read; nothing is said of those of compressed clusters.
    private func leadsNowhere(_ entry: L2Entry) -> Bool {
        guard !L2Entry.compressed.isSet(in: entry.rawValue) else { return false }
        let host = L2Entry.offset.masked(in: entry.rawValue)
        if host % source.format.clusterSize != 0 { return true }
        return host >= source.dataFile.size && !L2Entry.zero.isSet(in: entry.rawValue)
    }
}
