/// How often each host cluster of a part of the file is used, in bounded memory.
///
/// The counts lie in pages of 65,536 clusters that come into being when a cluster of theirs is first used, so that the
/// holes of a sparse file take nothing. A page takes 128 KiB, and 256 KiB once a count does not fit 13 bits. Together
/// they take at most `budget`: with 64 MiB, which are 512 pages, one pass counts 2^25 clusters, 2 TiB of a file with
/// clusters of 64 KiB. Where that is not enough the highest page is given up, and `upper` says how far the counts go;
/// who needs the rest counts again, from there on. Each pass gets at least one page further.
struct UseCounts {
    /// What a cluster is used for, as far as it matters to who else may use it.
    struct Roles: OptionSet {
        let rawValue: UInt32

        /// By something that must be alone: the header, an L1 table, refcounts, bitmaps….
        static let exclusive = Self(rawValue: 1)
        /// As an L2 table, which only other L1 tables may name as well.
        static let l2Table = Self(rawValue: 2)
        /// For data.
        static let data = Self(rawValue: 4)

        /// Whether they contradict each other in a cluster that is used `count` times.
        func overlap(count: UInt64) -> Bool {
            count > 1 && contains(.exclusive) || contains([.l2Table, .data])
        }
    }

    /// log2 of the clusters of a page.
    static let pageBits: UInt64 = 16
    /// The bytes that all pages take together at most, unless said otherwise.
    static let defaultBudget = 64 << 20
    /// The largest count that is kept: 2^29 - 1. What is used more often counts as used so often.
    static let countLimit: UInt64 = 1 << 29 - 1

    private final class Page {
        /// Roles in the highest 3 bits, the count in the others. Empty once the page is wide.
        var narrow = [UInt16](repeating: 0, count: 1 << Int(pageBits))
        /// The same in 32 bits; empty before.
        var wide: [UInt32] = []

        var size: Int { narrow.count * 2 + wide.count * 4 }

        func widen() {
            wide = narrow.map { UInt32($0 >> 13) << 29 | UInt32($0 & 0x1fff) }
            narrow = []
        }
    }

    /// The first cluster that is counted.
    let lower: UInt64
    /// The cluster after the last that is counted; falls while pages are given up.
    private(set) var upper: UInt64
    /// The cluster after the last that is used, of all that were added.
    private(set) var usedEnd: UInt64 = 0
    private var pages: [Page?]
    private var size = 0
    private let budget: Int

    /// Counts of the clusters from `lower`, the first of a page, up to `end`.
    init(from lower: UInt64, end: UInt64, budget: Int = UseCounts.defaultBudget) {
        self.lower = lower
        upper = end
        self.budget = budget
        let count = lower < end ? (end - lower - 1) >> Self.pageBits + 1 : 0
        pages = Array(repeating: nil, count: Int(count))
    }

    /// Counts `times` more uses of `cluster`, where it is one of those that are counted.
    mutating func add(_ cluster: UInt64, times: UInt64, as roles: Roles) {
        if cluster >= usedEnd { usedEnd = cluster + 1 }
        guard cluster >= lower, cluster < upper else { return }
        let index = Int((cluster - lower) >> Self.pageBits)
        let page: Page
        if let found = pages[index] {
            page = found
        } else {
            page = Page()
            pages[index] = page
            size += page.size
        }
        let cell = Int(cluster & (1 << Self.pageBits - 1))
        if page.wide.isEmpty {
            let old = page.narrow[cell]
            let count = UInt64(old & 0x1fff) + min(times, Self.countLimit)
            if count <= 0x1fff {
                page.narrow[cell] = old & 0xe000 | UInt16(roles.rawValue) << 13 | UInt16(count)
                if size > budget { giveUp() }
                return
            }
            size -= page.size
            page.widen()
            size += page.size
        }
        let old = page.wide[cell]
        let count = min(UInt64(old & 0x1fff_ffff) + min(times, Self.countLimit), Self.countLimit)
        page.wide[cell] = old & 0xe000_0000 | roles.rawValue << 29 | UInt32(count)
        if size > budget { giveUp() }
    }

    /// Drops pages from the highest on until the others fit; the lowest stays.
    private mutating func giveUp() {
        var index = Int((upper - lower - 1) >> Self.pageBits)
        while size > budget, index > 0 {
            if let page = pages[index] {
                size -= page.size
                pages[index] = nil
                upper = lower + UInt64(index) << Self.pageBits
            }
            index -= 1
        }
    }

    /// Whether no cluster of the page of `cluster`, which is one of those that are counted, is used.
    func isPageUnused(_ cluster: UInt64) -> Bool {
        pages[Int((cluster - lower) >> Self.pageBits)] == nil
    }

    /// How often `cluster`, one of those that are counted, is used, and for what.
    func uses(of cluster: UInt64) -> (count: UInt64, roles: Roles) {
        guard let page = pages[Int((cluster - lower) >> Self.pageBits)] else { return (0, []) }
        let cell = Int(cluster & (1 << Self.pageBits - 1))
        if page.wide.isEmpty {
            let value = page.narrow[cell]
            return (UInt64(value & 0x1fff), Roles(rawValue: UInt32(value >> 13)))
        }
        let value = page.wide[cell]
        return (UInt64(value & 0x1fff_ffff), Roles(rawValue: value >> 29))
    }
}
