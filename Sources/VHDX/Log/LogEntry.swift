import BlockImage
import ByteFormat

/// The header of a log entry (MS-VHDX 2.3.1.1). Descriptors follow it, 126 in the rest of its sector of 4 KiB and 128 in
/// each one more, and then a data sector for each data descriptor.
///
///     OFFSET SIZE FIELD
///          0    4 signature "loge"
///          4    4 checksum: CRC-32C of the entry, with zeros in this field
///          8    4 entryLength
///         12    4 tail
///         16    8 sequenceNumber
///         24    4 descriptorCount
///         28    4 reserved
///         32   16 logID (LogGuid)
///         48    8 flushedFileOffset
///         56    8 lastFileOffset
struct LogEntryHeader: Hashable {
    /// The bytes of the entry: a multiple of 4 KiB.
    let entryLength: UInt32
    /// Where in the log the first entry begins that this one needs.
    let tail: UInt32
    /// Counts the entries; never 0.
    let sequenceNumber: UInt64
    let descriptorCount: UInt32
    let logID: ImageIdentity
    /// How long the file was at least when the entry was written.
    let flushedFileOffset: UInt64
    /// How long the file must be at least once the entry is replayed.
    let lastFileOffset: UInt64

    static let size = 64
    /// What all of a log is made of.
    static let sectorSize = 4096

    /// Reads the header of an entry of a log of `length` bytes. Throws where it is none, or says what cannot be. The check sum is that of the whole
    /// entry, and is not looked at here.
    init(parsing bytes: [UInt8], logLength length: UInt32) throws(ParseFault) {
        var reader = ByteReader(bytes)
        try reader.checkSignature("loge")
        try reader.skip(4)
        entryLength = try reader.read(.little)
        tail = try reader.read(.little)
        sequenceNumber = try reader.read(.little)
        descriptorCount = try reader.read(.little)
        try reader.skip(4)
        logID = try reader.readIdentity()
        flushedFileOffset = try reader.read(.little)
        lastFileOffset = try reader.read(.little)
        let sector = UInt32(Self.sectorSize)
        guard entryLength % sector == 0, entryLength > 0, entryLength <= length else {
            throw ParseFault(at: 8, "entry length: is \(entryLength), but must be a multiple of 4 KiB within the log")
        }
        guard tail % sector == 0, tail < length else {
            throw ParseFault(at: 12, "tail: is \(hexadecimal(tail)), but must be a multiple of 4 KiB within the log")
        }
        guard sequenceNumber > 0 else { throw ParseFault(at: 16, "sequence number: is 0, but must be more") }
        guard UInt64(descriptorSectors) * UInt64(Self.sectorSize) <= UInt64(entryLength) else {
            throw ParseFault(at: 24, "descriptor count: is \(descriptorCount), which do not fit into the entry")
        }
        guard lastFileOffset <= offsetLimit else {
            throw ParseFault(at: 56, "last file offset: is \(hexadecimal(lastFileOffset)), more than any file has")
        }
    }

    /// How many sectors the header and the descriptors take: at most 2^25 + 1.
    var descriptorSectors: UInt32 { UInt32((UInt64(descriptorCount) + 2 + 127) / 128) }
}

/// A descriptor of a log entry (MS-VHDX 2.3.1.2 and 2.3.1.3): what is to be written to one place of the file.
///
///     OFFSET SIZE FIELD
///          0    4 signature "desc"                 or "zero"
///          4    4 trailingBytes                    reserved
///          8    8 leadingBytes                     zeroLength
///         16    8 fileOffset
///         24    8 sequenceNumber
struct LogDescriptor: Hashable {
    /// What is to be written.
    enum Content: Hashable {
        /// So many zeros.
        case zeros(UInt64)
        /// 4 KiB: these eight bytes, the middle of the next data sector, and these four.
        case data(leading: [UInt8], trailing: [UInt8])
    }

    let content: Content
    let fileOffset: UInt64

    static let size = 32

    /// Reads the next descriptor of the entry `sequenceNumber`.
    init(parsing reader: inout ByteReader, sequenceNumber: UInt64) throws(ParseFault) {
        let start = reader.position
        let signature = try reader.read(bytes: 4)
        let trailing = try reader.read(bytes: 4)
        let leading = try reader.read(bytes: 8)
        fileOffset = try reader.read(.little)
        let number: UInt64 = try reader.read(.little)
        guard number == sequenceNumber else {
            throw ParseFault(at: start + 24, "sequence number: is \(number), but must be \(sequenceNumber)")
        }
        let sector = UInt64(LogEntryHeader.sectorSize)
        guard fileOffset % sector == 0, fileOffset <= offsetLimit else {
            throw ParseFault(
                at: start + 16, "file offset: is \(hexadecimal(fileOffset)), but must be a multiple of 4 KiB in a file")
        }
        if signature.elementsEqual("zero".utf8) {
            let length = leading.reversed().reduce(0) { $0 << 8 | UInt64($1) }
            guard length % sector == 0, length <= offsetLimit else {
                throw ParseFault(at: start + 8, "zero length: is \(length), but must be a multiple of 4 KiB in a file")
            }
            content = .zeros(length)
        } else if signature.elementsEqual("desc".utf8) {
            content = .data(leading: leading, trailing: trailing)
        } else {
            throw ParseFault(at: start, "signature: is \(hexBytes(signature)), but must be \"zero\" or \"desc\"")
        }
    }
}
