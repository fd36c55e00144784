import BlockImage
import ByteFormat

/// Pieces of L2 tables and refcount blocks in memory, as the words of 64 bits that they are made of. Those that were
/// changed stay until they are written.
struct MetadataPages {
    /// The most bytes of a page; where clusters are smaller, it is one of those.
    static let sizeLimit: UInt64 = 4096

    private struct Page {
        var words: [UInt64]
        var lastUse: UInt64
    }

    private var pages: [UInt64: Page] = [:]
    /// How often a page was looked for.
    private var uses: UInt64 = 0
    /// Where the pages lie that were changed since they were written.
    private(set) var dirty: Set<UInt64> = []
    /// How often pages were forgotten. What was read before that may be older than what is on the disk.
    private(set) var evictions = 0
    /// Whether pages are being written: until that is done, none is forgotten.
    var isWriting = false
    /// How many pages that were not changed are kept.
    private let capacity: Int

    /// No pages yet; at most `capacity` are kept.
    init(capacity: Int) {
        self.capacity = capacity
    }

    /// The words of the page at `offset`, if it is kept.
    mutating func words(at offset: UInt64) -> [UInt64]? {
        uses += 1
        pages[offset]?.lastUse = uses
        return pages[offset]?.words
    }

    /// Keeps the page at `offset`, as it is on the disk.
    mutating func insert(_ words: [UInt64], at offset: UInt64) {
        if !isWriting, pages.count - dirty.count >= capacity { evict() }
        pages[offset] = Page(words: words, lastUse: uses)
    }

    /// Keeps a new page at `offset`, which is to be written.
    mutating func insertNew(_ words: [UInt64], at offset: UInt64) {
        pages[offset] = Page(words: words, lastUse: uses)
        dirty.insert(offset)
    }

    /// Changes a word of the page at `offset`, which is kept.
    mutating func set(_ index: Int, to word: UInt64, at offset: UInt64) {
        precondition(pages[offset] != nil, "only a page that was looked at is changed")
        pages[offset]?.words[index] = word
        dirty.insert(offset)
    }

    /// Takes the pages that were changed; they are then as those that were written.
    mutating func takeDirty() -> Set<UInt64> {
        defer { dirty = [] }
        return dirty
    }

    /// Takes back that the pages at `offsets` were written.
    mutating func markDirty(_ offsets: Set<UInt64>) {
        dirty.formUnion(offsets)
    }

    /// Forgets the quarter of the unchanged pages that was used least lately.
    private mutating func evict() {
        let unchanged = pages.filter { !dirty.contains($0.key) }.sorted { $0.value.lastUse < $1.value.lastUse }
        for (offset, _) in unchanged.prefix(max(1, unchanged.count / 4)) { pages[offset] = nil }
        evictions += 1
    }
}

extension MetadataPages {
    /// Reads the `size` bytes at `offset` of `file` as words; what lies past the end of the file reads as zeros.
    static func load(
        _ size: UInt64, at offset: UInt64, of file: any WritableFile, _ what: String
    ) throws(ImageError) -> [UInt64] {
        let end = file.currentSize
        guard offset < end else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(offset),
                "\(what): lies past the end of the file at \(HostOffset(end))")
        }
        let held = Int(min(size, end - offset))
        let buffer = AlignedBuffer(capacity: Int(size))
        try buffer.fill(Int(size)) { output throws(ImageError) in
            try file.read(held, at: HostOffset(offset), into: &output)
            output.appendZeros(Int(size) - held)
        }
        return decodeTable(buffer.bytes, of: UInt64.self, .big)
    }
}

/// A table that is kept in memory as a whole: the L1 table, the refcount table.
struct KeptTable {
    /// Its words, to the end of its last cluster.
    var words: [UInt64]
    /// Where it lies.
    var offset: UInt64
    /// Its pages that were changed since they were written, by their number.
    private(set) var dirty: Set<Int> = []
    /// The words of a page.
    let pageWords: Int

    /// A table of `words` at `offset`, to be written in pages of `pageSize` bytes.
    init(_ words: [UInt64], at offset: UInt64, pageSize: UInt64) {
        self.words = words
        self.offset = offset
        pageWords = Int(pageSize / 8)
    }

    /// Changes a word.
    mutating func set(_ index: Int, to word: UInt64) {
        words[index] = word
        dirty.insert(index / pageWords)
    }

    /// Takes the pages that were changed, each with where it lies.
    mutating func takeDirty() -> (numbers: Set<Int>, pages: [MetadataPiece]) {
        defer { dirty = [] }
        let pages = dirty.map { number in
            MetadataPiece(
                offset: offset + UInt64(number * pageWords * 8),
                words: Array(words[number * pageWords..<(number + 1) * pageWords]))
        }
        return (dirty, pages)
    }

    /// Takes back that these pages were written.
    mutating func markDirty(_ numbers: Set<Int>) {
        dirty.formUnion(numbers)
    }

    /// Makes it the table `words` at `offset`, all of which is still to be written.
    mutating func move(_ words: [UInt64], to offset: UInt64) {
        self.words = words
        self.offset = offset
        dirty = []
    }
}

/// Words of metadata that are to be written.
struct MetadataPiece: Sendable {
    /// Where.
    var offset: UInt64
    /// What.
    var words: [UInt64]
}
