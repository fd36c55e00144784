import BlockImage
import ImageTools
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
    private let end: UInt64

    /// The answer to `request`, a read that lies in the export of `session`, in the form of `encoder`.
    init(_ request: Request, of session: Session, with encoder: ReplyEncoder) {
        self.request = request
        export = session.export
        // What is encrypted is other bytes. A simple reply promises all of its bytes at once.
        sendsFiles = !session.isEncrypted && encoder.form != .simple
        self.encoder = encoder
        position = request.offset
        end = request.offset + request.length
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
            try addBytes(count, into: &buffer)
        } catch {
            buffer.moveWriterIndex(to: before)
            throw error
        }
        position += count
    }

    private mutating func addChunks(_ count: UInt64, into buffer: inout ByteBuffer) throws(ImageError) -> FileBytes? {
        let limit = position + count
        while position < limit {
            let run = isOnePiece ? (isHole: false, count: count) : try run(to: limit)
            let isLast = position + run.count == end
            guard !run.isHole else {
                encoder.writeChunk(.offsetHole, 12, isLast: isLast, to: request, into: &buffer)
                buffer.writeMultipleIntegers(position, UInt32(truncatingIfNeeded: run.count))
                position += run.count
                continue
            }
            if let stored = try storedBytes(of: run.count) {
                let count = UInt64(stored.region.readableBytes)
                addDataHeader(count, into: &buffer)
                position += count
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
            position += run.count
        }
        return nil
    }

    /// The header of a chunk of `count` bytes from `position` on.
    private func addDataHeader(_ count: UInt64, into buffer: inout ByteBuffer) {
        encoder.writeChunk(
            .offsetData, Int(count) + 8, isLast: position + count == end, to: request, into: &buffer)
        buffer.writeInteger(position)
    }

    /// The first of the next `count` bytes, where they can be sent from their file; nil where they must be read.
    private func storedBytes(of count: UInt64) throws(ImageError) -> FileBytes? {
        guard sendsFiles else { return nil }
        let found = try export.image.resolve(at: GuestOffset(position), limit: count).extent
        // All of it is one piece, or none is.
        if isOnePiece, found.count < count { return nil }
        return FileBytes(found)
    }

    /// What begins at `position`: zeros, or bytes up to the next zeros that are worth a chunk.
    private func run(to limit: UInt64) throws(ImageError) -> (isHole: Bool, count: UInt64) {
        var sum: UInt64 = 0
        var isHole = false
        while position + sum < limit {
            let next: (isHole: Bool, count: UInt64)
            do throws(ImageError) {
                next = try stored(at: position + sum, to: limit)
            } catch {
                // What comes before the damage is read first.
                guard sum > 0 else { throw error }
                break
            }
            if sum == 0 {
                isHole = next.isHole && next.count >= min(Self.holeSize, limit - position)
            } else if isHole ? !next.isHole : next.isHole && next.count >= Self.holeSize {
                break
            }
            sum += next.count
        }
        return (isHole, sum)
    }

    private func stored(at start: UInt64, to limit: UInt64) throws(ImageError) -> (isHole: Bool, count: UInt64) {
        let found = try export.image.resolve(at: GuestOffset(start), limit: limit - start).extent
        switch found.storage {
        case .zero, .unallocated: return (true, found.count)
        // What is in memory is data, and only what is not may be a hole: to ask may take the disk.
        case .data(let file, let offset) where request.length >= Self.hostHoleRead && ReadScope.mayBlock:
            return file.run(at: offset, limit: found.count)
        case .data, .encoded: return (false, found.count)
        }
    }

    private func addBytes(_ count: UInt64, into buffer: inout ByteBuffer) throws(ImageError) {
        let count = Int(count)
        try buffer.writeWithOutputRawSpan(minimumWritableBytes: count) { output throws(ImageError) in
            try export.image.read(count, at: GuestOffset(position), into: &output)
        }
    }
}
