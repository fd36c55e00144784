import BlockImage

/// The file allocation table: for each cluster the next one of its file. Read in pages, of which a bounded number is kept.
/// Every method may be called from any thread.
final class ClusterTable: Sendable {
    /// How wide its entries are.
    enum Width: Sendable {
        case fat12, fat16, fat32, exFAT

        /// The entries from here on end a chain.
        var end: UInt32 {
            switch self {
            case .fat12: 0xff8
            case .fat16: 0xfff8
            case .fat32: 0x0fff_fff8
            case .exFAT: .max
            }
        }

        /// The bytes of `count` entries.
        func size(of count: UInt64) -> UInt64 {
            switch self {
            case .fat12: count / 2 * 3 + count % 2 * 2
            case .fat16: count * 2
            case .fat32, .exFAT: count * 4
            }
        }
    }

    /// Some of its bytes.
    fileprivate final class Page: Sendable {
        let bytes: [UInt8]

        init(_ bytes: [UInt8]) { self.bytes = bytes }
    }

    /// The page that was used last, so that a walk along a chain seldom asks the cache.
    struct Cursor {
        fileprivate var index: UInt64?
        fileprivate var page: Page?

        /// None yet.
        init() {}
    }

    /// The entries of a page: an even number, so that no entry of 12 bits lies in two.
    private static let pageEntries: UInt64 = 4096

    let width: Width
    let heap: ClusterHeap
    private let disk: GuestDisk
    private let start: UInt64
    private let pages = BoundedCache<UInt64, Page>(capacity: 1 << 20)

    /// The table at `start` of `disk`, which has an entry for each cluster of `heap`.
    init(_ width: Width, at start: UInt64, of disk: GuestDisk, for heap: ClusterHeap) {
        (self.width, self.start, self.disk, self.heap) = (width, start, disk, heap)
    }

    /// How many entries it has: two come before that of the first cluster.
    private var count: UInt64 { UInt64(heap.count) + UInt64(ClusterHeap.first) }

    /// The entry of `cluster`, at most one past the last one's.
    func value(of cluster: UInt32, _ cursor: inout Cursor) throws(ImageError) -> UInt32 {
        let index = UInt64(cluster) / Self.pageEntries
        let place = Int(UInt64(cluster) % Self.pageEntries)
        if cursor.index != index {
            cursor.page = try page(index)
            cursor.index = index
        }
        guard let bytes = cursor.page?.bytes[...] else { return 0 }
        switch width {
        case .fat12:
            let pair: UInt16 = littleEndian(bytes, place / 2 * 3 + place % 2)
            return UInt32(place % 2 == 0 ? pair & 0xfff : pair >> 4)
        case .fat16: return UInt32(littleEndian(bytes, place * 2, as: UInt16.self))
        case .fat32: return littleEndian(bytes, place * 4, as: UInt32.self) & 0x0fff_ffff
        case .exFAT: return littleEndian(bytes, place * 4)
        }
    }

    /// Where on the disk the entry of `cluster` is.
    private func offset(of cluster: UInt32) -> UInt64 {
        start + (width == .fat12 ? UInt64(cluster) / 2 * 3 + UInt64(cluster) % 2 : width.size(of: UInt64(cluster)))
    }

    private func page(_ index: UInt64) throws(ImageError) -> Page {
        if let page = pages.value(for: index) { return page }
        let bytes = try load(index)
        return pages.insert(Page(bytes), cost: bytes.count + 128, for: index)
    }

    private func load(_ index: UInt64) throws(ImageError) -> [UInt8] {
        let first = index * Self.pageEntries
        let size = width.size(of: min(Self.pageEntries, count - first))
        return try disk.bytes(Int(size), at: start + width.size(of: first))
    }

    /// The chain that begins with `first`, or its first `limit` clusters. What is wrong with it is its `fault`. `entry`: where on
    /// the disk `first` comes from.
    func chain(from first: UInt32, limit: UInt64, entry: UInt64) -> ClusterChain {
        var chain = ClusterChain()
        var (cluster, source) = (first, entry)
        var cursor = Cursor()
        // Brent's: in a chain that comes round to itself, one of the marks is met again.
        var (mark, steps, distance) = (first, 0, 1)
        while UInt64(chain.count) < limit {
            guard heap.contains(cluster) else {
                chain.fault = disk.corrupt(
                    at: source, "\(said(of: cluster)) comes next in the chain from cluster \(first)")
                break
            }
            chain.append(cluster)
            guard chain.runs.count <= ClusterChain.limit else {
                chain.fault = ImageError(
                    .unsupported, path: disk.path,
                    "\(disk.name): the chain from cluster \(first) lies in more than \(ClusterChain.limit) pieces")
                break
            }
            source = offset(of: cluster)
            do throws(ImageError) {
                cluster = try value(of: cluster, &cursor)
            } catch {
                chain.fault = error
                break
            }
            if cluster >= width.end { break }
            guard cluster != mark else {
                chain.fault = disk.corrupt(at: source, "the chain from cluster \(first) comes to \(cluster) twice")
                break
            }
            steps += 1
            if steps == distance { (mark, steps, distance) = (cluster, 0, distance * 2) }
        }
        return chain
    }

    /// That the directory stated at `entry` has more than `limit` bytes.
    func tooLong(_ limit: UInt64, entry: UInt64) -> ImageError {
        disk.corrupt(at: entry, "the directory stated here has more than \(limit) bytes, which none can have")
    }

    private func said(of cluster: UInt32) -> ErrorText {
        switch cluster {
        case 0: "a free cluster (0)"
        case 1: "cluster 1, which there is not,"
        case width.end - (width == .exFAT ? 8 : 1): "a bad cluster"
        default: "cluster \(cluster), where the last one is \(UInt64(heap.count) + 1),"
        }
    }

    /// How many clusters are free: those whose entries are 0.
    func freeClusters() throws(ImageError) -> UInt64 {
        var free: UInt64 = 0
        var cursor = Cursor()
        for index in 0...(count - 1) / Self.pageEntries {
            // Past the cache: what chains need stays there.
            cursor.page = Page(try load(index))
            cursor.index = index
            let first = max(index * Self.pageEntries, UInt64(ClusterHeap.first))
            for cluster in first..<max(first, min(count, (index + 1) * Self.pageEntries))
            where try value(of: UInt32(cluster), &cursor) == 0 {
                free += 1
            }
        }
        return free
    }
}
