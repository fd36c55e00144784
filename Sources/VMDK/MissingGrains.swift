import BlockImage
import Synchronization

/// The part of a file in which grains may lie, in bytes.
struct GrainArea: Sendable {
    var start: UInt64
    var end: UInt64
}

/// What is known of the grains of an extent that its first tables do not have: it is found out once, when a reader first
/// depends on it, and only from reads that worked. Every method may be called from any thread.
final class MissingGrains: Sendable {
    /// The size of the extent in bytes.
    let capacity: UInt64
    /// Where grains may lie in the file.
    let area: GrainArea
    /// Whether the last writer did not close the file, so that it may have grains that were not in a table yet.
    let isUnclean: Bool
    /// Where the grains of a stream are that no table has; nil for extents without markers.
    let gaps: StreamGaps?
    /// The tables that were compared with their copies.
    let compared = ComparisonRecord()
    private let sound = Atomic(false)
    private let lost = SearchedOnce<ImageError?>()
    private let cut = SearchedOnce<Bool>()

    /// Nothing known yet.
    init(capacity: UInt64, area: GrainArea, isUnclean: Bool, gaps: StreamGaps?) {
        self.isUnclean = isUnclean
        self.capacity = capacity
        self.area = area
        self.gaps = gaps
    }

    /// Whether it is known that `GrainTables.lostTables` has found nothing.
    var isSound: Bool { sound.load(ordering: .relaxed) }

    /// The answer of `GrainTables.lostTables`.
    func lostTables(of tables: GrainTables) throws(ImageError) -> ImageError? {
        let found = try lost.value(in: tables.file) { () throws(ImageError) in
            try needed(toKnow: "grains that no table has belong here") { () throws(ImageError) in
                try tables.lostTables()
            }
        }
        if found == nil { sound.store(true, ordering: .relaxed) }
        return found
    }

    /// The answer of `GrainTables.isCut`.
    func isCut(_ tables: GrainTables) throws(ImageError) -> Bool {
        try cut.value(in: tables.file) { () throws(ImageError) in
            try needed(toKnow: "the file was cut inside its last grain") { () throws(ImageError) in
                try tables.isCut()
            }
        }
    }
}

/// Which grain tables were compared with their copies, as far as nothing was missing. One bit for each table, in memory
/// only for those parts of the directory that are read.
final class ComparisonRecord: Sendable {
    /// The places of a table and of its copy.
    private struct Pair: Hashable, Sendable {
        var table: HostOffset
        var copy: HostOffset
    }

    private static let wordsPerPart = 64
    /// The most comparisons that are kept, of some 100 KiB each.
    private static let limit = 64
    private let parts = Guarded<[Int: [UInt64]]>([:])
    private let found = Guarded<[Pair: ComparedTables?]>([:])

    /// Whether the tables at these places were compared not long ago.
    func isKnown(_ table: HostOffset, _ copy: HostOffset) -> Bool {
        found.withLock { $0[Pair(table: table, copy: copy)] != nil }
    }

    /// What `compare` answers of the tables at these places, which is asked once for the many runs of one table.
    func comparison(
        of table: HostOffset, with copy: HostOffset, _ compare: () -> ComparedTables?
    ) -> ComparedTables? {
        let pair = Pair(table: table, copy: copy)
        if let known = found.withLock({ $0[pair] }) { return known }
        let answer = compare()
        found.withLock { found in
            if found.count >= Self.limit { found.removeAll() }
            found[pair] = .some(answer)
        }
        return answer
    }

    /// Whether the table `index` was found to lack nothing.
    func contains(_ index: Int) -> Bool {
        let (part, word, bit) = Self.place(index)
        return parts.withLock { parts in parts[part].map { $0[word] >> bit & 1 == 1 } ?? false }
    }

    /// Takes note that the table `index` lacks nothing.
    func insert(_ index: Int) {
        let (part, word, bit) = Self.place(index)
        parts.withLock { parts in
            parts[part, default: Array(repeating: 0, count: Self.wordsPerPart)][word] |= 1 << bit
        }
    }

    private static func place(_ index: Int) -> (part: Int, word: Int, bit: UInt64) {
        let bits = wordsPerPart * 64
        return (index / bits, index % bits / 64, UInt64(index % 64))
    }
}
