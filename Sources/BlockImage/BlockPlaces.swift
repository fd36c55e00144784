/// The places of blocks in a file, in bounded memory, to find those that lie over one another or over something else.
///
/// At most `capacity` are kept. Where there are more, those that begin in the upper half are given up, and added again in the
/// next pass: the caller walks over its table as long as `isComplete` says no.
public struct BlockPlaces {
    /// Where something lies, and what it is.
    public struct Place: Hashable, Sendable {
        /// Where it begins in the file.
        public var start: UInt64
        /// How many bytes it takes.
        public var count: UInt64
        /// The index of the block; nil: another structure, that `name` says.
        public var index: UInt64?
        /// What it is: "header".
        public var name: String

        /// The `count` bytes from `start` on are the block `index`, or what is called `name`.
        public init(_ name: String, at start: UInt64, count: UInt64, index: UInt64? = nil) {
            self.start = start
            self.count = count
            self.index = index
            self.name = name
        }

        /// The first byte behind it.
        public var end: UInt64 { saturatingSum(start, count) }
        /// What it is, for people.
        public var text: String { index.map { "\(name) \($0)" } ?? "the \(name)" }
    }

    private struct Entry {
        var start: UInt64
        var index: UInt64
    }

    private let blockSize: UInt64
    private let capacity: Int
    private let fixed: [Place]
    private var entries: [Entry] = []
    /// Those that begin here are of this pass.
    private var range: Range<UInt64> = 0..<UInt64.max
    /// Of the places of the passes before, the one that reaches furthest.
    private var furthest: Place?

    /// Places of blocks of `blockSize` bytes, besides those `others`.
    public init(blockSize: UInt64, besides others: [Place], capacity: Int = 1 << 21) {
        self.blockSize = blockSize
        self.capacity = max(capacity, 16)
        fixed = others.filter { $0.count > 0 }.sorted { $0.start < $1.start }
    }

    /// Adds the block `index`, which begins at `start`.
    public mutating func add(_ index: UInt64, at start: UInt64) {
        guard range.contains(start) else { return }
        entries.append(Entry(start: start, index: index))
        guard entries.count >= capacity else { return }
        entries.sort { ($0.start, $0.index) < ($1.start, $1.index) }
        // Of those that begin at one place, two tell that there are several.
        var count = 0
        for index in entries.indices where count < 2 || entries[count - 2].start != entries[index].start {
            entries[count] = entries[index]
            count += 1
        }
        entries.removeLast(entries.count - count)
        guard count > capacity / 2 else { return }
        let limit = entries[capacity / 2].start
        guard limit > entries[0].start else { return }
        range = range.lowerBound..<limit
        entries.removeAll { $0.start >= limit }
    }

    /// Ends a pass: hands each place that begins inside another to `overlap`, with that other. Answers whether that was the
    /// last pass.
    public mutating func finishPass(overlap: (Place, Place) -> Void) -> Bool {
        entries.sort { ($0.start, $0.index) < ($1.start, $1.index) }
        var others = fixed.filter { range.contains($0.start) }[...]
        func check(_ place: Place, _ furthest: inout Place?) {
            if let furthest, place.start < furthest.end { overlap(place, furthest) }
            if furthest.map({ $0.end < place.end }) ?? true { furthest = place }
        }
        for entry in entries {
            while let other = others.first, other.start <= entry.start {
                check(other, &furthest)
                others = others.dropFirst()
            }
            check(Place("block", at: entry.start, count: blockSize, index: entry.index), &furthest)
        }
        for other in others { check(other, &furthest) }
        entries = []
        let isLast = range.upperBound == .max
        range = range.upperBound..<UInt64.max
        return isLast
    }
}
