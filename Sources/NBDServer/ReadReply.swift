import BlockImage
import Catalog
import NIOCore

/// The answer to a read, made piece by piece: what it takes does not grow with what was asked for.
struct ReadReply {
    /// The most bytes of one piece. Large enough that a piece costs far more than handing it on does.
    static let pieceSize: UInt64 = 2 << 20
    /// Zeros that are fewer are sent as data: a chunk of its own would cost both sides more.
    private static let holeSize: UInt64 = 4096
    /// Reads that are shorter are not looked into for holes of host files: to ask takes as long as to read.
    private static let hostHoleRead: UInt64 = 32 << 10

    /// Why a piece cannot be made.
    enum Fault: Error {
        /// A simple answer has promised its bytes already.
        case promised(NBDError)
        /// The disk would have to be waited for, where this thread must not.
        case wouldBlock
    }

    let request: Request
    /// The most bytes of the next piece.
    var pieceLimit = pieceSize
    private let export: Export
    /// Whether bytes may be sent from files.
    private let sendsFiles: Bool
    private let encoder: ReplyEncoder
    /// What was not read yet begins here.
    private var position: UInt64
    /// The bytes of the disk that the last piece has.
    private(set) var pieceCount: UInt64 = 0
    private let end: UInt64
    private var runs: DiskRuns
    /// What was found from `position` on, and not read yet.
    private var found = RunList()

    /// The answer to `request`, a read that lies in the export of `session`, in the form of `encoder`.
    init(_ request: Request, of session: Session, with encoder: ReplyEncoder) {
        self.request = request
        export = session.export
        // What is encrypted is other bytes. A simple reply promises all of its bytes at once.
        sendsFiles = !session.isEncrypted && encoder.form != .simple
        self.encoder = encoder
        position = request.offset
        end = request.offset + request.length
        runs = DiskRuns(of: export.image, to: end)
    }

    /// How many bytes the next piece has at most; 0 at the end.
    var nextCount: UInt64 { min(pieceLimit, end - position) }

    /// Whether the client wants all of it in one piece.
    var isOnePiece: Bool { request.flags.contains(.dontFragment) }

    /// Whether the next piece is all of the answer.
    var isWhole: Bool { nextCount == request.length }

    /// Whether all was answered.
    var isDone: Bool { position == end }

    /// Appends the next piece to `buffer`, and answers the bytes of a file that are to be sent behind it, if any. What goes
    /// wrong is part of a structured answer, and ends it.
    ///
    /// Throws where a simple answer cannot say it any more: the client has been promised what cannot be read. Also where
    /// the thread must not wait for a disk, and would have to: then the answer is of no more use, and a copy goes on.
    mutating func next(into buffer: inout ByteBuffer) throws(Fault) -> FileBytes? {
        let count = nextCount
        let start = position
        pieceCount = 0
        // What was found of a disk that is written to may lie elsewhere now; and what is found now stays there while it is read.
        let hold = export.mayChange ? export.image.layer.holdForReading() : nil
        defer { withExtendedLifetime(hold) {} }
        if export.mayChange { (runs, found) = (DiskRuns(of: export.image, to: end), RunList()) }
        do throws(ImageError) {
            try export.checkUnchanged()
            guard encoder.form == .simple else { return try addChunks(count, into: &buffer) }
            try addSimple(count, into: &buffer)
        } catch {
            if error.isWouldBlock, !ReadScope.mayBlock { throw .wouldBlock }
            let told = NBDError(error, at: position, paths: export.paths)
            let isPromised = encoder.form == .simple && start > request.offset
            if isPromised { throw .promised(told) }
            encoder.writeError(told, to: request, into: &buffer)
            position = end
        }
        return nil
    }

    private mutating func addSimple(_ count: UInt64, into buffer: inout ByteBuffer) throws(ImageError) {
        let before = buffer.writerIndex
        if position == request.offset { encoder.writeSimple(to: request, into: &buffer) }
        do throws(ImageError) {
            while found.bytes.count < count { found.append(try nextRun(to: position + count)) }
            try addBytes(count, into: &buffer)
        } catch {
            buffer.moveWriterIndex(to: before)
            throw error
        }
    }

    private mutating func addChunks(_ count: UInt64, into buffer: inout ByteBuffer) throws(ImageError) -> FileBytes? {
        let limit = position + count
        while position < limit {
            let run = try findChunk(to: limit)
            let isLast = position + run.count == end
            guard !run.isHole else {
                encoder.writeChunk(.offsetHole, 12, isLast: isLast, to: request, into: &buffer)
                buffer.writeMultipleIntegers(position, UInt32(truncatingIfNeeded: run.count))
                goOn(to: position + run.count)
                continue
            }
            // All of it is one piece, or none is.
            if sendsFiles, let first = found.runs.first, !isOnePiece || first.count >= run.count,
                let stored = FileBytes(first.part(from: position, limit: run.count).extent)
            {
                let count = UInt64(stored.region.readableBytes)
                addDataHeader(count, into: &buffer)
                goOn(to: position + count)
                return stored
            }
            let before = buffer.writerIndex
            addDataHeader(run.count, into: &buffer)
            do throws(ImageError) {
                try addBytes(run.count, into: &buffer)
            } catch {
                // Nothing of the chunk was sent: the error takes its place.
                buffer.moveWriterIndex(to: before)
                throw error
            }
        }
        return nil
    }

    /// The header of a chunk of `count` bytes from `position` on.
    private func addDataHeader(_ count: UInt64, into buffer: inout ByteBuffer) {
        encoder.writeChunk(
            .offsetData, Int(count) + 8, isLast: position + count == end, to: request, into: &buffer)
        buffer.writeInteger(position)
    }

    /// Finds what the next chunk is to have, up to `limit`: zeros, or bytes up to the next zeros that are worth a chunk;
    /// where all is one piece, all of it.
    private mutating func findChunk(to limit: UInt64) throws(ImageError) -> (isHole: Bool, count: UInt64) {
        var end = position
        var isHole = false
        var index = 0
        while end < limit {
            if index == found.runs.count {
                do throws(ImageError) {
                    found.append(try nextRun(to: limit))
                } catch {
                    // What comes before the damage is read first.
                    guard end > position, !isOnePiece else { throw error }
                    break
                }
            }
            let run = found.runs[index]
            if end == position {
                isHole = !isOnePiece && run.isZeros && run.count >= min(Self.holeSize, limit - position)
            } else if isHole ? !run.isZeros : !isOnePiece && run.isZeros && run.count >= Self.holeSize {
                break
            }
            end = min(run.end, limit)
            index += 1
        }
        return (isHole, end - position)
    }

    /// The run where what was found ends, up to `limit`.
    private mutating func nextRun(to limit: UInt64) throws(ImageError) -> DiskRun {
        let start = max(position, found.bytes.upperBound)
        let run = try runs.run(at: start, limit: limit - start)
        // What is in memory is data, and only what is not may be a hole: to ask may take the disk.
        return request.length >= Self.hostHoleRead && ReadScope.mayBlock ? runs.splitAtHoles(run) : run
    }

    /// Appends the next `count` bytes, which were found.
    private mutating func addBytes(_ count: UInt64, into buffer: inout ByteBuffer) throws(ImageError) {
        let range = position..<position + count
        try buffer.writeWithOutputRawSpan(minimumWritableBytes: range.count) { output throws(ImageError) in
            try found.read(range, into: &output)
        }
        goOn(to: range.upperBound)
    }

    private mutating func goOn(to next: UInt64) {
        pieceCount += next - position
        position = next
        found.drop(to: next)
    }
}
