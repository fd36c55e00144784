import BlockImage

extension VMDKLayer {
    /// The bytes of the files that it is stored in: they bound what walks over its tables may take.
    public var hostSize: UInt64 { files.reduce(0) { $0.addingReportingOverflow($1.size).partialValue } }

    /// The fewest bytes that an entry of its tables is for.
    public var granuleSize: UInt64 { extents.compactMap(\.clusterSize).min().map { UInt64($0) } ?? 1 << 62 }

    /// How many bytes of the layer from `start` on, where `extent(at:limit:)` throws, have no extent for the same
    /// reason: at least one, at most `limit`.
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
        // A flat file that ends has nothing past its end.
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
    /// else the grains whose entries lead nowhere; neighbours that have the same table of such entries are one.
    fileprivate func lost(at offset: UInt64, limit: UInt64) -> UInt64 {
        let coverage = grainSize * UInt64(tableEntryCount)
        let number = Int(offset / coverage)
        let rest = min(limit, coverage - offset % coverage)
        guard let place = try? place(at: offset), place.entries.contains(where: { $0 != 0 }) else { return rest }
        let (_, grains, first) = place
        var next = first + 1
        if grains[first] == 0 {
            // Neither a copy that cannot be read nor one that contradicts the table says what this has no entry for;
            // nor do the markers of a stream that cannot be read.
            let conflicts: Set<Int>?
            do throws(ImageError) { conflicts = try differences(place, number)?.conflicts } catch { conflicts = nil }
            while next < grains.count, grains[next] == 0, conflicts?.contains(next) != false { next += 1 }
        } else {
            while next < grains.count, leadsNowhere(grains[next]) { next += 1 }
        }
        let count = min(rest, UInt64(next - first) * grainSize - offset % grainSize)
        guard count == rest, rest < limit, grains.allSatisfy(leadsNowhere) else { return count }
        let tables = neighbours(of: number, at: place.table, limit: Int((limit - rest) / coverage) + 1)
        return min(limit, rest + UInt64(tables) * coverage)
    }

    /// Whether `entry` of a grain table names no place of the file that a grain can lie at.
    private func leadsNowhere(_ entry: UInt64) -> Bool {
        switch format.grain(entry) {
        case .unallocated, .zeroed: false
        case .invalid: true
        case .allocated(let sector): sector * sectorSize >= file.size
        }
    }

    /// How many entries of the grain directory after the one with this index name the same `table`, of those in its
    /// page, at most `limit`.
    private func neighbours(of number: Int, at table: TableLocation, limit: Int) -> Int {
        guard let (entries, first) = try? directoryPage(at: number), entries[first] != 0,
            (try? self.table(number, entry: entries[first], of: directory))?.offset == table.offset
        else { return 0 }
        var count = 0
        while count < limit, first + count + 1 < entries.count, entries[first + count + 1] == entries[first] {
            count += 1
        }
        return count
    }
}
