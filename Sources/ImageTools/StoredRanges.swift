import BlockImage

/// Which parts of a disk the parts of a file stand for: no more of them than a limit, whatever comes. Neighbours in both
/// are one. Where there would be more, those of one use that lie near each other in the file are put together, so that
/// only the bounds of what they stand for are known.
package struct StoredRanges: Sendable {
    /// A part of the file, and the part of the disk.
    package struct Part: Sendable {
        /// Both: where `isJoined`, their bounds.
        package fileprivate(set) var range: StoredRange
        /// How many clusters, grains or tables it is.
        package fileprivate(set) var pieces: UInt64
        /// Whether some were put together that are not neighbours in both.
        package fileprivate(set) var isJoined = false

        private var hostEnd: UInt64 { range.offset.rawValue &+ range.count }
        private var end: UInt64 { range.start &+ range.covered }

        /// Takes in what goes on in the file and on the disk alike.
        fileprivate mutating func extend(by next: StoredRange) -> Bool {
            // Compressed clusters are known in sectors: the first of the next may be the last of this one.
            let slack: UInt64 = range.count == range.covered ? 0 : 512
            guard !isJoined, next.use == range.use, next.snapshot == range.snapshot, next.start == end,
                next.offset.rawValue <= hostEnd, hostEnd - next.offset.rawValue <= slack,
                next.offset > range.offset, (next.count == next.covered) == (range.count == range.covered)
            else { return false }
            range.count = max(hostEnd, next.offset.rawValue + next.count) - range.offset.rawValue
            range.covered += next.covered
            pieces += 1
            return true
        }

        /// Takes in what lies near in the file.
        fileprivate mutating func join(_ next: Part) {
            let (hostStart, hostEnd) = (min(range.offset, next.range.offset), max(hostEnd, next.hostEnd))
            let (start, end) = (min(range.start, next.range.start), max(end, next.end))
            range.offset = hostStart
            range.count = hostEnd - hostStart.rawValue
            (range.start, range.covered) = (start, end - start)
            if range.snapshot != next.range.snapshot { range.snapshot = Self.severalSnapshots }
            pieces += next.pieces
            isJoined = true
        }

        /// The index that stands for more than one snapshot, or the disk and a snapshot.
        package static let severalSnapshots = UInt32.max
    }

    /// The parts, in the order of the file only where the list is `finished`.
    package private(set) var parts: [Part] = []
    /// How near what was put together lies; 0 where nothing was.
    package private(set) var step: UInt64 = 0
    private let limit: Int

    /// An empty list that gets at most `limit` parts.
    package init(limit: Int) {
        self.limit = max(8 * HostUse.allCases.count, limit)
    }

    /// The same with no more parts than the limit, by where they lie in the file.
    package var finished: StoredRanges {
        var finished = self
        finished.reduce()
        finished.parts.sort { $0.range.offset < $1.range.offset }
        return finished
    }

    /// Adds what comes next, in whatever order.
    package mutating func add(_ range: StoredRange) {
        guard !range.offset.rawValue.addingReportingOverflow(range.count).overflow,
            !range.start.addingReportingOverflow(range.covered).overflow
        else { return }
        if !parts.isEmpty, parts[parts.count - 1].extend(by: range) { return }
        parts.append(Part(range: range, pieces: 1))
        if parts.count >= 2 * limit { reduce() }
    }

    /// Puts together what lies near, in larger and larger steps, until there are no more parts than the limit.
    private mutating func reduce() {
        guard parts.count > limit else { return }
        if step > 0 { join(within: step) }
        // An eighth more, so that the next parts do not have all of this done again.
        while parts.count > limit - limit / 8, step < .max >> 1 {
            step = max(1 << 16, step << 1)
            join(within: step)
        }
    }

    private mutating func join(within step: UInt64) {
        // Tables are few, and lead to all else: they are put together last.
        func span(_ part: Part) -> UInt64 { part.range.use.isSecondTable ? step >> 6 : step }
        func key(_ part: Part) -> (UInt8, UInt64) {
            (part.range.use.rawValue, part.range.offset.rawValue / span(part))
        }
        parts.sort { key($0) < key($1) }
        var joined: [Part] = []
        for part in parts {
            // What is long says enough by itself.
            if let last = joined.last, key(last) == key(part), max(last.range.count, part.range.count) < span(part) {
                joined[joined.count - 1].join(part)
            } else {
                joined.append(part)
            }
        }
        parts = joined
    }
}

extension HostUse {
    /// Whether it is of the tables that say where clusters and grains lie, or how often they are used.
    fileprivate var isSecondTable: Bool {
        switch self {
        case .l2Table, .grainTable, .redundantTable, .refcountBlock: true
        default: false
        }
    }
}
