import BlockImage

/// How a part of two disks compares.
package enum ComparedKind: UInt8, CaseIterable, Sendable {
    /// Zeros in both.
    case zeros
    /// Both have it from the same place of the same file.
    case shared
    /// Both have the same bytes.
    case same
    /// Both have data, and that differs.
    case differs
    /// The first has data, and the second has zeros.
    case onlyFirst
    /// The second has data, and the first has zeros.
    case onlySecond
    /// One of them cannot be read.
    case unreadable

    /// What legends call it.
    package var name: String {
        switch self {
        case .zeros: "zeros in both"
        case .shared: "stored once for both"
        case .same: "the same"
        case .differs: "differs"
        case .onlyFirst: "only A has data"
        case .onlySecond: "only B has data"
        case .unreadable: "unreadable"
        }
    }
}

/// A part of two disks, and how it compares.
package struct ComparedPart: Hashable, Sendable {
    /// Where it begins.
    package var start: UInt64
    /// Where it ends.
    package var end: UInt64
    /// How it compares.
    package var kind: ComparedKind
}

extension ComparisonPlan.Job {
    /// How its part of both disks compares, from its start to its end: `ranges` of sectors of `sectorSize` bytes differ,
    /// and the bytes of `lost`, in order of their starts, cannot be read.
    func compared(_ ranges: [SectorRange], _ sectorSize: UInt64, lost: [LostRange]) -> [ComparedPart] {
        let differing = ranges.map { range in
            // Only the part of a sector at the very end of a disk is missing.
            let end = range.end.multipliedReportingOverflow(by: sectorSize)
            return range.start * sectorSize..<(end.overflow ? .max : end.partialValue)
        }
        let read = pieces.map { piece in
            // What differs from no data differs from zeros.
            let kinds: (equal: ComparedKind, different: ComparedKind) =
                piece.first.isEmpty
                ? (.zeros, .onlySecond) : piece.second.isEmpty ? (.zeros, .onlyFirst) : (.same, .differs)
            return (
                ComparedPart(start: piece.start, end: piece.start + piece.count, kind: kinds.equal), kinds.different
            )
        }
        let all = (read + skipped.map { ($0, $0.kind) }).sorted { $0.0.start < $1.0.start }
        let compared = painted(all, differing)
        return painted(compared.map { ($0, .unreadable) }, lost.map { $0.start..<$0.end })
    }

    /// The parts, in which what lies in `ranges`, in order of their starts, is of the kind that stands beside the part.
    private func painted(
        _ parts: [(part: ComparedPart, kind: ComparedKind)], _ ranges: [Range<UInt64>]
    ) -> [ComparedPart] {
        var result: [ComparedPart] = []
        var next = 0
        for (part, kind) in parts {
            var position = part.start
            while position < part.end {
                while next < ranges.count, ranges[next].upperBound <= position { next += 1 }
                let range = next < ranges.count ? ranges[next] : part.end..<part.end
                let isInside = range.lowerBound <= position && !range.isEmpty
                let end = min(part.end, isInside ? range.upperBound : range.lowerBound)
                result.append(ComparedPart(start: position, end: end, kind: isInside ? kind : part.kind))
                position = end
            }
        }
        return result
    }
}
