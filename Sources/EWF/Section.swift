import BlockImage
import ByteFormat
import Compression
import FormatCore

/// The header of a segment file: "Expert Witness Compression Format specification" of libewf, "File header".
///
///     OFFSET SIZE FIELD
///          0    8 signature "EVF\x09\x0d\x0a\xff\x00"
///          8    1 1
///          9    2 segment number, from 1 on
///         11    2 0
///
/// All integers of the format are little-endian.
struct SegmentHeader: Hashable, Sendable {
    /// What every segment of a disk begins with.
    static let signature: [UInt8] = Array("EVF".utf8) + [9, 13, 10, 0xff, 0]
    /// The bytes of a header.
    static let length = 13

    /// Which segment of the image it is.
    var number: UInt16

    /// Parses the header from the first bytes of a segment.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        guard try reader.read(bytes: 8) == Self.signature else {
            throw ParseFault(
                at: 0, "no EWF segment: it does not begin with the signature 'EVF\\x09\\x0d\\x0a\\xff\\x00'")
        }
        try reader.skip(1)
        number = try reader.read(.little)
        try reader.skip(2)
        guard number > 0 else { throw ParseFault(at: 9, "the segment number is 0, but the first is 1") }
    }

    /// Reads the header of `file`.
    init(of file: any HostFile) throws(ImageError) {
        let bytes = try file.bytes(Self.length, at: HostOffset(0), of: "segment header")
        do throws(ParseFault) {
            var reader = ByteReader(bytes)
            self = try SegmentHeader(parsing: &reader)
        } catch {
            throw ImageError(error, in: file, at: HostOffset(0), of: "segment header")
        }
    }
}

/// A section of a segment file, by its descriptor: the specification's "Section descriptor".
///
///     OFFSET SIZE FIELD
///          0   16 type
///         16    8 offset of the next section in the file; of the last one, its own
///         24    8 size, with the descriptor
///         32   40 padding
///         72    4 Adler-32 of the bytes before
struct Section: Hashable, Sendable {
    /// The bytes of a descriptor.
    static let length = 76
    /// The most sections of one segment: a table of 16,375 chunks of 32 KiB comes with two others, for 512 MiB each.
    static let countLimit = 1 << 16

    /// What it holds: "volume", "sectors", "table".
    var type: String
    /// Where its descriptor begins.
    var offset: UInt64
    /// Where the next one does.
    var next: UInt64
    /// How many bytes it says that it has.
    var size: UInt64

    /// Parses the descriptor at `offset` from its bytes.
    init(parsing bytes: [UInt8], at offset: UInt64) throws(ParseFault) {
        var reader = ByteReader(bytes)
        type = String(decoding: try reader.read(bytes: 16).prefix { $0 != 0 }, as: UTF8.self)
        next = try reader.read(.little)
        size = try reader.read(.little)
        try reader.skip(40)
        let stored: UInt32 = try reader.read(.little)
        let found = Adler32.value(of: Array(bytes.prefix(72)))
        guard stored == found else {
            throw ParseFault(
                at: 72, "check sum is \(hexadecimal(stored)), but that of the descriptor is \(hexadecimal(found))")
        }
        self.offset = offset
    }

    /// Where its data begins.
    var dataOffset: HostOffset { HostOffset(offset + UInt64(Self.length)) }
    /// Whether no other follows it.
    var isLast: Bool { type == "done" || type == "next" }

    /// How many bytes of data it has. Some writers say 0 for its size, and for the last one anything.
    var dataSize: UInt64 {
        let held = next > offset ? next - offset : UInt64(Self.length)
        let all = size == 0 ? held : next > offset ? min(size, held) : size
        return all - min(all, UInt64(Self.length))
    }

    /// The sections of the segment in `file`, in their order; the last is "next" or "done". Throws `corrupt` and `truncated`
    /// where they do not come to that.
    static func all(of file: any HostFile) throws(ImageError) -> [Section] {
        var sections: [Section] = []
        var position = UInt64(SegmentHeader.length)
        while sections.count < countLimit {
            try ReadScope.checkWanted()
            let section = try Section(of: file, at: position)
            sections.append(section)
            if section.isLast { return sections }
            guard section.next >= position + UInt64(length) else {
                throw ImageError(
                    .corrupt, path: file.path, offset: HostOffset(position),
                    "section \"\(printable(section.type))\": the next one is at \(HostOffset(section.next)), but must lie behind it"
                )
            }
            position = section.next
        }
        throw ImageError(
            .unsupported, path: file.path, offset: HostOffset(position),
            "has more than \(countLimit) sections, which is the limit")
    }

    /// Reads the descriptor at `offset` of `file`.
    init(of file: any HostFile, at offset: UInt64) throws(ImageError) {
        let bytes = try file.bytes(Self.length, at: HostOffset(offset), of: "section descriptor")
        do throws(ParseFault) {
            self = try Section(parsing: bytes, at: offset)
        } catch {
            throw ImageError(error, in: file, at: HostOffset(offset), of: "section descriptor")
        }
    }

    /// What `body` makes of the data of this section of `file`, whose faults are counted from its start.
    func parse<Value>(
        in file: any HostFile, limit: UInt64 = 1 << 20, _ body: ([UInt8]) throws(ParseFault) -> Value
    ) throws(ImageError) -> Value {
        let bytes = try data(in: file, limit: limit)
        do throws(ParseFault) {
            return try body(bytes)
        } catch {
            throw ImageError(error, in: file, at: dataOffset, of: "section \"\(printable(type))\"")
        }
    }

    /// The data of this section of `file`, `limit` bytes at most.
    func data(in file: any HostFile, limit: UInt64) throws(ImageError) -> [UInt8] {
        guard dataSize <= limit else {
            throw ImageError(
                .unsupported, path: file.path, offset: HostOffset(offset),
                "section \"\(printable(type))\": has \(dataSize) bytes, more than \(limit), which is the limit")
        }
        return try file.bytes(Int(dataSize), at: dataOffset, of: "section \"\(printable(type))\"")
    }
}
