import NIOCore

/// How a server answers requests, as it was negotiated.
enum ReplyForm: Hashable, Sendable {
    /// The NBD protocol, "Simple reply message".
    case simple
    /// The NBD protocol, "Structured reply chunk message".
    case structured
    /// The same with 64-bit sizes: the NBD protocol's extension EXTENDED_HEADERS.
    case extended
}

/// The parts of a structured reply: the NBD protocol, "Structured reply types".
enum ChunkType: UInt16, Sendable {
    case none = 0
    case offsetData = 1
    case offsetHole = 2
    case blockStatus = 5
    case blockStatusExtended = 6
    case error = 0x8001
    case errorOffset = 0x8002
}

/// Writes answers to requests. The header of each has the size of what follows, so that this is to be known before.
struct ReplyEncoder {
    private static let simpleMagic: UInt32 = 0x6744_6698
    private static let structuredMagic: UInt32 = 0x668e_33ef
    private static let extendedMagic: UInt32 = 0x6e8a_278c
    /// NBD_REPLY_FLAG_DONE: this is the last chunk of the reply.
    private static let done: UInt16 = 1

    /// The most bytes that come before the data of one piece.
    static let headerRoom = 64

    let form: ReplyForm

    /// The header of a simple reply.
    func writeSimple(to request: Request, error: NBDError.Number? = nil, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(Self.simpleMagic, error?.rawValue ?? 0, request.cookie)
    }

    /// The header of a chunk whose payload of `size` bytes is written next.
    func writeChunk(
        _ type: ChunkType, _ size: Int, isLast: Bool, to request: Request, into buffer: inout ByteBuffer
    ) {
        let flags = isLast ? Self.done : 0
        if form == .extended {
            buffer.writeMultipleIntegers(
                Self.extendedMagic, flags, type.rawValue, request.cookie, request.offset, UInt64(size))
        } else {
            buffer.writeMultipleIntegers(
                Self.structuredMagic, flags, type.rawValue, request.cookie, UInt32(truncatingIfNeeded: size))
        }
    }

    /// The answer that a request was done which has nothing else to say.
    func writeDone(_ request: Request, into buffer: inout ByteBuffer) {
        guard form == .simple else { return writeChunk(.none, 0, isLast: true, to: request, into: &buffer) }
        writeSimple(to: request, into: &buffer)
    }

    /// The answer that a request was not done, or no further.
    func writeError(_ error: NBDError, to request: Request, into buffer: inout ByteBuffer) {
        guard form != .simple else { return writeSimple(to: request, error: error.number, into: &buffer) }
        let message = error.message.clipped().utf8
        let size = 6 + message.count + (error.offset == nil ? 0 : 8)
        let type = error.offset == nil ? ChunkType.error : .errorOffset
        writeChunk(type, size, isLast: true, to: request, into: &buffer)
        buffer.writeMultipleIntegers(error.number.rawValue, UInt16(truncatingIfNeeded: message.count))
        buffer.writeBytes(message)
        if let offset = error.offset { buffer.writeInteger(offset) }
    }
}
