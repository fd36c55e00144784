import NIOCore

/// What a server answers to an option: the NBD protocol, "Option reply types".
enum OptionReply: UInt32, Sendable {
    case ack = 1
    case server = 2
    case info = 3
    case metaContext = 4
    case unsupported = 0x8000_0001
    case policy = 0x8000_0002
    case invalid = 0x8000_0003
    case tlsRequired = 0x8000_0005
    case unknown = 0x8000_0006
    case shutdown = 0x8000_0007
    case tooBig = 0x8000_0009
    case extendedHeadersRequired = 0x8000_000a

    private static let magic: UInt64 = 0x0003_e889_0455_65a9

    /// Writes it as an answer to `option`, with what `payload` writes.
    func write(
        to option: OptionRequest, into buffer: inout ByteBuffer, _ payload: (inout ByteBuffer) -> Void = { _ in }
    ) {
        buffer.writeMultipleIntegers(Self.magic, option.number, rawValue)
        let size = buffer.writerIndex
        buffer.writeInteger(UInt32(0))
        payload(&buffer)
        buffer.setInteger(UInt32(truncatingIfNeeded: buffer.writerIndex - size - 4), at: size)
    }

    /// Writes it with one sentence for people.
    func write(_ message: String, to option: OptionRequest, into buffer: inout ByteBuffer) {
        write(to: option, into: &buffer) { $0.writeSubstring(message.clipped()) }
    }
}

/// What a server tells of an export: NBD_REP_INFO.
enum InfoType: UInt16, Sendable {
    case export = 0
    case name = 1
    case description = 2
    case blockSize = 3
}
