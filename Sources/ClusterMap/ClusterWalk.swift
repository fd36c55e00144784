import BlockImage
import ByteFormat

/// A walk over all tables of a map, each once, in bounded time: what checks and `inspect` go by. To be used by one thread.
struct ClusterWalk {
    /// An entry of a table.
    struct Entry {
        /// The table.
        var table: TableLocation
        var index: Int
        /// The entry as stored.
        var stored: UInt64
        /// Where the disk's part begins that it is for; at most 2^63 and a cluster or table.
        var guest: UInt64

        /// Where it lies.
        var offset: HostOffset { table.offset.advanced(by: UInt64(index * table.entrySize)) }
    }

    /// The entries that are read at once.
    private static let step = 4096

    let map: ClusterMap
    /// The bytes of tables that may still be read: a sound image has no more than the file itself.
    private var budget: UInt64

    /// A walk over the tables of `map`.
    init(_ map: ClusterMap) {
        self.map = map
        budget = min(map.file.size, .max >> 2) * 2 + (1 << 20)
    }

    /// Hands `body` the entries of the first table that the disk needs and that are not 0.
    mutating func visitFirst(_ body: (Entry) throws(ImageError) -> Void) throws(ImageError) {
        try visit(map.first, map.neededFirstCount, from: 0, covering: map.coverage, body)
    }

    /// Hands `body` the entries of `table`, which `entry` names, that are not 0 and are for a part of the disk.
    mutating func visit(
        _ table: TableLocation, of entry: Entry, _ body: (Entry) throws(ImageError) -> Void
    ) throws(ImageError) {
        let left = map.virtualSize - min(entry.guest, map.virtualSize)
        let needed = left / map.clusterSize + (left % map.clusterSize == 0 ? 0 : 1)
        try visit(table, min(table.count, Int(clamping: needed)), from: entry.guest, covering: map.clusterSize, body)
    }

    /// Throws `unsupported` where the tables have more bytes together than the file can hold.
    private mutating func visit(
        _ table: TableLocation, _ count: Int, from guest: UInt64, covering size: UInt64,
        _ body: (Entry) throws(ImageError) -> Void
    ) throws(ImageError) {
        let held = map.file.size > table.offset.rawValue ? map.file.size - table.offset.rawValue : 0
        let count = min(count, Int(clamping: held / UInt64(table.entrySize)))
        let buffer = AlignedBuffer(capacity: Self.step * table.entrySize, alignment: 64)
        var first = 0
        while first < count {
            try ReadScope.checkWanted()
            let offset = table.offset.advanced(by: UInt64(first * table.entrySize))
            let run = map.file.run(at: offset, limit: UInt64((count - first) * table.entrySize))
            let empty = run.isHole ? Int(clamping: run.count / UInt64(table.entrySize)) : 0
            guard empty == 0 else {
                first += min(empty, count - first)
                continue
            }
            let here = min(Self.step, count - first)
            let bytes = here * table.entrySize
            defer { first += here }
            guard budget >= UInt64(bytes) else {
                throw ImageError(
                    .unsupported, path: map.file.path, offset: offset,
                    "\(table.name): the tables have more entries together than fit into the file")
            }
            budget -= UInt64(bytes)
            try buffer.fill(bytes) { output throws(ImageError) in try map.file.read(bytes, at: offset, into: &output) }
            for (place, entry) in table.decode(buffer.bytes).enumerated() where entry != 0 {
                // Below the size of the disk, which is at most 2^63.
                let start = guest &+ UInt64(first + place) &* size
                try body(Entry(table: table, index: first + place, stored: entry, guest: start))
            }
        }
    }
}

/// A set of the clusters of a file, in memory that follows what is in it.
struct ClusterSet {
    private static let wordsPerPage: UInt64 = 64

    private var pages: [UInt64: [UInt64]] = [:]

    /// Adds `cluster`; false where it is there already.
    mutating func insert(_ cluster: UInt64) -> Bool {
        let (word, bit) = (cluster / 64, cluster % 64)
        let (page, index) = (word / Self.wordsPerPage, Int(word % Self.wordsPerPage))
        let mask = UInt64(1) << bit
        let empty = [UInt64](repeating: 0, count: Int(Self.wordsPerPage))
        let isNew = pages[page, default: empty][index] & mask == 0
        pages[page, default: empty][index] |= mask
        return isNew
    }

    /// How many are in it.
    var count: UInt64 {
        pages.values.reduce(0) { $0 + $1.reduce(0) { $0 + UInt64($1.nonzeroBitCount) } }
    }
}
