import BlockImage

/// Host space for what is to be written.
struct Placement: Sendable {
    /// Where on the disk the cluster begins that it is for, or the first of several.
    var guest: UInt64
    /// Where on the host it begins.
    var host: UInt64
    /// How many clusters it has.
    var clusters: Int
    /// The bytes that are to be written, counted from `guest`.
    var data: Range<UInt64>
    /// The bytes that must be defined on the host before tables lead there: those of `data`, and around them whole
    /// subclusters, or clusters, as far as they are not there already.
    var filled: Range<UInt64>
    /// What of `filled` must be: the rest is for later writes.
    var needed: Range<UInt64>
    /// Whether the host clusters were taken for it.
    var isNew: Bool
    /// Whether they were never written, and read as zeros.
    var isUnused: Bool
    /// Whether the disk has zeros in all of `filled` now, so that what is not written yet may be seen there.
    var replacesZeros = false
    /// What the cluster is stored in until then, where it is to be given up.
    var replaced: ClusterMapping?
}

/// How a write goes on.
enum WriteStep {
    /// So many bytes can be written at this place.
    case inPlace(HostOffset, count: UInt64)
    /// In space that tables must lead to afterwards.
    case placed(Placement)
}

extension Metadata {
    /// The most bytes that are written besides those of a request, for later ones.
    private static let fillLimit: UInt64 = 256 << 10

    /// The bytes that a bit of an entry is for: of a subcluster, or of a cluster.
    var granule: UInt64 { format.isExtended ? clusterSize / UInt64(SubclusterBitmap.count) : clusterSize }

    /// Where the bytes of the disk from `position` up to `end` can be written in place, and how many of them: those of
    /// subclusters that are data, in host clusters that nothing else uses and that lie one after another.
    mutating func ownData(at position: UInt64, upTo end: UInt64) throws(ImageError) -> (
        host: HostOffset, count: UInt64
    )? {
        guard var place = place(of: position / clusterSize) else { return nil }
        var found: (host: HostOffset, count: UInt64)?
        var current = position
        while current < end {
            let entry = try entry(at: place)
            let run = entry.mapping.run(from: current % clusterSize, clusterSize: clusterSize)
            guard entry.own != nil, case .data(let host) = run.storage else { break }
            if let found, found.host.advanced(by: found.count) != host { break }
            let count = min(run.count, end - current)
            found = (found?.host ?? host, (found?.count ?? 0) + count)
            current += count
            guard current % clusterSize == 0, let next = next(place) else { break }
            place = next
        }
        return found
    }

    /// How the bytes of the disk from `position` up to `end` are to be written: those at its beginning.
    ///
    /// Only for who alone uses their guest clusters. `fillsUp`: what follows data of a cluster is placed together with the rest
    /// of it, so that later writes find it there. Throws what `allocate` throws.
    mutating func planWrite(
        at position: UInt64, upTo end: UInt64, fillsUp: Bool
    ) throws(ImageError) -> WriteStep {
        try checkIsSound()
        if let found = try ownData(at: position, upTo: end) { return .inPlace(found.host, count: found.count) }
        let place = try madePlace(of: position / clusterSize)
        let entry = try entry(at: place)
        let guest = position - position % clusterSize
        var placement = Placement(
            guest: guest, host: entry.own?.rawValue ?? 0, clusters: 1, data: position - guest..<clusterSize,
            filled: 0..<clusterSize, needed: 0..<clusterSize, isNew: entry.own == nil, isUnused: false,
            replaced: entry.mustMove ? entry.mapping : nil)
        if placement.isNew {
            let wanted = entry.mustMove ? 1 : try vacantClusters(from: place, upTo: end)
            let taken = try allocateUnused(wanted)
            placement.host = taken.clusters.lowerBound * clusterSize
            placement.clusters = taken.clusters.count
            placement.isUnused = taken.isUnused
        }
        let last = min(end - guest, UInt64(placement.clusters) * clusterSize)
        placement.data = position - guest..<last
        if placement.replaced == nil {
            placement.filled = filled(around: placement.data, in: entry, isNew: placement.isNew)
            placement.needed = placement.filled
            if fillsUp, !placement.isNew { fillUp(&placement, in: entry) }
        }
        return .placed(placement)
    }

    /// Takes clusters as `allocate` does, and tells whether all of them were never written.
    private mutating func allocateUnused(
        _ count: Int
    ) throws(ImageError) -> (clusters: Range<UInt64>, isUnused: Bool) {
        let (before, reserved) = (unusedFrom, reserved)
        let clusters = try allocate(count)
        return (clusters, reserved.contains(clusters.lowerBound) || clusters.lowerBound >= before)
    }

    /// How many clusters from that of `place` on, up to the one that the disk's byte before `end` lies in, have no host
    /// cluster, as far as the page knows: at least one.
    private mutating func vacantClusters(from place: EntryPlace, upTo end: UInt64) throws(ImageError) -> Int {
        var (count, place) = (1, place)
        while let next = next(place), next.cluster * clusterSize < end {
            let entry = try entry(at: next)
            guard entry.own == nil, !entry.mustMove else { break }
            (count, place) = (count + 1, next)
        }
        return count
    }

    /// `data`, and what is to be defined with it: the rest of the subclusters that it begins and ends in, unless these are
    /// data of the cluster's own already.
    private func filled(around data: Range<UInt64>, in entry: Entry, isNew: Bool) -> Range<UInt64> {
        func isData(_ byte: UInt64) -> Bool {
            guard !isNew, case .data = entry.mapping.run(from: byte, clusterSize: clusterSize).storage else {
                return false
            }
            return true
        }
        let first = data.lowerBound / granule * granule
        let end = (data.upperBound + granule - 1) / granule * granule
        return (isData(first) ? data.lowerBound : first)..<(isData(end - granule) ? data.upperBound : end)
    }

    /// Has `placement` fill its cluster up to the end, where it goes on after data of it and all that follows is stored elsewhere.
    private func fillUp(_ placement: inout Placement, in entry: Entry) {
        func run(at byte: UInt64) -> ClusterRun { entry.mapping.run(from: byte, clusterSize: clusterSize) }
        guard placement.filled.lowerBound > 0, placement.filled.upperBound < clusterSize,
            clusterSize - placement.filled.upperBound <= Self.fillLimit,
            case .data = run(at: placement.filled.lowerBound - 1).storage
        else { return }
        var end = placement.filled.upperBound
        while end < clusterSize {
            let run = run(at: end)
            if case .data = run.storage { return }
            end += run.count
        }
        placement.filled = placement.filled.lowerBound..<clusterSize
    }

    /// Has the tables lead to a placement whose bytes are on the host.
    mutating func publish(_ placement: Placement) throws(ImageError) {
        try checkIsSound()
        let first = placement.guest / clusterSize
        var place = try madePlace(of: first)
        // All entries are in its page, which is kept from now on.
        _ = try entries(at: place)
        for index in 0..<UInt64(placement.clusters) {
            let start = index * clusterSize
            let host = HostOffset(placement.host + start)
            if format.isExtended, placement.replaced == nil {
                let lower = max(placement.filled.lowerBound, start) - start
                let upper = min(placement.filled.upperBound, start + clusterSize) - start
                let bits = Int(lower / granule)..<Int((upper + granule - 1) / granule)
                let (page, entry) = try entries(at: place)
                let bitmap = SubclusterBitmap(try page.mapping(at: entry)).setting(bits, to: .data)
                set(place, to: .subclusters(bitmap, host: host))
            } else {
                set(place, to: .data(host))
            }
            if let next = next(place) { place = next }
        }
        if let replaced = placement.replaced { free(replaced) }
        hasNewData = hasNewData || !placement.replacesZeros
    }

    /// Takes back a placement that nothing leads to.
    mutating func undo(_ placement: Placement) {
        guard placement.isNew else { return }
        let first = placement.host / clusterSize
        giveBack(first..<first + UInt64(placement.clusters))
    }
}
