import BlockImage

/// A run of sectors of a file, and what uses it.
struct SpaceUse {
    /// What a run of sectors can be used for.
    enum User: UInt8, Comparable {
        case header, descriptor, directory, redundantDirectory, table, redundantTable, grain

        static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// The first sector.
    var start: UInt64
    /// For a grain, where it begins on the disk; for a grain table, its index in the directory.
    var number: UInt64
    /// How many sectors; at least one, at most 2^30.
    var count: UInt32
    /// How many more uses begin and are used alike.
    var more: UInt32
    var user: User

    var end: UInt64 { start + UInt64(count) }

    init(_ user: User, at start: UInt64, count: UInt64, number: UInt64 = 0) {
        self.user = user
        self.start = start
        self.count = UInt32(clamping: count)
        self.number = number
        more = 0
    }

    /// What it is, for messages.
    var text: String {
        switch user {
        case .header: "the header"
        case .descriptor: "the descriptor"
        case .directory: "the grain directory"
        case .redundantDirectory: "the redundant grain directory"
        case .table: "grain table \(number)"
        case .redundantTable: "redundant grain table \(number)"
        case .grain: "the grain of guest offset \(GuestOffset(number))"
        }
    }
}

/// The uses of a part of a file, in bounded memory, to find those that overlap.
///
/// At most `capacity` uses of 32 bytes are kept: 2^21, which are 64 MiB, are those of 128 GiB in grains of 64 KiB. Where
/// there are more, those that begin in the upper half are given up, and `upper` says how far the others go; they are
/// reported again in the next pass. A full 2 TiB disk takes at most 32 passes over its grain tables of 128 MiB.
struct SpaceUses {
    static let defaultCapacity = 1 << 21

    /// The first sector at which a use that is kept may begin.
    private(set) var lower: UInt64 = 0
    /// The sector before which it must begin.
    private(set) var upper: UInt64 = .max
    private var uses: [SpaceUse] = []
    private let capacity: Int
    /// Of the uses of the passes before, the one that reaches furthest.
    private var furthest: SpaceUse?

    init(capacity: Int = SpaceUses.defaultCapacity) {
        self.capacity = max(capacity, 64)
    }

    /// Whether there is something left for another pass.
    var isComplete: Bool { upper == .max }

    mutating func add(_ use: SpaceUse) {
        guard use.count > 0, use.start >= lower, use.start < upper else { return }
        uses.append(use)
        guard uses.count >= capacity else { return }
        settle()
        // At most 7 that begin at one place are left, so that a half of them begin later than others.
        guard uses.count > capacity / 2 else { return }
        upper = uses[capacity / 2].start
        uses.removeLast(uses.count - (uses.firstIndex { $0.start >= upper } ?? uses.count))
    }

    /// Puts them in order, and joins those of one kind that begin at one place.
    private mutating func settle() {
        uses.sort { ($0.start, $0.user, $0.number) < ($1.start, $1.user, $1.number) }
        var count = 0
        for index in uses.indices {
            let use = uses[index]
            if count > 0, uses[count - 1].start == use.start, uses[count - 1].user == use.user {
                uses[count - 1].count = max(uses[count - 1].count, use.count)
                uses[count - 1].more = uses[count - 1].more.addingReportingOverflow(use.more + 1).partialValue
            } else {
                uses[count] = use
                count += 1
            }
        }
        uses.removeLast(uses.count - count)
    }

    /// The sector after the last that was found to be used in the passes so far.
    var end: UInt64 { furthest?.end ?? 0 }

    /// Ends a pass: reports to `overlap` each use that begins inside another, with that other, or with itself where
    /// several of its kind begin at one place, and `gap` of the sectors between two uses; then makes space for the uses
    /// after `upper`.
    mutating func finishPass(overlap: (SpaceUse, SpaceUse) -> Void, gap: (Range<UInt64>) -> Void) {
        settle()
        for use in uses {
            if let furthest, use.start < furthest.end { overlap(use, furthest) }
            if end < use.start { gap(end..<use.start) }
            if use.more > 0 { overlap(use, use) }
            if furthest.map({ $0.end < use.end }) ?? true { furthest = use }
        }
        uses = []
        lower = upper
        upper = .max
    }
}
