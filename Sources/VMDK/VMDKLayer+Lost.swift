public import BlockImage

extension VMDKLayer {
    /// See `ImageLayer`.
    public var hostSize: UInt64 { files.reduce(0) { $0.addingReportingOverflow($1.size).partialValue } }

    /// See `ImageLayer`.
    public var granuleSize: UInt64 { extents.compactMap(\.clusterSize).min().map { UInt64($0) } ?? 1 << 62 }

    /// See `ImageLayer`.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        guard let extent = try? extent(holding: start) else { return limit }
        return extent.lost(at: start, limit: min(limit, extent.end - start.rawValue))
    }
}

extension VMDKExtent {
    /// How many bytes from `position` of the disk on, where `extent(at:limit:)` throws, are lost for the same reason.
    fileprivate func lost(at position: GuestOffset, limit: UInt64) -> UInt64 {
        let offset = position.rawValue - start.rawValue
        switch storage {
        // A flat file that ends has nothing behind its end.
        case .zero, .unreadable, .flat: return limit
        case .sparse(let extent):
            switch extent.map {
            case .nothing: return limit
            case .recovered(let grains): return grains.lost(at: offset, limit: limit)
            case .tables(let tables): return tables.lost(at: offset, limit: limit)
            }
        }
    }
}

extension RecoveredGrains {
    /// How many bytes from `offset` of the extent on are missing: up to the next grain that was found.
    fileprivate func lost(at offset: UInt64, limit: UInt64) -> UInt64 {
        let next = firstPosition(from: offset / compression.grainSize)
        guard next < grains.count else { return limit }
        return min(limit, UInt64(grains[next].index) * compression.grainSize - offset)
    }
}

extension GrainTables {
    /// How many bytes from `offset` of the extent on are lost: all that a grain table covers which cannot be read, and
    /// else the grains whose entries lead nowhere.
    fileprivate func lost(at offset: UInt64, limit: UInt64) -> UInt64 {
        let coverage = grainSize * UInt64(tableEntryCount)
        let number = Int(offset / coverage)
        let rest = min(limit, coverage - offset % coverage)
        guard let (page, index) = try? resources.tables.page(of: directory, at: number, counters: resources.counters),
            page.entries[index] != 0,
            let table = try? table(number, entry: page.entries[index], of: directory),
            (try? resources.tables.page(
                of: table, at: Int(offset % coverage / grainSize), counters: resources.counters)) != nil
        else { return rest }
        var count = min(rest, grainSize - offset % grainSize)
        while count < rest, (try? run(at: offset + count, limit: 1)) == nil { count = min(rest, count + grainSize) }
        return count
    }
}
