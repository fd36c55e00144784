import BlockImage
import ByteFormat

/// A header block of a tar archive (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
///
///     OFFSET SIZE FIELD
///          0  100 name      ends in NUL unless it is full
///        124   12 size      bytes of data after the header, octal or base-256
///        136   12 mtime     seconds since 1970, octal or base-256
///        148    8 chksum    sum of the block's bytes, octal, with eight spaces in its own place
///        156    1 typeflag
///        257    8 magic and version: "ustar\0" "00" of POSIX, "ustar " " \0" of GNU; what came before has neither
///        345  155 prefix    what stands before name and a slash, POSIX only
///        386   96 sparse    four entries of a sparse file's map, GNU only: offset and count of twelve bytes each
///        482    1 isextended: more of a sparse file's map follows, GNU only
///        483   12 realsize  bytes of a sparse file with its holes, GNU only
///
/// What lies between them is of no use here: modes, owners, the targets of links, the numbers of devices.
struct TarHeader: Hashable, Sendable {
    /// The bytes of a block: headers are one, and data is padded to whole ones.
    static let blockSize = 512

    /// What the block is the header of, as `typeflag` says.
    enum Purpose: Hashable, Sendable {
        /// A regular file ('0', '7' and NUL).
        case regular
        /// A folder ('5').
        case folder
        /// A regular file of which only the parts with data are stored ('S').
        case sparse
        /// A link, a device or a FIFO: no data follows, whatever the size says ('1' to '4' and '6').
        case special
        /// Anything else, with its data.
        case other
        /// The name of the member that follows ('L').
        case longName
        /// The link target of the member that follows ('K').
        case longLink
        /// pax records of the member that follows ('x', and 'X' of Solaris).
        case records
        /// pax records of all members that follow ('g').
        case globalRecords
    }

    /// The name, with the prefix before it.
    var name: [UInt8]
    /// `size`: at most 2^63 - 1. Zero where no data follows.
    var size: UInt64
    /// `mtime`; the start of 1970 where it is no number.
    var modified: FileTime
    /// What follows.
    var purpose: Purpose
    /// Whether blocks with more of a sparse file's map lie between this one and the data.
    var isExtended: Bool
    /// What stands in `sparse` of a sparse file's header; empty where there is no such field.
    var sparseEntries: [UInt8]
    /// `realsize`; nil where it is no number.
    var realSize: UInt64?

    /// Where `sparse` stands.
    static let sparseOffset = 386
}

extension TarHeader {
    private static let checksumField = 148..<156

    /// Reads the header in the 512 bytes of `block`.
    ///
    /// Throws where the checksum is not that of the block, and where the size is no number that a file can have.
    init(parsing block: [UInt8]) throws(ParseFault) {
        guard block.count == Self.blockSize else {
            throw ParseFault(at: 0, "header: has \(block.count) bytes, but a block has \(Self.blockSize)")
        }
        guard Self.hasChecksum(block) else {
            throw ParseFault(at: 148, "header checksum: is not the sum of the block's bytes, so that this is no header")
        }
        let isPOSIX = block[257..<263].elementsEqual(Array("ustar\0".utf8))
        let isGNU = block[257..<263].elementsEqual(Array("ustar ".utf8))
        name = Array(untilNUL(block[0..<100]))
        if isPOSIX, block[345] != 0 {
            name = untilNUL(block[345..<500]) + [UInt8(ascii: "/")] + name
        }
        purpose = Self.purpose(of: block[156], name: name)
        size = purpose == .special || block[156] == UInt8(ascii: "5") ? 0 : try Self.size(block[124..<136])
        modified = FileTime(seconds: tarNumber(block[136..<148]) ?? 0, nanoseconds: 0)
        let hasMap = isGNU && purpose == .sparse
        isExtended = hasMap && block[482] != 0
        sparseEntries = hasMap ? Array(block[Self.sparseOffset..<482]) : []
        realSize = hasMap ? tarNumber(block[483..<495]).flatMap(UInt64.init(exactly:)) : nil
    }

    private static func purpose(of type: UInt8, name: [UInt8]) -> Purpose {
        switch type {
        case 0, UInt8(ascii: "0"), UInt8(ascii: "7"):
            // Archives older than typeflag '5' mark folders so.
            return name.last == UInt8(ascii: "/") ? .folder : .regular
        case UInt8(ascii: "1")...UInt8(ascii: "4"), UInt8(ascii: "6"): return .special
        case UInt8(ascii: "5"): return .folder
        case UInt8(ascii: "S"): return .sparse
        case UInt8(ascii: "L"): return .longName
        case UInt8(ascii: "K"): return .longLink
        case UInt8(ascii: "x"), UInt8(ascii: "X"): return .records
        case UInt8(ascii: "g"): return .globalRecords
        default: return .other
        }
    }

    private static func size(_ field: ArraySlice<UInt8>) throws(ParseFault) -> UInt64 {
        guard let number = tarNumber(field) else {
            throw ParseFault(at: 124, "size: is neither an octal number, nor one in base 256 below 2^63")
        }
        guard let size = UInt64(exactly: number) else { throw ParseFault(at: 124, "size: is \(number), below zero") }
        return size
    }

    /// Whether the block has the sum that it says. Some old programs took bytes for signed numbers.
    private static func hasChecksum(_ block: [UInt8]) -> Bool {
        guard let stored = tarNumber(block[checksumField]) else { return false }
        var sum: Int64 = 0
        var highBytes: Int64 = 0
        for byte in block {
            sum += Int64(byte)
            if byte > 127 { highBytes += 1 }
        }
        var unsigned = sum
        var signed = sum - 256 * highBytes
        for byte in block[checksumField] {
            unsigned += 32 - Int64(byte)
            signed += 32 - Int64(Int8(bitPattern: byte))
        }
        return stored == unsigned || stored == signed
    }
}

/// The number in a field of a tar header: octal digits, with blanks before them and a blank or NUL after them, none of
/// them meaning zero; or base 256, two's complement, when the highest bit of the field is set (GNU tar manual). Nil
/// where it is neither, or does not fit.
func tarNumber(_ field: ArraySlice<UInt8>) -> Int64? {
    guard let first = field.first else { return nil }
    if first & 0x80 != 0 {
        // The highest bit is the mark, the next one the sign.
        var value: Int64 = first & 0x40 != 0 ? -1 : 0
        for (index, byte) in field.enumerated() {
            let digit = index == 0 ? byte & 0x3f : byte
            let bits: Int64 = index == 0 ? 64 : 256
            let (product, overflow) = value.multipliedReportingOverflow(by: bits)
            // The low bits of the product are zeros, so that this sum cannot overflow.
            guard !overflow else { return nil }
            value = product + Int64(digit)
        }
        return value
    }
    let digits = field.drop { $0 == UInt8(ascii: " ") }.prefix { $0 != UInt8(ascii: " ") && $0 != 0 }
    var value: Int64 = 0
    for digit in digits {
        // At most 12 digits: 36 bits.
        guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit), value < 1 << 57 else { return nil }
        value = value * 8 + Int64(digit - UInt8(ascii: "0"))
    }
    return value
}

/// The bytes before the first NUL.
func untilNUL(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    bytes.prefix { $0 != 0 }
}
