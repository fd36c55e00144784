import NIOCore

/// An option that a client haggles about: the NBD protocol, "Option types".
struct OptionRequest: Hashable, Sendable {
    /// The options that are known here.
    enum Kind: UInt32, Sendable {
        case exportName = 1
        case abort = 2
        case list = 3
        case startTLS = 5
        case info = 6
        case go = 7
        case structuredReply = 8
        case listMetaContext = 9
        case setMetaContext = 10
        case extendedHeaders = 11
    }

    /// The number, known or not.
    var number: UInt32
    /// What came with it; nil where that was more than is taken.
    var data: ByteBuffer?

    /// Which it is; nil for one that is not known.
    var kind: Kind? { Kind(rawValue: number) }
}

/// Takes apart what a client sends before requests begin: its flags, then options. Keeps no more than one option's data.
struct OptionDecoder {
    /// A client that does not speak the protocol.
    struct Fault: Error, Hashable {
        var message: String
    }

    /// What a client sends.
    enum Message: Hashable {
        /// Its flags: NBD_FLAG_C_FIXED_NEWSTYLE is bit 0, NBD_FLAG_C_NO_ZEROES bit 1.
        case clientFlags(UInt32)
        /// An option.
        case option(OptionRequest)
    }

    /// What stands before every option: "IHAVEOPT".
    static let magic: UInt64 = 0x4948_4156_454f_5054
    /// The most bytes of an option's data: an export's name and a dozen queries, each of the longest.
    static let dataLimit = 64 << 10

    private var hasFlags = false
    /// The option whose data is too long, and how much of that is still to come.
    private var skipping: (option: OptionRequest, left: UInt32)?

    /// The next message; nil where more must come first. Throws where an option has no magic number.
    mutating func next(in buffer: inout ByteBuffer) throws(Fault) -> Message? {
        guard hasFlags else {
            guard let flags = buffer.readInteger(as: UInt32.self) else { return nil }
            hasFlags = true
            return .clientFlags(flags)
        }
        if skipping == nil {
            if let found = buffer.getInteger(at: buffer.readerIndex, as: UInt64.self), found != Self.magic {
                throw Fault(message: "an option begins with 0x\(String(found, radix: 16)), which must be \"IHAVEOPT\"")
            }
            guard buffer.readableBytes >= 16,
                let size = buffer.getInteger(at: buffer.readerIndex + 12, as: UInt32.self)
            else { return nil }
            guard size > Self.dataLimit || buffer.readableBytes >= 16 + Int(size) else { return nil }
            guard let (_, number, _) = buffer.readMultipleIntegers(as: (UInt64, UInt32, UInt32).self) else {
                return nil
            }
            guard size > Self.dataLimit else {
                return .option(OptionRequest(number: number, data: buffer.readSlice(length: Int(size))))
            }
            skipping = (OptionRequest(number: number, data: nil), size)
        }
        guard let (option, left) = skipping else { return nil }
        let count = min(UInt32(clamping: buffer.readableBytes), left)
        buffer.moveReaderIndex(forwardBy: Int(count))
        skipping = count == left ? nil : (option, left - count)
        return count == left ? .option(option) : nil
    }
}

/// What INFO and GO ask: a name, and what the client wants to know of it.
struct InfoQuery: Hashable {
    var name: String
    /// Numbers of NBD_INFO.
    var wanted: Set<UInt16> = []

    /// Nil for data that is none.
    init?(_ data: ByteBuffer) {
        var data = data
        guard let name = data.readName(), let count = data.readInteger(as: UInt16.self),
            data.readableBytes == Int(count) * 2
        else { return nil }
        self.name = name
        while let info = data.readInteger(as: UInt16.self) { wanted.insert(info) }
    }
}

/// What LIST_META_CONTEXT and SET_META_CONTEXT ask: an export's name, and queries.
struct MetaContextQuery: Hashable {
    var name: String
    var queries: [String] = []

    /// Nil for data that is none.
    init?(_ data: ByteBuffer) {
        var data = data
        guard let name = data.readName(), let count = data.readInteger(as: UInt32.self) else { return nil }
        self.name = name
        // Each takes bytes of the data, so that the number is bounded.
        for _ in 0..<count {
            guard let query = data.readName() else { return nil }
            queries.append(query)
        }
        guard data.readableBytes == 0 else { return nil }
    }
}

extension ByteBuffer {
    /// A string behind its size: the NBD protocol, "String values". Nil where there is none, where it is longer than
    /// strings may be, and where it is not UTF-8.
    fileprivate mutating func readName() -> String? {
        guard let size = readInteger(as: UInt32.self), size <= NBDError.stringLimit else { return nil }
        return readUTF8(Int(size))
    }

    /// The next `size` bytes, which must be UTF-8 without NUL.
    mutating func readUTF8(_ size: Int) -> String? {
        guard let bytes = readBytes(length: size), !bytes.contains(0) else { return nil }
        return String(validating: bytes, as: UTF8.self)
    }
}
