import BlockImage
import Glibc

/// What one job of a copy has for the writer.
struct CopiedPieces: Sendable {
    /// A run of the disk that the writer takes as one.
    enum Piece: Sendable {
        /// These bytes of `plain`, which lie at `stored` already where that is given.
        case bytes(Range<Int>, stored: StoredBytes?)
        /// These bytes of `encoded`.
        case encoded(Range<Int>)
        /// So many zeros.
        case zeros(UInt64)
    }

    /// The pieces and where they begin, in order.
    var pieces: [(start: UInt64, piece: Piece)] = []
    /// The window of the job, as it was read; nil where nothing was.
    var plain: AlignedBuffer?
    /// What the encoder made of its units.
    var encoded: AlignedBuffer?
    /// Where the window ends.
    var end: UInt64
    /// See `CopyResult`.
    var bytesRead: UInt64 = 0
    /// See `CopyResult`.
    var bytesStored: UInt64 = 0
    /// See `CopyResult`.
    var lost = LostRanges()

    /// Hands them to `writer`.
    func write(to writer: any ImageWriter) throws(ImageError) {
        for (start, piece) in pieces {
            let start = GuestOffset(start)
            switch piece {
            case .zeros(let count): try writer.writeZeros(count, at: start)
            case .bytes(let range, let stored):
                guard let plain else { continue }
                try writer.write(plain.bytes.extracting(range), at: start, stored: stored)
            case .encoded(let range):
                guard let encoded else { continue }
                try writer.write(encoded: encoded.bytes.extracting(range), at: start)
            }
        }
    }

    /// Adds zeros, to those before them where they follow.
    mutating func addZeros(_ count: UInt64, at start: UInt64) {
        if let last = pieces.last, case .zeros(let before) = last.piece, last.start + before == start {
            pieces[pieces.count - 1].piece = .zeros(before + count)
        } else {
            pieces.append((start, .zeros(count)))
        }
    }

    /// Adds the bytes `range` of `plain`, to those before them where they follow, on the host as well.
    mutating func addBytes(_ range: Range<Int>, at start: UInt64, stored: StoredBytes?) {
        bytesStored += UInt64(range.count)
        if let last = pieces.last, case .bytes(let before, let storedBefore) = last.piece,
            before.upperBound == range.lowerBound, last.start + UInt64(before.count) == start,
            Self.follows(stored, storedBefore, by: UInt64(before.count))
        {
            pieces[pieces.count - 1].piece = .bytes(before.lowerBound..<range.upperBound, stored: storedBefore)
        } else {
            pieces.append((start, .bytes(range, stored: stored)))
        }
    }

    private static func follows(_ stored: StoredBytes?, _ before: StoredBytes?, by count: UInt64) -> Bool {
        switch (before, stored) {
        case (nil, nil): true
        case (let before?, let stored?):
            before.file === stored.file && before.offset.advanced(by: count) == stored.offset
        default: false
        }
    }
}

/// Reads windows of a disk, and finds out what of them has to be written and how. May be used from any thread, by several
/// at once.
final class PieceReading: Sendable {
    /// Hosts share whole blocks only, which are no smaller: a place that does not fit is as good as none.
    private static let hostBlockSize: UInt64 = 4096

    private let image: Image
    private let granularity: Int
    private let encoder: (any UnitEncoder)?
    private let writesZeros: Bool
    private let ignoresErrors: Bool
    private let buffers: BufferPool
    private let encodedBuffers: BufferPool

    init(
        _ image: Image, granularity: Int, encoder: (any UnitEncoder)?, writesZeros: Bool, ignoresErrors: Bool
    ) {
        self.image = image
        self.granularity = granularity
        self.encoder = encoder
        self.writesZeros = writesZeros
        self.ignoresErrors = ignoresErrors
        let unitSize = encoder?.unitSize ?? granularity
        let windowSize = max(Int(DiskCopy.jobSize), unitSize, granularity)
        buffers = BufferPool(capacity: windowSize)
        encodedBuffers = BufferPool(capacity: windowSize / unitSize * (encoder?.encodedLimit ?? 0))
    }

    /// Takes back the buffers of `pieces`, which have been written.
    func giveBack(_ pieces: CopiedPieces) {
        if let plain = pieces.plain { buffers.giveBack(plain) }
        if let encoded = pieces.encoded { encodedBuffers.giveBack(encoded) }
    }

    /// What the writer is to have of the job. Throws what reading and encoding throw.
    func read(_ job: CopyPlan.Job) throws(ImageError) -> CopiedPieces {
        var pieces = CopiedPieces(end: job.window.upperBound)
        pieces.lost.add(job.lost)
        guard !job.parts.isEmpty else { return pieces }
        guard !job.isZeros else {
            let step = UInt64(granularity)
            for part in job.parts {
                let start = part.lowerBound / step * step
                let end = min((part.upperBound - 1) / step * step + step, image.virtualSize)
                pieces.addZeros(end - start, at: start)
            }
            return pieces
        }
        let unitSize = encoder?.unitSize ?? granularity
        let count = (job.window.count + unitSize - 1) / unitSize * unitSize
        let plain = buffers.take(count)
        var stored: [StoredPart] = []
        try plain.fill(count) { output throws(ImageError) in
            for part in job.found {
                output.appendZeros(Int(part.bytes.lowerBound - job.window.lowerBound) - output.byteCount)
                stored += storedParts(of: part, &pieces.bytesRead)
                if ignoresErrors {
                    part.read(part.bytes, of: image, into: &output, &pieces.lost)
                } else {
                    try part.read(part.bytes, into: &output)
                }
            }
            // Behind the end of the disk as well: what is encoded is whole units.
            output.appendZeros(count - output.byteCount)
        }
        // What could not be read must not be shared.
        if !pieces.lost.isEmpty { stored = [] }
        pieces.plain = plain
        var finding = PieceFinding(job: job, stored: stored, granularity: granularity, writesZeros: writesZeros)
        guard let encoder else {
            finding.find(0..<job.window.count, of: plain.bytes, &pieces)
            return pieces
        }
        let encoded = encodedBuffers.take(count / unitSize * encoder.encodedLimit)
        try encoded.fill(encoded.capacity) { output throws(ImageError) in
            for start in stride(from: 0, to: count, by: unitSize) {
                let unit = plain.bytes.extracting(start..<start + unitSize)
                let before = output.byteCount
                if finding.touches(start..<start + unitSize), !unit.isZeros, try encoder.encode(unit, into: &output) {
                    pieces.bytesStored += UInt64(min(unitSize, job.window.count - start))
                    pieces.pieces.append((job.window.lowerBound + UInt64(start), .encoded(before..<output.byteCount)))
                } else {
                    finding.find(start..<min(start + unitSize, job.window.count), of: plain.bytes, &pieces)
                }
            }
        }
        pieces.encoded = encoded
        return pieces
    }

    /// Where the host has parts of `part` as they are; `bytesRead` grows by what is not known to be zeros.
    private func storedParts(of part: RunList, _ bytesRead: inout UInt64) -> [StoredPart] {
        var found: [StoredPart] = []
        for run in part.runs where !run.isZeros {
            bytesRead += run.count
            guard case .data(let file, let offset) = run.extent.storage else { continue }
            let distance = offset.rawValue &- run.start.rawValue
            if file.descriptor != nil, distance % Self.hostBlockSize == 0 {
                found.append(StoredPart(bytes: run.start.rawValue..<run.end, file: file, offset: offset))
            }
        }
        return found
    }
}

/// A run of a disk that lies in a file of the host as it is.
private struct StoredPart {
    var bytes: Range<UInt64>
    var file: any HostFile
    var offset: HostOffset
}

/// Goes through the granules of one window, from its start to its end.
private struct PieceFinding {
    let job: CopyPlan.Job
    let stored: [StoredPart]
    let granularity: Int
    let writesZeros: Bool
    /// The first of the job's parts, and of `stored`, that may reach as far as the next granule.
    private var part = 0
    private var storedPart = 0

    init(job: CopyPlan.Job, stored: [StoredPart], granularity: Int, writesZeros: Bool) {
        self.job = job
        self.stored = stored
        self.granularity = granularity
        self.writesZeros = writesZeros
    }

    /// Whether anything of the bytes `range` of the window is to be copied.
    mutating func touches(_ range: Range<Int>) -> Bool {
        let start = job.window.lowerBound + UInt64(range.lowerBound)
        while part < job.parts.count, job.parts[part].upperBound <= start { part += 1 }
        return part < job.parts.count && job.parts[part].lowerBound < start + UInt64(range.count)
    }

    /// Adds the granules of the bytes `range` of the window that are to be copied.
    mutating func find(_ range: Range<Int>, of bytes: RawSpan, _ pieces: inout CopiedPieces) {
        for offset in stride(from: range.lowerBound, to: range.upperBound, by: granularity) {
            let granule = offset..<min(offset + granularity, range.upperBound)
            guard touches(granule) else { continue }
            let start = job.window.lowerBound + UInt64(offset)
            if bytes.extracting(granule).isZeros {
                if writesZeros { pieces.addZeros(UInt64(granule.count), at: start) }
            } else {
                pieces.addBytes(granule, at: start, stored: place(of: start..<start + UInt64(granule.count)))
            }
        }
    }

    /// Where the host has all of `range` as it is.
    private mutating func place(of range: Range<UInt64>) -> StoredBytes? {
        while storedPart < stored.count, stored[storedPart].bytes.upperBound <= range.lowerBound { storedPart += 1 }
        guard storedPart < stored.count else { return nil }
        let found = stored[storedPart]
        guard found.bytes.lowerBound <= range.lowerBound, range.upperBound <= found.bytes.upperBound else { return nil }
        return StoredBytes(
            file: found.file, offset: found.offset.advanced(by: range.lowerBound - found.bytes.lowerBound))
    }
}

extension RawSpan {
    /// Whether all of its bytes are zero.
    var isZeros: Bool {
        // Safe: both ranges that are compared lie in the span. Each byte is that before it, and the first one is zero.
        unsafe withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return true }
            return unsafe bytes[0] == 0 && memcmp(start, start + 1, bytes.count - 1) == 0
        }
    }
}
