import BlockImage

/// What the parts of an image file are used for, reduced to a bounded number of cells. For use by one thread.
///
/// Each use is counted in units (clusters, sectors), exactly; a unit that two use is an overlap unless they may share it.
/// To tell that, the use of each unit is kept: a byte each, in chunks that shrink to one byte where they are all alike.
/// Of a file with so much in so many pieces that these take more than `memoryLimit`, only the sums are kept, overlaps are
/// not looked for, and `isExact` is false.
package final class HostMap: HostUseRecorder {
    /// Equal parts of the file, the last perhaps shorter.
    package struct Cell: Sendable {
        /// The bytes of each use, by its raw value.
        package fileprivate(set) var counts: [UInt64]

        /// The bytes of `use`.
        package func count(of use: HostUse) -> UInt64 { counts[Int(use.rawValue)] }

        /// Takes the bytes of the next cell in.
        package mutating func add(_ next: Cell) {
            for index in counts.indices { counts[index] += next.counts[index] }
        }

        /// The use of most of it; an overlap anywhere in it is always what it shows.
        package var use: HostUse { ranked.first ?? .free }
        /// The uses that it has: an overlap first, then the one with the most bytes.
        package var ranked: [HostUse] {
            HostUse.allCases.filter { counts[Int($0.rawValue)] > 0 }.sorted { left, right in
                if left == .overlap || right == .overlap { return left == .overlap && right != .overlap }
                return counts[Int(left.rawValue)] > counts[Int(right.rawValue)]
            }
        }
    }

    /// The bytes of the file.
    package let size: UInt64
    /// The bytes of a unit: a cluster, a sector.
    package let unit: UInt64
    /// The bytes of a cell, a multiple of the unit.
    package let cellSize: UInt64
    /// The parts of the file, in its order.
    package private(set) var cells: [Cell]
    /// Whether overlaps were looked for everywhere.
    package private(set) var isExact = true
    /// What should be known of it: first, what lies past the end of the file.
    package var notes: [ErrorText] { outside.map(\.note) + otherNotes }
    private var otherNotes: [ErrorText] = []

    /// What entries name of one use behind the end of the file.
    private struct Outside {
        var use: HostUse
        var first: HostOffset
        var end: HostOffset
        var count: UInt64 = 1

        var note: ErrorText {
            "\(counted(count, "entry names", "entries name")) \(use.name) behind the end of the file at \(end), the first "
                + "at \(first)"
        }
    }

    private var outside: [Outside] = []

    /// The most bytes that the uses of units are kept in.
    package static let memoryLimit = 64 << 20
    static let chunkUnits: UInt64 = 1 << 16

    /// The uses of the units of a part of the file.
    enum Chunk {
        case alike(UInt8)
        case each([UInt8], unused: Int)
    }

    /// Which parts of the disk the parts of the file stand for; nil where that is not kept.
    package private(set) var stored: StoredRanges?

    private let onProgress: (UInt64) -> Void
    private var recorded: UInt64 = 0
    private var recordCount = 0
    /// By their number, those that something was recorded in.
    private(set) var chunks: [UInt64: Chunk] = [:]
    private var chunksInFull = 0

    /// A map of a file of `size` bytes that is used in units of `unit` bytes, nothing of it used yet, in at most
    /// `cellLimit` cells. Which parts of the disk they stand for is kept in at most `storedLimit` parts, if in any.
    /// `onProgress` is called now and then with how many bytes a use was recorded.
    package init(
        size: UInt64, unit: UInt64, cellLimit: Int, storedLimit: Int = 0,
        onProgress: @escaping (UInt64) -> Void = { _ in }
    ) {
        self.size = size
        stored = storedLimit > 0 ? StoredRanges(limit: storedLimit) : nil
        self.onProgress = onProgress
        self.unit = max(1, unit)
        let units = size / self.unit + (size % self.unit == 0 ? 0 : 1)
        let limit = UInt64(max(1, cellLimit))
        let perCell = max(1, units / limit + (units % limit == 0 ? 0 : 1))
        cellSize = min(perCell.multipliedReportingOverflow(by: self.unit).partialValue, max(size, self.unit))
        let count = size == 0 ? 0 : (size - 1) / max(1, cellSize) + 1
        var cells: [Cell] = []
        for index in 0..<count {
            var counts = [UInt64](repeating: 0, count: HostUse.allCases.count)
            counts[Int(HostUse.free.rawValue)] = min(cellSize, size - index * cellSize)
            cells.append(Cell(counts: counts))
        }
        self.cells = cells
    }

    /// Whether something is used by two that cannot share it.
    package var hasOverlaps: Bool { cells.contains { $0.use == .overlap } }

    /// Whether something is wrong: overlaps, or entries that name something behind the end of the file.
    package var hasFaults: Bool { hasOverlaps || !outside.isEmpty }

    /// Counts what lies at `offset`, behind the end of the file.
    private func noteOutside(_ use: HostUse, at offset: HostOffset, count: UInt64) {
        if let index = outside.firstIndex(where: { $0.use == use }) {
            outside[index].count += count
        } else {
            outside.append(Outside(use: use, first: offset, end: HostOffset(size), count: count))
        }
    }

    /// The bytes of each use in the whole file, of uses that there are; what is free comes last.
    package var totals: [(use: HostUse, count: UInt64)] {
        (HostUse.allCases.filter { $0 != .free } + [.free]).map { use in
            (use, cells.reduce(0) { $0 + $1.counts[Int(use.rawValue)] })
        }.filter { $0.1 > 0 }
    }

    /// Something must be known of what was recorded: that it could not all be looked at, and why.
    package func note(_ message: ErrorText) {
        if !otherNotes.contains(message), otherNotes.count < 16 { otherNotes.append(message) }
    }

    /// A part of the file stands for this part of the disk.
    package func record(_ range: StoredRange) { stored?.add(range) }

    /// The `count` bytes at `offset` are used for `use`. Whole units are used, also where only a part is named.
    @discardableResult
    package func record(
        _ use: HostUse, at offset: HostOffset, count: UInt64, mayShare: (HostOffset, HostUse) -> Bool
    ) -> HostUse? {
        guard count > 0 else { return nil }
        guard offset.rawValue < size else {
            noteOutside(use, at: offset, count: max(1, count / unit))
            return nil
        }
        // The last unit may be cut short; what lies wholly behind it is missing.
        let behind = offset.advanced(by: count).rawValue - offset.rawValue
        let units = (size - offset.rawValue + unit - 1) / unit
        if use == .data || use == .snapshotData, behind / unit > units {
            noteOutside(use, at: HostOffset(offset.rawValue + units * unit), count: behind / unit - units)
        }
        recorded += min(min(count, size - offset.rawValue), .max - recorded)
        recordCount += 1
        if recordCount % 1024 == 0 { onProgress(min(recorded, size)) }
        let first = offset.rawValue / unit
        let last = (offset.rawValue + min(count, size - offset.rawValue) - 1) / unit
        var earliest: HostUse?
        var next = first
        while next <= last {
            let chunk = next / Self.chunkUnits
            let end = min(last, chunk * Self.chunkUnits + (Self.chunkUnits - 1))
            let earlier = record(use, next...end, in: chunk, mayShare)
            if next == first { earliest = earlier }
            guard end < last else { break }
            next = end + 1
        }
        return earliest
    }

    /// Records units of one chunk; answers the earlier use of the first.
    private func record(
        _ use: HostUse, _ units: ClosedRange<UInt64>, in chunk: UInt64, _ mayShare: (HostOffset, HostUse) -> Bool
    ) -> HostUse? {
        let isWhole = UInt64(units.count) == Self.chunkUnits
        switch chunks[chunk] {
        case nil where isWhole || !isExact:
            // Where nothing more is kept, everything is taken for unused before, but for what may be used after all.
            guard isExact || use != .leaked else { return nil }
            if isExact { chunks[chunk] = .alike(use.rawValue) }
            move(units, from: .free, to: use)
            return nil
        case nil:
            return open(chunk, as: HostUse.free.rawValue)
                ? record(use, units, in: chunk, mayShare)
                : {
                    move(units, from: .free, to: use)
                    return nil
                }()
        case .alike(let old)?:
            guard let earlier = HostUse(rawValue: old) else { return nil }
            if use == .leaked || earlier == .overlap { return earlier }
            if units.allSatisfy({ mayShare(HostOffset($0 * unit), earlier) }) { return earlier }
            guard open(chunk, as: old) else { return earlier }
            return record(use, units, in: chunk, mayShare)
        case .each(var uses, var unused)?:
            // Taken out while it is changed, so that it is not copied.
            chunks[chunk] = .alike(0)
            let base = chunk * Self.chunkUnits
            let earlier = uses[Int(units.lowerBound - base)]
            for number in units {
                let place = Int(number - base)
                guard let old = HostUse(rawValue: uses[place]) else { continue }
                if old == .free {
                    uses[place] = use.rawValue
                    unused -= 1
                    move(number...number, from: .free, to: use)
                } else if use != .leaked, old != .overlap, !mayShare(HostOffset(number * unit), old) {
                    uses[place] = HostUse.overlap.rawValue
                    note("overlap at \(HostOffset(number * unit)): \(old.name), and \(use.name) as well")
                    move(number...number, from: old, to: .overlap)
                }
            }
            if unused == 0, let first = uses.first, uses.allSatisfy({ $0 == first }) {
                chunks[chunk] = .alike(first)
                chunksInFull -= 1
            } else {
                chunks[chunk] = .each(uses, unused: unused)
            }
            return earlier == HostUse.free.rawValue ? nil : HostUse(rawValue: earlier)
        }
    }

    /// Keeps the uses of the chunk's units one by one from now on, all of them `use` before; false where there is no
    /// more memory for that.
    private func open(_ chunk: UInt64, as use: UInt8) -> Bool {
        guard (chunksInFull + 1) * Int(Self.chunkUnits) <= Self.memoryLimit else {
            if isExact { note("the file is used in too many pieces to look for overlaps everywhere") }
            isExact = false
            return false
        }
        chunksInFull += 1
        let count = Int(Self.chunkUnits)
        chunks[chunk] = .each(
            Array(repeating: use, count: count), unused: use == HostUse.free.rawValue ? count : 0)
        return true
    }

    /// Counts units as another use, cell by cell.
    private func move(_ units: ClosedRange<UInt64>, from old: HostUse, to new: HostUse) {
        var start = units.lowerBound * unit
        // The last unit may be cut short by the file's end.
        let end = units.upperBound >= (size - 1) / unit ? size : (units.upperBound + 1) * unit
        while start < end {
            let index = start / cellSize
            let stop = index + 1 < UInt64(cells.count) ? min(end, (index + 1) * cellSize) : end
            let cell = Int(index)
            let count = min(stop - start, cells[cell].counts[Int(old.rawValue)])
            cells[cell].counts[Int(old.rawValue)] -= count
            cells[cell].counts[Int(new.rawValue)] += count
            start = stop
        }
    }
}
