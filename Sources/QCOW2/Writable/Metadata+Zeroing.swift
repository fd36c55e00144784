import BlockImage
import ByteFormat

/// How zeroing goes on.
enum ZeroStep {
    /// So many bytes read as zeros now.
    case done(UInt64)
    /// So many bytes are only a part of what a flag is for: zeros must be written there.
    case part(UInt64)
}

extension Metadata {
    /// Has bytes of the disk from `position` on, up to `end`, read as zeros, as far as flags can say it. `diskEnd`: what lies
    /// past it belongs to nothing. `hasBelow`: whether something lies below, which clusters that are not allocated show.
    /// `mayUnmap`: whether host clusters are given up.
    ///
    /// Only for who alone uses their guest clusters.
    mutating func zero(
        at position: UInt64, upTo end: UInt64, diskEnd: UInt64, hasBelow: Bool, mayUnmap: Bool
    ) throws(ImageError) -> ZeroStep {
        try checkIsSound()
        let cluster = position / clusterSize
        if !hasBelow, place(of: cluster) == nil {
            return .done(min(end - position, l2Coverage - position % l2Coverage))
        }
        var place = try madePlace(of: cluster)
        guard covers(end, clusterOf: position, diskEnd: diskEnd) else {
            return try zeroPart(
                at: position, upTo: end, diskEnd: diskEnd, place, hasBelow: hasBelow, mayUnmap: mayUnmap)
        }
        var done = position
        while covers(end, clusterOf: done, diskEnd: diskEnd) {
            try zeroCluster(place, hasBelow: hasBelow, mayUnmap: mayUnmap)
            done = min(done + clusterSize, end)
            guard done < end, let next = next(place) else { break }
            place = next
        }
        return .done(done - position)
    }

    /// Whether the bytes from `position` up to `end` are all of its cluster that belongs to the disk.
    private func covers(_ end: UInt64, clusterOf position: UInt64, diskEnd: UInt64) -> Bool {
        position % clusterSize == 0 && end >= min(position + clusterSize, diskEnd)
    }

    private mutating func zeroCluster(
        _ place: EntryPlace, hasBelow: Bool, mayUnmap: Bool
    ) throws(ImageError) {
        let entry = try entry(at: place)
        switch entry.mapping {
        case .unallocated where !hasBelow, .zero(preallocated: nil): return
        case .zero where !mayUnmap && entry.own != nil: return
        default: break
        }
        if let own = entry.own, !mayUnmap {
            set(place, to: .zero(preallocated: own))
        } else {
            set(place, to: .zero(preallocated: nil))
            free(entry.mapping)
        }
    }

    /// The same of a part of one cluster.
    private mutating func zeroPart(
        at position: UInt64, upTo end: UInt64, diskEnd: UInt64, _ place: EntryPlace, hasBelow: Bool, mayUnmap: Bool
    ) throws(ImageError) -> ZeroStep {
        let skip = position % clusterSize
        let rest = min(end - position, clusterSize - skip)
        let entry = try entry(at: place)
        if case .zero = entry.mapping { return .done(rest) }
        guard format.isExtended, !entry.mustMove else { return .part(rest) }
        guard skip % granule == 0 else { return .part(min(rest, granule - skip % granule)) }
        // The last subcluster may end past the disk.
        let last = position + rest == diskEnd ? skip + rest + granule - 1 : skip + rest
        let bits = Int(skip / granule)..<Int(min(last / granule, UInt64(SubclusterBitmap.count)))
        guard !bits.isEmpty else { return .part(rest) }
        let old = SubclusterBitmap(entry.mapping)
        var bitmap = old.setting(bits, to: .zero)
        if !hasBelow, entry.own == nil { bitmap = old }
        if bitmap != old {
            let holdsData = SubclusterBitmap.allocated.isSet(in: bitmap.rawValue)
            let isGivenUp = mayUnmap && !holdsData && entry.own != nil
            set(place, to: .subclusters(bitmap, host: isGivenUp ? nil : entry.own))
            if isGivenUp { free(entry.mapping) }
        }
        return .done(min(rest, UInt64(bits.count) * granule))
    }
}
