import Synchronization

/// A piece of a table, decoded to 64-bit entries. Immutable.
public final class TablePage: Sendable {
    /// The entries in the table's order.
    public let entries: [UInt64]

    /// A page of `entries`.
    public init(_ entries: [UInt64]) {
        self.entries = entries
    }
}

/// A table of equally sized entries in a file: where it lies and how its bytes become entries.
public struct TableLocation: Sendable {
    /// The file that holds it.
    public var file: any HostFile
    /// Where its first entry lies.
    public var offset: HostOffset
    /// How many entries it has.
    public var count: Int
    /// The bytes of one entry.
    public var entrySize: Int
    /// Makes entries of the bytes of any whole number of them.
    public var decode: @Sendable (RawSpan) -> [UInt64]
    /// What it is, for messages: "L2 table".
    public var name: String

    /// The table of `count` entries of `entrySize` bytes at `offset` of `file`, which `decode` makes entries of.
    public init(
        file: any HostFile, offset: HostOffset, count: Int, entrySize: Int, name: String,
        decode: @escaping @Sendable (RawSpan) -> [UInt64]
    ) {
        self.file = file
        self.offset = offset
        self.count = count
        self.entrySize = entrySize
        self.name = name
        self.decode = decode
    }
}

/// Keeps pieces of the tables of all open images, up to a set size. Every method may be called from any thread.
///
/// A table is read in pages of at most 4,096 entries: a 2 MiB L2 table need not be read for one random access, and a
/// hostile image with a 32 MiB L1 table takes no more memory than any other.
public final class TableCache: Sendable {
    /// The most entries that one page holds.
    public static let pageEntries = 4096

    private struct Key: Hashable, Sendable {
        var file: HostFileID
        var offset: HostOffset
        /// In a damaged image tables may overlap, and be of different sizes.
        var count: Int
    }

    /// Parts of the cache, by the page's place in its file: random reads by many threads seldom meet at one lock.
    private let parts: [BoundedCache<Key, TablePage>]
    /// The most bytes that it keeps.
    public let capacity: Int
    /// How many bytes it keeps now.
    public var cost: Int { parts.reduce(0) { $0 + $1.cost } }

    /// A cache that keeps up to `capacity` bytes of entries.
    public init(capacity: Int) {
        self.capacity = capacity
        // A part has space for some thirty pages at least.
        let count = max(1, min(16, capacity >> 20))
        parts = (0..<count).map { _ in BoundedCache(capacity: capacity / count) }
    }

    /// The part that the page at `offset` belongs to.
    private func pages(at offset: HostOffset) -> BoundedCache<Key, TablePage> {
        // Tables lie at multiples of a cluster: multiplied by 2^64 over the golden ratio, these spread over all parts.
        let mixed = (offset.rawValue >> 9) &* 0x9E37_79B9_7F4A_7C15
        return parts[Int(mixed >> 32) % parts.count]
    }

    /// The page that holds the entry `index` of `table`, and that entry's index in it. `index` must be in the table.
    ///
    /// A page of a table that the file cuts short has the entries that are there. Throws what reading the file throws,
    /// and `truncated` where it ends before the entry.
    public func page(
        of table: borrowing TableLocation, at index: Int, counters: ReadCounters
    ) throws(ImageError) -> (page: TablePage, index: Int) {
        let found = try loadedPage(of: table, at: index, counters: counters)
        guard found.index < found.page.entries.count else {
            let entry = table.offset.advanced(by: UInt64(index * table.entrySize))
            throw ImageError(
                .truncated, path: table.file.path, offset: entry,
                "\(table.name): entry \(index) lies past the end of the file at \(HostOffset(table.file.size))")
        }
        return found
    }

    private func loadedPage(
        of table: borrowing TableLocation, at index: Int, counters: ReadCounters
    ) throws(ImageError) -> (page: TablePage, index: Int) {
        let first = index - index % Self.pageEntries
        let offset = table.offset.advanced(by: UInt64(first * table.entrySize))
        let count = min(Self.pageEntries, table.count - first)
        let key = Key(file: table.file.id, offset: offset, count: count)
        let pages = pages(at: offset)
        if let page = pages.value(for: key) {
            counters.tableHits.add(1, ordering: .relaxed)
            return (page, index - first)
        }
        counters.tableMisses.add(1, ordering: .relaxed)
        let entries = try Self.load(count, of: table, at: offset)
        let page = pages.insert(TablePage(entries), cost: heapCost(of: entries.count * 8), for: key)
        return (page, index - first)
    }

    /// Forgets the tables of a file that is being closed.
    public func removeTables(of file: HostFileID) {
        for pages in parts { pages.removeAll { $0.file == file } }
    }

    /// What tables are read into. They are kept: between pages that stay they would leave gaps in the heap.
    private static let buffers = BufferPool(capacity: pageEntries * 8)

    /// Reads as many of the `count` entries as the file holds.
    private static func load(
        _ count: Int, of table: borrowing TableLocation, at offset: HostOffset
    ) throws(ImageError) -> [UInt64] {
        let file = table.file
        let held = file.size > offset.rawValue ? (file.size - offset.rawValue) / UInt64(table.entrySize) : 0
        let size = Int(min(UInt64(count), held)) * table.entrySize
        let buffer = buffers.take(size)
        defer { buffers.giveBack(buffer) }
        try buffer.fill(size) { output throws(ImageError) in try file.read(size, at: offset, into: &output) }
        return table.decode(buffer.bytes)
    }
}
