import BlockImage
import Glibc

/// What the comparison of two disks found.
package struct DiskDifference: Hashable, Sendable, Encodable {
    /// The sizes of both disks in bytes. What one has behind the end of the other was compared with zeros.
    package var sizes: [UInt64]
    /// The bytes of a sector.
    package var sectorSize: Int
    /// How many ranges of sectors differ, with at least one that does not between them.
    package var ranges: UInt64 = 0
    /// How many sectors differ.
    package var sectors: UInt64 = 0
    /// How many bytes these sectors have: of a last sector that the disk ends in, those that the disk has.
    package var bytes: UInt64 = 0
    /// What of each disk could not be read, and was taken for zeros.
    package var lost = [LostRanges(), LostRanges()]

    private enum CodingKeys: String, CodingKey {
        case sizes
        case sectorSize = "sector-size"
        case ranges = "changed-ranges"
        case sectors = "changed-sectors"
        case bytes = "changed-bytes"
    }

    /// Counts one range more.
    fileprivate mutating func count(_ range: SectorRange) {
        ranges += 1
        sectors += range.count
        let sectorSize = UInt64(sectorSize)
        let end = range.end.multipliedReportingOverflow(by: sectorSize)
        let size = sizes.max() ?? 0
        // Disks have fewer than 2^63 bytes, so that nothing but the part of a sector at the very end is missing.
        bytes += (end.overflow ? size : min(end.partialValue, size)) - range.start * sectorSize
    }
}

/// Two disks, to be compared sector by sector. May be used from any thread.
///
/// What both read from the same place of the same file, and what is zeros in both, is not read. The rest is read by
/// several threads. Memory is bounded, whatever the disks are.
package struct DiskComparison: Sendable {
    private let first: Image
    private let second: Image
    private let sectorSize: Int
    /// How many bytes are compared.
    package let size: UInt64
    /// Whether what cannot be read is taken for zeros, and told; else it ends the comparison.
    package var ignoresReadErrors = false

    /// The largest sectors that disks are compared in.
    static let largestSector = ComparisonPlan.jobSize

    /// Compares the first `size` bytes of `first` with those of `second`, by default all of the larger disk, in sectors of
    /// `sectorSize` bytes, a power of two from 512 to 1 MiB.
    package init(_ first: Image, _ second: Image, sectorSize: Int = 512, size: UInt64? = nil) {
        precondition(sectorSize.nonzeroBitCount == 1 && (512...Self.largestSector).contains(sectorSize))
        self.first = first
        self.second = second
        self.sectorSize = sectorSize
        self.size = size ?? max(first.virtualSize, second.virtualSize)
    }

    /// Hands the ranges of sectors that differ to `body`, in order, and answers what they sum up to. `progress` hears up
    /// to which byte all is compared.
    ///
    /// How the parts of both disks compare goes to `parts`, one behind the other, where that is asked for.
    ///
    /// Throws what reading either disk throws, once the ranges before that were handed over, and what `body` throws.
    package func run(
        progress: (UInt64) throws -> Void = { _ in }, parts: ((ComparedPart) throws -> Void)? = nil,
        _ body: (SectorRange) throws -> Void
    ) throws -> DiskDifference {
        var difference = DiskDifference(sizes: [first.virtualSize, second.virtualSize], sectorSize: sectorSize)
        // The last range, which the next may go on with.
        var pending: SectorRange?
        func add(_ range: SectorRange) throws {
            if pending?.join(range) == true { return }
            if let pending {
                difference.count(pending)
                try body(pending)
            }
            pending = range
        }
        func finish() throws {
            guard let last = pending else { return }
            pending = nil
            difference.count(last)
            try body(last)
        }
        do {
            try forEachStretch(withParts: parts != nil) { stretch in
                for part in stretch.parts { try parts?(part) }
                for (disk, lost) in stretch.lost.enumerated() { difference.lost[disk].add(lost) }
                for range in stretch.ranges { try add(range) }
                try progress(stretch.end)
            }
        } catch let error as ImageError {
            try finish()
            throw error
        }
        try finish()
        return difference
    }

    /// A part of both disks that was compared at once.
    struct Stretch: Sendable {
        /// The sectors that differ in it, in order.
        var ranges: [SectorRange]
        /// What of each disk could not be read, in order.
        var lost: [[LostRange]]
        /// How its parts compare; none where that is not asked for.
        var parts: [ComparedPart]
        /// Up to which byte all is compared.
        var end: UInt64
    }

    /// Hands what differs to `body`, in order, as soon as it is known: ranges of neighbouring stretches may touch each
    /// other, and may both hold the sector that the stretches meet in.
    func forEachStretch(withParts: Bool = false, _ body: (Stretch) throws -> Void) throws {
        var plan = ComparisonPlan(first, second, end: size, ignoresErrors: ignoresReadErrors)
        let comparing = SectorComparing(
            first: first, second: second, sectorSize: sectorSize, ignoresErrors: ignoresReadErrors)
        let work = OrderedWork<ComparisonPlan.Job, Stretch> { job throws(ImageError) in
            var lost = [LostRanges(), LostRanges()]
            let ranges = try comparing.differences(in: job.pieces, &lost)
            let all = zip(job.lost, lost).map { known, found in
                (known + found.ranges).sorted { $0.start < $1.start }
            }
            let parts =
                withParts
                ? job.compared(
                    ranges, UInt64(comparing.sectorSize), lost: all.joined().sorted { $0.start < $1.start })
                : []
            return Stretch(ranges: ranges, lost: all, parts: parts, end: job.end)
        }
        try work.run(next: { () throws(ImageError) in try plan.next() }, take: body)
    }
}

/// What has to be read to compare two disks, found from their start to their end.
struct ComparisonPlan {
    /// A part of both disks.
    struct Piece: Sendable {
        var start: UInt64
        var count: UInt64
        /// What has to be read of each; empty: that disk has zeros there.
        var first = RunList()
        var second = RunList()
    }

    /// What one thread compares at a time.
    struct Job: Sendable {
        var pieces: [Piece] = []
        /// What is known to be the same without being read, in order.
        var skipped: [ComparedPart] = []
        /// What of each disk is known to be lost.
        var lost: [[LostRange]] = [[], []]
        /// Where on the disks it ends; what lies between the pieces is the same in both.
        var end: UInt64 = 0
    }

    /// What one job reads of either disk at most: whole clusters of all usual sizes.
    static let jobSize = 1 << 20
    /// The most runs that are looked at for one job, so that the caller hears of progress in disks of tiny runs.
    private static let runLimit = 1 << 12

    private var first: DiskRuns
    private var second: DiskRuns
    private var position: UInt64 = 0
    private let end: UInt64
    private var failure: ImageError?

    init(_ first: Image, _ second: Image, end: UInt64, ignoresErrors: Bool) {
        func runs(of image: Image) -> DiskRuns {
            DiskRuns(of: image, to: end, ignoresErrors: ignoresErrors, budget: WalkBudget(hostSize: image.hostSize))
        }
        self.first = runs(of: first)
        self.second = runs(of: second)
        self.end = end
    }

    /// The next job; nil at the end. Throws what damaged metadata throws, once there is a job for what lies before it.
    mutating func next() throws(ImageError) -> Job? {
        if let failure { throw failure }
        guard position < end else { return nil }
        var job = Job()
        var size: UInt64 = 0
        for _ in 0..<Self.runLimit {
            guard position < end, size < Self.jobSize else { break }
            do throws(ImageError) {
                if let piece = try step(limit: UInt64(Self.jobSize) - size, &job) {
                    job.append(piece)
                    size += piece.count
                }
            } catch {
                failure = error
                break
            }
        }
        job.end = position
        return job
    }

    /// Goes over one run of both disks; answers what is to be read of it, which is at most `limit` bytes. What need not be
    /// read goes to `job`, and what cannot be found, where that is wanted.
    private mutating func step(limit: UInt64, _ job: inout Job) throws(ImageError) -> Piece? {
        var left = try first.run(at: position, limit: end - position)
        var right = try second.run(at: position, limit: end - position)
        var count = min(left.count, right.count)
        defer {
            for (disk, run) in [left, right].enumerated() {
                guard let error = run.error else { continue }
                job.lost[disk].append(LostRange(start: position, length: count, error: error))
            }
            position += count
        }
        if left.isStored(as: right) {
            job.skip(position, count, left.isZeros ? .zeros : .shared)
            return nil
        }
        left = first.splitAtHoles(left.part(from: position, limit: right.count))
        right = second.splitAtHoles(right.part(from: position, limit: left.count))
        count = min(left.count, right.count)
        if left.isZeros && right.isZeros {
            job.skip(position, count, .zeros)
            return nil
        }
        count = min(count, limit)
        do throws(ImageError) {
            try first.takeReading(count, of: left)
            try second.takeReading(count, of: right)
        } catch {
            count = 0
            throw error
        }
        var piece = Piece(start: position, count: count)
        if !left.isZeros { piece.first.append(left.part(from: position, limit: count)) }
        if !right.isZeros { piece.second.append(right.part(from: position, limit: count)) }
        return piece
    }
}

extension ComparisonPlan.Job {
    /// Adds a part that need not be read, to the last one where that is the same.
    fileprivate mutating func skip(_ start: UInt64, _ count: UInt64, _ kind: ComparedKind) {
        if let last = skipped.last, last.kind == kind, last.end == start {
            skipped[skipped.count - 1].end += count
        } else {
            skipped.append(ComparedPart(start: start, end: start + count, kind: kind))
        }
    }

    /// Adds a piece, as a part of the last one where that goes on in the same way.
    fileprivate mutating func append(_ piece: ComparisonPlan.Piece) {
        guard let last = pieces.last, last.first.isEmpty == piece.first.isEmpty,
            last.second.isEmpty == piece.second.isEmpty, last.start + last.count == piece.start
        else { return pieces.append(piece) }
        pieces[pieces.count - 1].count += piece.count
        for run in piece.first.runs { pieces[pieces.count - 1].first.append(run) }
        for run in piece.second.runs { pieces[pieces.count - 1].second.append(run) }
    }
}

/// Reads pieces of two disks, and finds the sectors that differ. May be used from any thread, by several at once.
private final class SectorComparing: Sendable {
    /// What is read of each disk at once: so little that it is still in the processor's cache when it is compared.
    private static let stepSize = 128 << 10

    private let first: Image
    private let second: Image
    let sectorSize: Int
    private let ignoresErrors: Bool
    private let buffers = BufferPool(capacity: stepSize)

    init(first: Image, second: Image, sectorSize: Int, ignoresErrors: Bool) {
        self.ignoresErrors = ignoresErrors
        self.first = first
        self.second = second
        self.sectorSize = sectorSize
    }

    /// The sectors that have a byte that differs in one of `pieces`. What of each disk cannot be read goes to `lost`, where
    /// that is wanted.
    func differences(
        in pieces: [ComparisonPlan.Piece], _ lost: inout [LostRanges]
    ) throws(ImageError) -> [SectorRange] {
        guard !pieces.isEmpty else { return [] }
        var ranges: [SectorRange] = []
        let (left, right) = (buffers.take(Self.stepSize), buffers.take(Self.stepSize))
        defer {
            buffers.giveBack(left)
            buffers.giveBack(right)
        }
        for piece in pieces {
            var position = piece.start
            let end = piece.start + piece.count
            while position < end {
                let step = position..<min(position + UInt64(Self.stepSize), end)
                try read(step, of: piece.first, in: first, into: left, &lost[0])
                try read(step, of: piece.second, in: second, into: right, &lost[1])
                compare(
                    step.count, at: position, (piece.first.isEmpty ? DiskStream.zeros : left).bytes,
                    (piece.second.isEmpty ? DiskStream.zeros : right).bytes, &ranges)
                position = step.upperBound
            }
        }
        return ranges
    }

    /// Reads `range`, unless `part` has nothing to be read.
    private func read(
        _ range: Range<UInt64>, of part: RunList, in image: Image, into buffer: AlignedBuffer, _ lost: inout LostRanges
    ) throws(ImageError) {
        guard !part.isEmpty else { return }
        try buffer.fill(range.count) { output throws(ImageError) in
            if ignoresErrors {
                part.read(range, of: image, into: &output, &lost)
            } else {
                try part.read(range, into: &output)
            }
        }
    }

    /// Adds the sectors of the `count` bytes at `position` in which the bytes of both disks differ.
    private func compare(
        _ count: Int, at position: UInt64, _ left: RawSpan, _ right: RawSpan, _ ranges: inout [SectorRange]
    ) {
        // Safe: both hold `count` bytes, and no comparison reaches behind them.
        unsafe left.withUnsafeBytes { left in
            unsafe right.withUnsafeBytes { right in
                guard let left = left.baseAddress, let right = right.baseAddress,
                    unsafe memcmp(left, right, count) != 0
                else { return }
                let sectorSize = UInt64(sectorSize)
                var offset = 0
                while offset < count {
                    let sector = (position + UInt64(offset)) / sectorSize
                    let next = Int(min(UInt64(count), (sector + 1) * sectorSize - position))
                    if unsafe memcmp(left + offset, right + offset, next - offset) != 0 {
                        let range = SectorRange(start: sector, count: 1)
                        if ranges.isEmpty || !ranges[ranges.count - 1].join(range) { ranges.append(range) }
                    }
                    offset = next
                }
            }
        }
    }
}
