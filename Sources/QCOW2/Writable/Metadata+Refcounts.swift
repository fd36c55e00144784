import BlockImage
import ByteFormat

/// Host clusters: docs/interop/qcow2 "Host cluster management".
extension Metadata {
    /// Where the refcount of a cluster stands in the pages.
    private struct RefcountPlace {
        var page: UInt64
        var word: Int
        var shift: UInt64
    }

    /// By how much the file grows at a time: so many flushes need not wait for a new size of it.
    private static let growth: UInt64 = 1 << 20
    /// The fewest and the most clusters that are accounted ahead; with those of 64 KiB, it is as many as the file grows by.
    private static let reserveLimits: (least: UInt64, most: UInt64) = (4, 64)

    /// The refcount block for `cluster`; nil where there is none, and its refcount is 0.
    private func block(of cluster: UInt64) -> UInt64? {
        let index = cluster >> blockBits
        guard index < UInt64(refcountTable.words.count) else { return nil }
        let offset = RefcountTableEntry(rawValue: refcountTable.words[Int(index)]).blockOffset
        return offset == 0 ? nil : offset
    }

    private func place(of cluster: UInt64, in block: UInt64) -> RefcountPlace {
        let index = cluster & (1 << blockBits - 1)
        let byte = refcountFormat.unitOffset(of: index)
        let unitEnd = byte & 7 + UInt64(refcountFormat.unitSize)
        return RefcountPlace(
            page: block + byte / pageSize * pageSize, word: Int(byte % pageSize / 8),
            shift: 64 - 8 * unitEnd + refcountFormat.shift(of: index))
    }

    /// How often `cluster` is used.
    mutating func refcount(of cluster: UInt64) throws(ImageError) -> UInt64 {
        guard let block = block(of: cluster) else { return 0 }
        let place = place(of: cluster, in: block)
        return try page(at: place.page, of: "refcount block")[place.word] >> place.shift & refcountFormat.limit
    }

    /// Has the refcount of `cluster`, for which there is a block, be `count`.
    mutating func setRefcount(of cluster: UInt64, to count: UInt64) throws(ImageError) {
        guard let block = block(of: cluster) else { preconditionFailure("there is a block for what is counted") }
        let place = place(of: cluster, in: block)
        let word = try page(at: place.page, of: "refcount block")[place.word]
        pages.set(
            place.word, to: word & ~(refcountFormat.limit << place.shift) | count << place.shift, at: place.page)
    }

    /// Takes clusters that lie one after another: at most `count`, at least one. They are accounted, and nothing leads to
    /// them.
    ///
    /// Throws `system` where the file cannot be that large, and `unsupported` where the format cannot count as many.
    mutating func allocate(_ count: Int) throws(ImageError) -> Range<UInt64> {
        takenCount += 1
        let reused = try takeReusable()
        if reused == nil, !reserved.isEmpty {
            let taken = reserved.prefix(count)
            reserved = taken.upperBound..<reserved.upperBound
            return taken
        }
        let first = if let reused { reused } else { try searchFree() }
        var end = first + 1
        while end < first + UInt64(count) {
            if reusable.last == end {
                guard try isFree(end) else { break }
                reusable.removeLast()
            } else if end == hint, block(of: end) != nil {
                guard try isFree(end) else { break }
                hint += 1
            } else {
                break
            }
            end += 1
        }
        try take(first..<end)
        return first..<end
    }

    private mutating func takeReusable() throws(ImageError) -> UInt64? {
        while let cluster = reusable.popLast() {
            if try isFree(cluster) { return cluster }
        }
        return nil
    }

    /// The first free cluster from `hint` on, behind which that is then.
    private mutating func searchFree() throws(ImageError) -> UInt64 {
        while true {
            guard let block = block(of: hint) else {
                try makeBlock(for: hint)
                continue
            }
            // All refcounts of one page at a time.
            let page = place(of: hint, in: block).page
            let words = try self.page(at: page, of: "refcount block")
            while self.block(of: hint) == block {
                let place = place(of: hint, in: block)
                guard place.page == page else { break }
                hint += 1
                guard words[place.word] >> place.shift & refcountFormat.limit == 0 else { continue }
                if try isFree(hint - 1) { return hint - 1 }
            }
        }
    }

    /// Whether `cluster` can be taken. Throws where it is one of metadata, which no refcount speaks for.
    private mutating func isFree(_ cluster: UInt64) throws(ImageError) -> Bool {
        guard try refcount(of: cluster) == 0 else { return false }
        if let role = roles[cluster] {
            throw damaged(cluster * clusterSize, "the cluster has the refcount 0, but holds \(role.rawValue)")
        }
        return true
    }

    /// Accounts clusters ahead where few were taken since the tables were written last: then each flush is waited for, and those
    /// that find their clusters accounted need one barrier less. Clusters that are not taken until the process ends, whatever
    /// ends it, are lost to the file; they take no space of the host.
    mutating func reserve() {
        let size = min(max(Self.growth / clusterSize, Self.reserveLimits.least), Self.reserveLimits.most)
        defer { takenCount = 0 }
        guard reserved.isEmpty, reusable.isEmpty, takenCount > 0, takenCount <= Int(size) else { return }
        let clusters = unusedFrom..<unusedFrom + size
        guard block(of: clusters.lowerBound) != nil, block(of: clusters.upperBound - 1) != nil else { return }
        for cluster in clusters where (try? isFree(cluster)) != true { return }
        // Without it, the next are accounted when they are taken.
        guard (try? take(clusters)) != nil else { return }
        reserved = clusters
    }

    /// Gives back what was accounted ahead: as clusters that were never written, where nothing was taken after them.
    mutating func releaseReserve() {
        while let last = reserved.last, last + 1 == unusedFrom, (try? setRefcount(of: last, to: 0)) != nil {
            reserved = reserved.lowerBound..<last
            unusedFrom = last
        }
        hint = min(hint, unusedFrom)
        giveBack(reserved)
        reserved = 0..<0
    }

    /// Accounts `clusters`, which are free, and has the file reach to their end.
    private mutating func take(_ clusters: Range<UInt64>) throws(ImageError) {
        do throws(ImageError) {
            try reach(clusters.upperBound)
            for cluster in clusters { try setRefcount(of: cluster, to: 1) }
        } catch {
            giveBack(clusters)
            throw error
        }
        unusedFrom = max(unusedFrom, clusters.upperBound)
    }

    /// Gives back clusters that nothing ever led to.
    mutating func giveBack(_ clusters: Range<UInt64>) {
        for cluster in clusters.reversed() {
            // Where that cannot be done it stays accounted: a leak.
            guard (try? setRefcount(of: cluster, to: 0)) != nil else { continue }
            reusable.append(cluster)
        }
    }

    /// Has the file reach to the end of its last cluster. QEMU leaves it after what it wrote there, and what is written to the
    /// rest of such a cluster would lie past the end of the file.
    mutating func completeLastCluster() throws(ImageError) {
        try reach(unusedFrom)
    }

    /// Has the file reach to the end of the cluster before `cluster`. Nothing else makes it larger.
    private mutating func reach(_ cluster: UInt64) throws(ImageError) {
        let end = cluster * clusterSize
        guard end > fileEnd else { return }
        let step = max(Self.growth, clusterSize)
        let size = (end + step - 1) / step * step
        try file.setSize(size)
        fileEnd = size
    }
}

/// Growth of the refcounts themselves.
extension Metadata {
    /// The clusters that the bits of an offset allow for.
    private var clusterLimit: UInt64 { (L2Entry.lastHostOffset + 1) / clusterSize }

    /// Makes a refcount block for `cluster`, which then is the block's own, or one before it is. Throws `unsupported` where
    /// the format cannot count it.
    private mutating func makeBlock(for cluster: UInt64) throws(ImageError) {
        let index = cluster >> blockBits
        guard cluster < clusterLimit else { throw tooLarge }
        guard index < UInt64(refcountTable.words.count) else { return try growTable(from: cluster) }
        if let role = roles[cluster] {
            throw damaged(cluster * clusterSize, "the cluster has no refcount, but holds \(role.rawValue)")
        }
        try reach(cluster + 1)
        addBlock(in: cluster, at: Int(index))
        try setRefcount(of: cluster, to: 1)
        unusedFrom = max(unusedFrom, cluster + 1)
    }

    private mutating func addBlock(in cluster: UInt64, at index: Int) {
        make(.refcountBlock, in: cluster)
        refcountTable.set(index, to: cluster * clusterSize)
    }

    /// Makes a larger refcount table, with all blocks that itself needs, in the clusters from `base` on, which the old one
    /// does not reach. The old one is given up.
    private mutating func growTable(from base: UInt64) throws(ImageError) {
        let entriesPerCluster = clusterSize / 8
        var (blocks, tables): (UInt64, UInt64) = (1, 1)
        let first = base >> blockBits
        while true {
            let end = base + blocks + tables
            let needed = (end - 1) >> blockBits + 1
            // Half as many again, so that a file that grows seldom needs another one.
            let entries = min(needed + needed / 2, max(needed, Header.refcountTableSizeLimit / 8))
            let (newBlocks, newTables) = (needed - first, (entries + entriesPerCluster - 1) / entriesPerCluster)
            if newBlocks <= blocks, newTables <= tables { break }
            (blocks, tables) = (max(blocks, newBlocks), max(tables, newTables))
        }
        let clusters = base..<base + blocks + tables
        guard tables * clusterSize <= Header.refcountTableSizeLimit, clusters.upperBound <= clusterLimit else {
            throw tooLarge
        }
        for cluster in clusters {
            guard let role = roles[cluster] else { continue }
            throw damaged(cluster * clusterSize, "the cluster has no refcount, but holds \(role.rawValue)")
        }
        try reach(clusters.upperBound)

        let old = refcountTable.offset / clusterSize
        for cluster in old..<old + UInt64(header.refcountTableClusters) {
            roles[cluster] = nil
            free(cluster)
        }
        let words = refcountTable.words
        let added = Int(tables * entriesPerCluster) - words.count
        let place = base + blocks
        refcountTable.move(words + [UInt64](repeating: 0, count: added), to: place * clusterSize)
        header.refcountTableOffset = refcountTable.offset
        header.refcountTableClusters = UInt32(clamping: tables)
        isTableMoved = true
        for block in 0..<blocks { addBlock(in: base + block, at: Int(first + block)) }
        for cluster in place..<clusters.upperBound { roles[cluster] = .refcountTable }
        for cluster in clusters { try setRefcount(of: cluster, to: 1) }
        unusedFrom = max(unusedFrom, clusters.upperBound)
    }

    private var tooLarge: ImageError {
        ImageError(
            .unsupported, path: file.path,
            "the image would have more clusters than it can count: it needs a larger cluster_size or a smaller refcount_bits"
        )
    }

    /// Gives up a reference to `cluster`, which is counted down when nothing on the disk leads there any more.
    mutating func free(_ cluster: UInt64) {
        freed[cluster, default: 0] += 1
    }
}
