import BlockImage
import ByteFormat

/// Where guest clusters lie: docs/interop/qcow2 "Cluster mapping".
extension Metadata {
    /// Where the entry of a guest cluster stands in the pages.
    struct EntryPlace {
        /// The number of the guest cluster.
        var cluster: UInt64
        /// The page of an L2 table.
        var page: UInt64
        /// The first word of the entry in it.
        var word: Int
    }

    /// What an entry says, and what of that can be changed in place.
    struct Entry {
        /// How the cluster is stored.
        var mapping: ClusterMapping
        /// Its host cluster, where nothing else uses that.
        var own: HostOffset?

        /// Whether what it is stored in must be given up where any of it is written: it is compressed, or in a host cluster
        /// that something else uses as well.
        var mustMove: Bool {
            if case .compressed = mapping { return true }
            return own == nil && mapping.host != nil
        }
    }

    /// Where the L2 table for the guest cluster `cluster` lies; 0: there is none.
    func table(for cluster: UInt64) -> UInt64 {
        L1Entry(rawValue: l1Table.words[l1Index(of: cluster)]).l2TableOffset
    }

    private func l1Index(of cluster: UInt64) -> Int { Int(cluster / entriesPerTable) }

    /// How many clusters an L2 table is for.
    var entriesPerTable: UInt64 { l2Coverage / clusterSize }

    /// The place of the entry for `cluster`; nil where there is no L2 table for it.
    func place(of cluster: UInt64) -> EntryPlace? {
        let table = table(for: cluster)
        guard table != 0 else { return nil }
        let byte = cluster % entriesPerTable * UInt64(format.wordsPerEntry) * 8
        return EntryPlace(
            cluster: cluster, page: table + byte / pageSize * pageSize, word: Int(byte % pageSize / 8))
    }

    /// The place of the entry for `cluster`, for which an L2 table is made where there is none.
    mutating func madePlace(of cluster: UInt64) throws(ImageError) -> EntryPlace {
        if let place = place(of: cluster) { return place }
        let host = try allocate(1).lowerBound
        make(.l2Table, in: host)
        newTables.insert(host)
        l1Table.set(l1Index(of: cluster), to: L1Entry(l2TableAt: HostOffset(host * clusterSize)).rawValue)
        guard let place = place(of: cluster) else { preconditionFailure("the table was just made") }
        return place
    }

    /// The place of the entry after `place`, where it stands in the same page.
    func next(_ place: EntryPlace) -> EntryPlace? {
        let word = place.word + format.wordsPerEntry
        guard word < Int(pageSize / 8) else { return nil }
        return EntryPlace(cluster: place.cluster + 1, page: place.page, word: word)
    }

    /// The entries of the page that `place` is in, and the index of that one.
    mutating func entries(at place: EntryPlace) throws(ImageError) -> (page: L2Page, index: Int) {
        let index = place.word / format.wordsPerEntry
        let page = L2Page(
            words: try page(at: place.page, of: "L2 table"), location: HostOffset(place.page),
            start: (place.cluster - UInt64(index)) * clusterSize, format: format, path: file.path)
        return (page, index)
    }

    /// What the entry at `place` says. Throws `corrupt` where it cannot be true.
    mutating func entry(at place: EntryPlace) throws(ImageError) -> Entry {
        let (page, index) = try entries(at: place)
        let mapping = try page.mapping(at: index)
        var count: UInt64 = 0
        for cluster in hostClusters(of: mapping) {
            count = try refcount(of: cluster)
            let host = HostOffset(cluster * clusterSize)
            let fault: ErrorText
            if let role = roles[cluster] {
                fault = "which holds \(role.rawValue)"
            } else if count == 0 {
                fault = "a cluster that has the refcount 0"
            } else {
                continue
            }
            throw damaged(
                place.page + UInt64(place.word) * 8, "L2 table: the entry here points to \(host), \(fault)")
        }
        guard let host = mapping.host else { return Entry(mapping: mapping, own: nil) }
        guard host.rawValue < fileEnd else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(place.page + UInt64(place.word) * 8),
                "L2 table: the entry here points to \(host), past the end of the file at \(HostOffset(fileEnd))")
        }
        return Entry(mapping: mapping, own: count == 1 ? host : nil)
    }

    /// The host clusters that a guest cluster has a part of, which is stored so. A compressed one has a part of each that
    /// its sectors lie in.
    private func hostClusters(of mapping: ClusterMapping) -> Range<UInt64> {
        switch mapping {
        case .compressed(let host, let count):
            return host.rawValue / clusterSize..<(host.rawValue + count - 1) / clusterSize + 1
        default:
            guard let host = mapping.host else { return 0..<0 }
            return host.rawValue / clusterSize..<host.rawValue / clusterSize + 1
        }
    }

    /// Has the entry at `place`, which was looked at, say `mapping`. Its host cluster is used by nothing else.
    mutating func set(_ place: EntryPlace, to mapping: ClusterMapping) {
        pages.set(place.word, to: L2Entry(mapping, format).rawValue, at: place.page)
        if format.isExtended {
            pages.set(place.word + 1, to: SubclusterBitmap(mapping).rawValue, at: place.page)
        }
    }

    /// Gives up what a cluster is stored in that is stored so no more.
    mutating func free(_ mapping: ClusterMapping) {
        for cluster in hostClusters(of: mapping) { free(cluster) }
    }
}

extension Metadata {
    /// What lies at a place of the disk.
    enum Found {
        /// There is no L2 table for so many bytes.
        case missing(count: UInt64)
        /// In this page, at this index; and where the file ends.
        case page(L2Page, index: Int, fileEnd: UInt64)
        /// This page must be read first.
        case unread(page: UInt64, evictions: Int)
    }

    /// What the tables say of the disk at `start`, in at most `limit` bytes.
    mutating func find(_ start: UInt64, limit: UInt64) throws(ImageError) -> Found {
        let cluster = start / clusterSize
        guard let place = place(of: cluster) else {
            var count = l2Coverage - start % l2Coverage
            while count < limit, table(for: (start + count) / clusterSize) == 0 { count += l2Coverage }
            return .missing(count: min(count, limit))
        }
        guard pages.words(at: place.page) != nil else {
            return .unread(page: place.page, evictions: pages.evictions)
        }
        let (page, index) = try entries(at: place)
        return .page(page, index: index, fileEnd: fileEnd)
    }

    /// Keeps a page that was read when pages had been forgotten `evictions` times, unless it was kept meanwhile, or may
    /// have been and be another by now.
    mutating func keep(_ words: [UInt64], at page: UInt64, evictions: Int) {
        guard evictions == pages.evictions, pages.words(at: page) == nil else { return }
        pages.insert(words, at: page)
    }
}
