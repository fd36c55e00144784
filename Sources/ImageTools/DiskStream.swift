import BlockImage

/// A part of a disk from its beginning to its end, read and decoded by several threads ahead of who takes it.
///
/// Zeros that need no reading are not read. Memory is bounded: it takes buffers of 1 MiB for what is read ahead.
package struct DiskStream: Sendable {
    /// A piece of the part.
    package enum Piece: Sendable {
        /// So many zeros.
        case zeros(UInt64)
        /// The bytes that the buffer holds, until the piece has been taken.
        case bytes(AlignedBuffer)
    }

    /// What one job reads at most; whole clusters of all usual sizes.
    private static let jobSize: UInt64 = 1 << 20
    /// The most runs that are looked at for one job, so that the caller hears of progress in a disk of tiny runs.
    private static let runLimit = 1 << 12

    private struct Job {
        /// Where it begins on the disk.
        var start: UInt64
        /// How many bytes it has.
        var count: UInt64 = 0
        /// What is to be read; empty: zeros.
        var part = RunList()
        /// Why it cannot be found, and is taken for zeros.
        var error: ImageError?
    }

    /// What a job came to.
    private struct Output {
        var piece: Piece
        var lost = LostRanges()
    }

    private let image: Image
    private let start: UInt64
    private let end: UInt64
    /// Whether what cannot be read is taken for zeros, and told; else it ends the reading.
    package var ignoresReadErrors = false

    /// The `count` bytes of `image` from `start` on; by default, to its end.
    ///
    /// Throws `outOfRange` where the disk ends before that; the error is about `path`.
    package init(
        of image: Image, from start: GuestOffset = GuestOffset(0), count: UInt64? = nil, path: String
    ) throws(ImageError) {
        let size = image.virtualSize
        guard start.rawValue <= size else {
            throw ImageError(
                .outOfRange, path: path, "nothing at offset \(start.rawValue): the disk has \(counted(size, "byte"))")
        }
        let rest = size - start.rawValue
        guard count ?? rest <= rest else {
            throw ImageError(
                .outOfRange, path: path,
                "\(counted(count ?? rest, "byte")) from offset \(start.rawValue) on: ends behind the disk, which has "
                    + "\(counted(size, "byte"))")
        }
        self.image = image
        self.start = start.rawValue
        end = start.rawValue + (count ?? rest)
    }

    /// How many bytes it has.
    package var count: UInt64 { end - start }

    /// Reads all of it, and hands every piece to `body`, in order. Answers what could not be read, and was taken for zeros.
    ///
    /// Throws what reading throws, once what lies before that was handed over, what `body` throws, and where what this
    /// thread does was cancelled.
    @discardableResult
    package func read(_ body: (Piece) throws -> Void) throws -> LostRanges {
        let (image, ignoresReadErrors) = (image, ignoresReadErrors)
        let buffers = BufferPool(capacity: Int(Self.jobSize))
        let work = OrderedWork<Job, Output> { job throws(ImageError) in
            var result = Output(piece: .zeros(job.count))
            if let error = job.error { result.lost.add(job.start, job.count, error) }
            guard !job.part.isEmpty else { return result }
            let buffer = buffers.take(Int(job.count))
            try buffer.fill(Int(job.count)) { output throws(ImageError) in
                if ignoresReadErrors {
                    job.part.read(job.part.bytes, of: image, into: &output, &result.lost)
                } else {
                    try job.part.read(job.part.bytes, into: &output)
                }
            }
            result.piece = .bytes(buffer)
            return result
        }
        var runs = DiskRuns(of: image, to: end, ignoresErrors: ignoresReadErrors)
        var position = start
        var lost = LostRanges()
        try work.run(
            next: { () throws(ImageError) in
                let job = try job(at: position, in: &runs)
                position += job?.count ?? 0
                return job
            },
            take: { result in
                try ReadScope.checkWanted()
                lost.add(result.lost.ranges)
                try body(result.piece)
                if case .bytes(let buffer) = result.piece { buffers.giveBack(buffer) }
            })
        return lost
    }

    /// As many bytes from `position` on as are all to be read, or all zeros.
    private func job(at position: UInt64, in runs: inout DiskRuns) throws(ImageError) -> Job? {
        guard position < end else { return nil }
        var job = Job(start: position)
        for _ in 0..<Self.runLimit {
            let next = position + job.count
            let limit = min(job.part.isEmpty ? .max : Self.jobSize - job.count, end - next)
            guard limit > 0 else { break }
            let run: DiskRun
            do throws(ImageError) {
                run = runs.splitAtHoles(try runs.run(at: next, limit: limit))
            } catch {
                // What lies before it is read first.
                guard job.count > 0 else { throw error }
                break
            }
            guard job.count == 0 || run.isZeros == job.part.isEmpty && run.error == nil else { break }
            if let error = run.error { return Job(start: next, count: run.count, error: error) }
            guard !run.isZeros else {
                job.count += run.count
                continue
            }
            let part = run.part(from: next, limit: Self.jobSize - job.count)
            job.part.append(part)
            job.count += part.count
        }
        return job
    }
}

extension DiskStream {
    /// Zeros to take pieces of, as many as one job reads.
    static let zeros: AlignedBuffer = {
        let buffer = AlignedBuffer(capacity: Int(jobSize))
        buffer.fill(buffer.capacity) { $0.appendZeros(buffer.capacity) }
        return buffer
    }()
}

extension DiskStream.Piece {
    /// How many bytes it has.
    package var count: UInt64 {
        switch self {
        case .zeros(let count): count
        case .bytes(let buffer): UInt64(buffer.count)
        }
    }

    /// Hands its bytes to `body`, at most 1 MiB at a time, zeros as well.
    package func forEachBuffer(_ body: (RawSpan) throws -> Void) rethrows {
        switch self {
        case .bytes(let buffer): try body(buffer.bytes)
        case .zeros(var left):
            while left > 0 {
                let count = min(left, UInt64(DiskStream.zeros.count))
                try body(DiskStream.zeros.bytes.extracting(first: Int(count)))
                left -= count
            }
        }
    }
}
