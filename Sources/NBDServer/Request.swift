import NIOCore

/// A request of the transmission phase: the NBD protocol, "Request message".
struct Request: Hashable, Sendable {
    /// What is asked for: the NBD protocol, "Request types".
    enum Command: UInt16, Sendable {
        case read = 0
        case write = 1
        case disconnect = 2
        case flush = 3
        case trim = 4
        case cache = 5
        case writeZeroes = 6
        case blockStatus = 7
    }

    /// How: the NBD protocol, "Command flags".
    struct Flags: OptionSet, Hashable, Sendable {
        var rawValue: UInt16

        /// What is written must be on stable storage (NBD_CMD_FLAG_FUA).
        static let fua = Self(rawValue: 1 << 0)
        /// Zeros keep their space (NBD_CMD_FLAG_NO_HOLE).
        static let noHole = Self(rawValue: 1 << 1)
        /// At most one piece (NBD_CMD_FLAG_DF).
        static let dontFragment = Self(rawValue: 1 << 2)
        /// One extent for each context (NBD_CMD_FLAG_REQ_ONE).
        static let requestOne = Self(rawValue: 1 << 3)
        /// Only where that takes less than to write them (NBD_CMD_FLAG_FAST_ZERO).
        static let fastZero = Self(rawValue: 1 << 4)
        /// A payload follows, whose size the length is (NBD_CMD_FLAG_PAYLOAD_LEN); with extended headers only.
        static let payloadLength = Self(rawValue: 1 << 5)
    }

    /// The most bytes that one request moves: the NBD protocol, "Size constraints", the default of the maximum payload.
    static let payloadLimit: UInt64 = 32 << 20

    var flags: Flags
    /// Nil: a number that is not known here.
    var command: Command?
    /// What the client tells its requests apart by.
    var cookie: UInt64
    /// The first byte of the export.
    var offset: UInt64
    /// How many bytes; 32 bits of them without extended headers.
    var length: UInt64

    /// How many bytes of payload follow it; `isExtended`: it has an extended header.
    func payloadSize(isExtended: Bool) -> UInt64 {
        command == .write || isExtended && flags.contains(.payloadLength) ? length : 0
    }
}

/// Takes requests out of what a client sends. Nothing that is sent to it makes it use memory.
struct RequestDecoder {
    /// A client that does not keep to the protocol; where its next request begins is unknown.
    struct Fault: Error, Hashable {
        var message: String
    }

    private static let compactMagic: UInt32 = 0x2560_9513
    private static let extendedMagic: UInt32 = 0x21e4_1c71
    private static let compactSize = 28
    private static let extendedSize = 32

    private let isExtended: Bool
    /// Bytes of a payload that is not wanted, which are still to come.
    private var skipped: UInt64 = 0
    /// The request whose payload that is.
    private var pending: Request?

    /// Of a client that has negotiated `form`.
    init(_ form: ReplyForm) {
        isExtended = form == .extended
    }

    /// Bytes of the payload of the last request, which is wanted, that are still to come: see `takePayload`.
    private(set) var wanted: UInt64 = 0

    /// Whether the payload of a request is still to come.
    var isAmidRequest: Bool { pending != nil || wanted > 0 }

    /// The next request; nil where more must come first. One whose payload `wants` answers true for is there before that;
    /// any other payload is dropped.
    ///
    /// Throws where a request has no magic number, or a payload beyond all bounds.
    mutating func next(
        in buffer: inout ByteBuffer, wants: (Request) -> Bool = { _ in false }
    ) throws(Fault) -> Request? {
        if pending == nil {
            guard let request = try header(in: &buffer) else { return nil }
            let size = request.payloadSize(isExtended: isExtended)
            guard size <= Request.payloadLimit else {
                throw Fault(
                    message: "a request has a payload of \(size) bytes, and the limit is "
                        + "\(Request.payloadLimit)")
            }
            guard !wants(request) else {
                wanted = size
                return request
            }
            pending = request
            skipped = size
        }
        let count = min(UInt64(buffer.readableBytes), skipped)
        buffer.moveReaderIndex(forwardBy: Int(count))
        skipped -= count
        guard skipped == 0 else { return nil }
        defer { pending = nil }
        return pending
    }

    /// Moves what there is of the payload that is wanted to `piece`, `limit` bytes at most.
    mutating func takePayload(_ limit: Int, in buffer: inout ByteBuffer, into piece: inout ByteBuffer) {
        let count = min(limit, Int(min(UInt64(buffer.readableBytes), wanted)))
        guard let bytes = buffer.readSlice(length: count) else { return }
        piece.writeImmutableBuffer(bytes)
        wanted -= UInt64(count)
    }

    /// Drops what there is of it.
    mutating func dropPayload(in buffer: inout ByteBuffer) {
        let count = min(UInt64(buffer.readableBytes), wanted)
        buffer.moveReaderIndex(forwardBy: Int(count))
        wanted -= count
    }

    /// Nothing of it comes any more.
    mutating func dropWanted() { wanted = 0 }

    private func header(in buffer: inout ByteBuffer) throws(Fault) -> Request? {
        let magic = isExtended ? Self.extendedMagic : Self.compactMagic
        if let found = buffer.getInteger(at: buffer.readerIndex, as: UInt32.self), found != magic {
            throw Fault(
                message:
                    "a request begins with 0x\(String(found, radix: 16)), which must be 0x\(String(magic, radix: 16))"
            )
        }
        let size = isExtended ? Self.extendedSize : Self.compactSize
        guard buffer.readableBytes >= size,
            let (_, flags, command, cookie, offset) = buffer.readMultipleIntegers(
                as: (UInt32, UInt16, UInt16, UInt64, UInt64).self),
            let length = isExtended ? buffer.readInteger() : buffer.readInteger(as: UInt32.self).map({ UInt64($0) })
        else { return nil }
        return Request(
            flags: Request.Flags(rawValue: flags), command: Request.Command(rawValue: command), cookie: cookie,
            offset: offset, length: length)
    }
}
