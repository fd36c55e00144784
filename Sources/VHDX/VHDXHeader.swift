import BlockImage
import ByteFormat

/// One of the two headers of a VHDX file (MS-VHDX 2.2.2). The one that is valid and has the higher sequence number holds.
///
///     OFFSET SIZE FIELD
///          0    4 signature "head"
///          4    4 checksum: CRC-32C of the 4096 bytes, with zeros in this field
///          8    8 sequenceNumber
///         16   16 fileWriteID (FileWriteGuid)
///         32   16 dataWriteID (DataWriteGuid)
///         48   16 logID (LogGuid)
///         64    2 logVersion
///         66    2 version
///         68    4 logLength
///         72    8 logOffset
///         80 4016 reserved
public struct VHDXHeader: Hashable, Sendable {
    /// Counts the updates of the headers.
    public var sequenceNumber: UInt64
    /// Another one whenever a writer changes the file.
    public var fileWriteID: ImageIdentity
    /// Another one whenever a writer changes what the disk has: children know their parent by it.
    public var dataWriteID: ImageIdentity
    /// That of the log's entries that count; zeros: the log is empty.
    public var logID: ImageIdentity
    /// 0.
    public var logVersion: UInt16 = 0
    /// 1.
    public var version: UInt16 = 1
    /// The bytes of the log: a multiple of 1 MiB.
    public var logLength: UInt32
    /// Where the log lies: at a multiple of 1 MiB.
    public var logOffset: UInt64

    /// The bytes that it takes.
    static let size = 4096
    /// Where the two lie.
    static let offsets: [UInt64] = [64 << 10, 128 << 10]
    /// Where its check sum stands.
    static let checksumField = 4..<8

    /// A header of version 1.
    init(
        sequenceNumber: UInt64, fileWriteID: ImageIdentity, dataWriteID: ImageIdentity, logID: ImageIdentity,
        logLength: UInt32, logOffset: UInt64
    ) {
        self.sequenceNumber = sequenceNumber
        self.fileWriteID = fileWriteID
        self.dataWriteID = dataWriteID
        self.logID = logID
        self.logLength = logLength
        self.logOffset = logOffset
    }

    /// Reads the header from its 4096 bytes. Throws where it is none, or its check sum is wrong.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        try reader.checkSignature("head")
        try reader.checkSum(of: Self.size)
        sequenceNumber = try reader.read(.little)
        fileWriteID = try reader.readIdentity()
        dataWriteID = try reader.readIdentity()
        logID = try reader.readIdentity()
        logVersion = try reader.read(.little)
        version = try reader.read(.little)
        logLength = try reader.read(.little)
        logOffset = try reader.read(.little)
    }

    /// Why the file is not read although it may be sound; nil when it is.
    var unsupportedFeature: ParseFault? {
        if version != 1 { return ParseFault(at: 66, "version: is \(version), which is not supported; 1 is") }
        if logVersion != 0, !logID.isZero {
            return ParseFault(at: 64, "log version: is \(logVersion), which is not supported; 0 is")
        }
        return nil
    }

    /// Checks where the log lies.
    func checkLog() throws(ParseFault) {
        guard UInt64(logLength) % mebibyte == 0, logLength > 0 || logID.isZero else {
            throw ParseFault(at: 68, "log length: is \(logLength), but must be a multiple of 1 MiB")
        }
        guard logOffset % mebibyte == 0, logOffset <= offsetLimit, logOffset > 0 || logLength == 0 else {
            throw ParseFault(
                at: 72, "log offset: is \(hexadecimal(logOffset)), but must be a multiple of 1 MiB, and at least that")
        }
    }

    /// Its bytes.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: Self.size)
        writer.write(bytes: "head".utf8)
        writer.write(UInt32(0), .little)
        writer.write(sequenceNumber, .little)
        for id in [fileWriteID, dataWriteID, logID] { writer.write(bytes: id.guidBytes) }
        writer.write(logVersion, .little)
        writer.write(version, .little)
        writer.write(logLength, .little)
        writer.write(logOffset, .little)
        writer.pad(to: Self.size)
        return withChecksum(writer.bytes)
    }
}

/// What offsets and lengths in a VHDX file are multiples of.
let mebibyte: UInt64 = 1 << 20
/// The largest offset that a structure may have: sums of it and of any length fit.
let offsetLimit: UInt64 = 1 << 62

/// `bytes` of a structure with its check sum, which stands behind its signature.
func withChecksum(_ bytes: [UInt8]) -> [UInt8] {
    var writer = ByteWriter(capacity: bytes.count)
    writer.write(bytes: bytes[..<4])
    writer.write(CRC32C(of: bytes, without: VHDXHeader.checksumField).value, .little)
    writer.write(bytes: bytes[8...])
    return writer.bytes
}

extension ByteReader {
    /// Reads the next bytes, which must be `signature`.
    mutating func checkSignature(_ signature: String) throws(ParseFault) {
        let start = position
        let found = try read(bytes: signature.utf8.count)
        guard found.elementsEqual(signature.utf8) else {
            throw ParseFault(at: start, "signature: is \(hexBytes(found)), but must be \"\(signature)\"")
        }
    }

    /// Reads the check sum, which must be that of the first `count` bytes of the structure.
    mutating func checkSum(of count: Int) throws(ParseFault) {
        let start = position
        let stored: UInt32 = try read(.little)
        guard bytes.count >= count else {
            throw ParseFault(at: bytes.count, "ends after \(bytes.count) bytes, but must have \(count)")
        }
        let whole = bytes.count == count ? bytes : Array(bytes[..<count])
        let sum = CRC32C(of: whole, without: start..<start + 4).value
        guard stored == sum else {
            throw ParseFault(at: start, "checksum: is \(hexadecimal(stored)), but must be \(hexadecimal(sum))")
        }
    }

    /// Reads an identifier.
    mutating func readIdentity() throws(ParseFault) -> ImageIdentity {
        ImageIdentity(guid: try read(bytes: ImageIdentity.size))
    }
}
