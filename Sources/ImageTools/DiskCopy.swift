import BlockImage

/// What a copy of a disk came to.
package struct CopyResult: Hashable, Sendable {
    /// How many bytes of the disk were read: all that were to be copied, but those that are known to be zeros.
    package var bytesRead: UInt64 = 0
    /// How many bytes of the disk were handed to the writer as they are, or to be encoded.
    package var bytesStored: UInt64 = 0
    /// What of the disk could not be read, and is zeros in the copy.
    package var losses = LostRanges()
    /// The same, by its bytes: in order, with gaps between.
    package var lost: [Range<UInt64>] { losses.ranges.map { $0.start..<$0.end } }
}

/// A disk, or parts of it, to be copied into a new image. May be used from any thread.
///
/// What is known to be zeros is not read. The rest is read, looked through for zeros and encoded by several threads,
/// ahead of the caller's, which does nothing but write. Memory is bounded, whatever the disk is.
package struct DiskCopy: Sendable {
    /// What one job covers at least: whole clusters of all usual sizes.
    static let jobSize: UInt64 = 1 << 20

    private let image: Image
    private let parts: [Range<UInt64>]
    /// Whether zeros that are to be copied are written as such: needed where the new image has a backing image.
    package var writesZeros = false
    /// Whether sectors that cannot be read become zeros, and are told in `CopyResult.lost`; else they end the copy.
    package var ignoresReadErrors = false

    /// Copies `image`: of it, what is in `parts`, which are in order and do not overlap; by default, all. What is not in
    /// them is not in the copy: the writer's granules that they reach into have zeros beside them. Behind the end of the
    /// disk, there is nothing to copy.
    package init(of image: Image, parts: [Range<UInt64>]? = nil) {
        self.image = image
        let all = 0..<image.virtualSize
        self.parts = (parts ?? [all]).map { $0.clamped(to: all) }.filter { !$0.isEmpty }
    }

    /// Where on the disk the copy ends: what `progress` of `run` hears in the end.
    package var end: UInt64 { parts.last?.upperBound ?? 0 }

    /// Hands what is to be copied to `writer`, in order; `progress` hears up to which byte of the disk that is done. The
    /// writer is not finished by this.
    ///
    /// Throws what reading, encoding and writing throw.
    package func run(into writer: any ImageWriter, progress: (UInt64) throws -> Void = { _ in }) throws -> CopyResult {
        var plan = CopyPlan(
            image, parts, alignment: max(writer.granularity, writer.encoder?.unitSize ?? 1), skipsZeros: !writesZeros,
            ignoresErrors: ignoresReadErrors)
        let pieces = PieceReading(
            image, granularity: writer.granularity, encoder: writer.encoder, writesZeros: writesZeros,
            ignoresErrors: ignoresReadErrors)
        let work = OrderedWork<CopyPlan.Job, CopiedPieces> { job throws(ImageError) in try pieces.read(job) }
        var result = CopyResult()
        try work.run(
            next: { () throws(ImageError) in try plan.next() },
            take: { found in
                try found.write(to: writer)
                result.add(found)
                pieces.giveBack(found)
                try progress(found.end)
            })
        return result
    }
}

extension CopyResult {
    fileprivate mutating func add(_ found: CopiedPieces) {
        bytesRead += found.bytesRead
        bytesStored += found.bytesStored
        losses.add(found.lost.ranges)
    }
}

/// What has to be read to copy a disk, found from its start to its end.
struct CopyPlan {
    /// What one thread reads at a time.
    struct Job: Sendable {
        /// The bytes of the disk that are looked at as one.
        var window: Range<UInt64>
        /// What of them is to be copied.
        var parts: [Range<UInt64>] = []
        /// The same, where it is to be read.
        var found: [RunList] = []
        /// Whether all of them are zeros, and are not read.
        var isZeros = false
        /// What of them is known to be lost.
        var lost: [LostRange] = []
    }

    private let image: Image
    private let parts: [Range<UInt64>]
    private let alignment: UInt64
    private let skipsZeros: Bool
    private var runs: DiskRuns
    /// What was found from `position` on, and is in no job yet.
    private var ahead = RunList()
    /// The first of `parts` that is not done, and where to go on.
    private var index = 0
    private var position: UInt64 = 0

    /// The plan of a copy of `parts` in windows that begin at multiples of `alignment`, a power of two. `skipsZeros`:
    /// zeros that need no reading need no job.
    init(_ image: Image, _ parts: [Range<UInt64>], alignment: Int, skipsZeros: Bool, ignoresErrors: Bool) {
        self.image = image
        self.parts = parts
        self.alignment = UInt64(alignment)
        self.skipsZeros = skipsZeros
        runs = DiskRuns(of: image, ignoresErrors: ignoresErrors)
    }

    /// The next job; nil at the end. Throws what damaged metadata throws, unless read errors are ignored.
    mutating func next() throws(ImageError) -> Job? {
        while index < parts.count {
            position = max(position, parts[index].lowerBound / alignment * alignment)
            ahead.drop(to: position)
            guard position < parts[index].upperBound else {
                index += 1
                continue
            }
            let zeros = try zeroCount()
            guard zeros > 0 else {
                if let job = try lostJob() { return job }
                return try readJob()
            }
            if !skipsZeros { return take(zeros, isZeros: true) }
            let job = Job(window: position..<min(position + zeros, image.virtualSize), isZeros: true)
            position = job.window.upperBound
            return job
        }
        return nil
    }

    /// The bytes from `position` on that are known to be zeros: whole alignment units, or up to the disk's end.
    private mutating func zeroCount() throws(ImageError) -> UInt64 {
        let size = image.virtualSize
        var end = position
        // Neighbours are gone through here, since every answer takes a place among the jobs.
        for number in 0..<64 where end < size {
            if number == ahead.runs.count { try findNext() }
            let run = ahead.runs[number]
            guard run.isZeros, run.error == nil else { break }
            end = run.end
        }
        return end >= size ? size - position : end / alignment * alignment - min(position, end)
    }

    /// The job of what is lost from `position` on, in one step however long it is: whole alignment units, or up to the
    /// disk's end; nil where a unit is lost in part only.
    private mutating func lostJob() throws(ImageError) -> Job? {
        let size = image.virtualSize
        guard let run = ahead.runs.first, let error = run.error else { return nil }
        let end = run.end >= size ? size : run.end / alignment * alignment
        guard end > position else { return nil }
        var job = take(end - position, isZeros: true)
        job.lost = job.parts.map {
            LostRange(start: $0.lowerBound, length: UInt64($0.count), error: error)
        }
        if skipsZeros { job.parts = [] }
        return job
    }

    /// The job of what is to be read next. Throws what finding it throws.
    private mutating func readJob() throws(ImageError) -> Job {
        var job = take(DiskCopy.jobSize, isZeros: false)
        for part in job.parts {
            while ahead.bytes.upperBound < part.upperBound { try findNext() }
            job.found.append(ahead.part(part))
        }
        return job
    }

    /// Finds the run where what was found ends.
    private mutating func findNext() throws(ImageError) {
        let start = ahead.isEmpty ? position : ahead.bytes.upperBound
        ahead.append(runs.splitAtHoles(try runs.run(at: start, limit: image.virtualSize - start)))
    }

    /// The job of the parts in the next `count` bytes, and goes on behind them.
    private mutating func take(_ count: UInt64, isZeros: Bool) -> Job {
        let end = min(max(count, alignment), image.virtualSize - position) + position
        var job = Job(window: position..<end, isZeros: isZeros)
        var next = index
        while next < parts.count, parts[next].lowerBound < end {
            let part = parts[next].clamped(to: job.window)
            if !part.isEmpty { job.parts.append(part) }
            next += 1
        }
        position = end
        return job
    }
}
