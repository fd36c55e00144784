import ByteFormat
import Glibc

/// The text of an OVF descriptor, made ready for the XML parser: in UTF-8, and without what would cost the parser time
/// or memory out of proportion.
struct OVFText {
    /// The text in UTF-8, without a byte order mark. What is wrong with it is left to the parser to find.
    let bytes: [UInt8]

    /// The most attributes that one tag may have: the parser compares each of them with all others.
    static let attributeLimit = 256
    /// The most namespace declarations: the parser looks through those that are in force for every element.
    static let namespaceLimit = 256

    /// What can be done about an encoding, at the end of a sentence.
    private static let advice = "iconv(1) converts the file to UTF-8"

    private static let documentType = Array("<!DOCTYPE".utf8)
    private static let namespace = Array("xmlns".utf8)

    /// Checks `bytes`, and turns other encodings into UTF-8.
    init(_ bytes: [UInt8]) throws(ParseFault) {
        guard bytes.count <= OVFEnvelope.sizeLimit else {
            throw ParseFault(
                at: 0, "OVF descriptor: has \(bytes.count) bytes, and must have no more than \(OVFEnvelope.sizeLimit)")
        }
        if let text = try Self.fromUTF16(bytes) {
            self.bytes = text
        } else {
            let text = bytes.starts(with: [0xef, 0xbb, 0xbf]) ? Array(bytes.dropFirst(3)) : bytes
            self.bytes = try Self.inUTF8(text, from: try Self.declaredEncoding(of: text))
        }
        try Self.checkTags(self.bytes)
    }

    /// The text of `bytes` in UTF-8 when they are UTF-16, as the byte order mark or the first character, `<`, says.
    private static func fromUTF16(_ bytes: [UInt8]) throws(ParseFault) -> [UInt8]? {
        let order: ByteOrder
        switch bytes.prefix(2) {
        case [0xfe, 0xff], [0, UInt8(ascii: "<")]: order = .big
        case [0xff, 0xfe], [UInt8(ascii: "<"), 0]: order = .little
        default: return nil
        }
        guard bytes.count.isMultiple(of: 2) else {
            throw ParseFault(
                at: bytes.count - 1,
                "OVF descriptor: is in UTF-16, which has two bytes for each unit, and ends behind the first of two; its end "
                    + "is lost, and the file must be had from its source again")
        }
        var units: [UInt16] = []
        units.reserveCapacity(bytes.count / 2)
        for index in stride(from: 0, to: bytes.count - 1, by: 2) {
            let low = bytes[order == .big ? index + 1 : index]
            let high = bytes[order == .big ? index : index + 1]
            units.append(UInt16(high) << 8 | UInt16(low))
        }
        let text = String(decoding: units[(units.first == 0xfeff ? 1 : 0)...], as: UTF16.self)
        return Array(text.utf8)
    }

    /// The text of `bytes`, which are in `encoding`, in UTF-8.
    private static func inUTF8(_ bytes: [UInt8], from encoding: String) throws(ParseFault) -> [UInt8] {
        guard encoding != "UTF-8" else {
            guard String(validating: bytes, as: UTF8.self) == nil else { return bytes }
            let place = firstFault(inUTF8: bytes)
            throw ParseFault(
                at: place,
                "OVF descriptor: is in UTF-8 by what it says, or because it names no encoding, but the byte "
                    + "0x\(String(bytes[place], radix: 16)) begins no character of UTF-8; if it is in another encoding, "
                    + "\(advice)")
        }
        // The most usual one, which iconv(3) has in a module that is not everywhere.
        guard encoding.lowercased() != "iso-8859-1" else {
            return Array(String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) })).utf8)
        }
        let converter = unsafe iconv_open("UTF-8", encoding)
        guard unsafe converter != iconv_t(bitPattern: -1) else {
            throw ParseFault(
                at: 0,
                "OVF descriptor: is in the encoding \"\(encoding)\", which iconv(3) of this system does not have (its modules may "
                    + "not be installed); where there is a system that has it, \(advice)")
        }
        defer { unsafe iconv_close(converter) }
        // A character of one byte has at most three in UTF-8.
        var result = [UInt8](repeating: 0, count: bytes.count * 3)
        var (left, free) = (bytes.count, result.count)
        // Safe: the pointers are good for the call, and iconv(3) goes no further than the counts say. It does not write
        // to its input.
        let done = unsafe bytes.withUnsafeBytes { input in
            unsafe result.withUnsafeMutableBytes { output in
                var from = unsafe UnsafeMutablePointer(mutating: input.baseAddress?.assumingMemoryBound(to: CChar.self))
                var into = unsafe output.baseAddress?.assumingMemoryBound(to: CChar.self)
                return unsafe iconv(converter, &from, &left, &into, &free)
            }
        }
        guard done != -1 else {
            let place = min(bytes.count - left, bytes.count - 1)
            throw ParseFault(
                at: place,
                "OVF descriptor: says that it is in the encoding \"\(encoding)\", but the byte 0x\(String(bytes[place], radix: 16)) "
                    + "is no character of that; it is in another, from which \(advice)")
        }
        return result.dropLast(free)
    }

    /// The place of the first byte that is no part of a character; `bytes` have one.
    private static func firstFault(inUTF8 bytes: [UInt8]) -> Int {
        var place = 0
        while place < bytes.count {
            let length = max(1, (~bytes[place]).leadingZeroBitCount)
            let end = place + length
            guard end <= bytes.count, String(validating: bytes[place..<end], as: UTF8.self) != nil else { return place }
            place = end
        }
        return bytes.count - 1
    }

    /// The encoding that the XML declaration names, by its name for iconv(3); UTF-8 where it names none.
    ///
    /// Only encodings of one byte a character, and UTF-8, are read.
    private static func declaredEncoding(of bytes: [UInt8]) throws(ParseFault) -> String {
        guard bytes.starts(with: Array("<?xml".utf8)) else { return "UTF-8" }
        let declaration = bytes.prefix(1024).prefix { $0 != UInt8(ascii: ">") }
        guard let start = firstIndex(of: Array("encoding".utf8), in: declaration) else { return "UTF-8" }
        let name = declaration[(start + 8)...].drop { isSpace($0) || $0 == UInt8(ascii: "=") }.dropFirst()
            .prefix { isNameByte($0) }
        let text = String(decoding: name, as: UTF8.self)
        let known = text.lowercased()
        guard
            ["utf-8", "utf8", "us-ascii", "ascii"].contains(known) || known.hasPrefix("iso-8859-")
                || known.hasPrefix("windows-125")
        else {
            throw ParseFault(
                at: start,
                "OVF descriptor: is in the encoding \"\(text)\", but must be in UTF-8, UTF-16, ISO-8859 or windows-125x; "
                    + advice
            )
        }
        return known.hasPrefix("utf") ? "UTF-8" : text
    }

    /// Goes through the tags, and refuses what would make the parser work out of proportion.
    ///
    /// No `<` stands in a tag, so that each begins one, whatever came before it. What stands in comments is taken for
    /// tags as well, which can only refuse more.
    private static func checkTags(_ bytes: [UInt8]) throws(ParseFault) {
        var quote: UInt8 = 0
        var isInTag = false
        var attributes = 0
        var namespaces = 0
        for index in bytes.indices {
            let byte = bytes[index]
            if byte == UInt8(ascii: "<") {
                let next = index + 1 < bytes.count ? bytes[index + 1] : 0
                if bytes[index...].starts(with: documentType) {
                    throw ParseFault(
                        at: index, "OVF descriptor: has a document type declaration, which no descriptor may have here")
                }
                isInTag = next != UInt8(ascii: "!") && next != UInt8(ascii: "?")
                quote = 0
                attributes = 0
            } else if byte == UInt8(ascii: "x"), bytes[index...].starts(with: namespace) {
                namespaces += 1
                guard namespaces <= namespaceLimit else {
                    throw ParseFault(
                        at: index,
                        "OVF descriptor: has more than \(namespaceLimit) namespace declarations, which is the limit")
                }
            } else if isInTag, quote != 0 {
                if byte == quote { quote = 0 }
            } else if isInTag {
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "'"): quote = byte
                case UInt8(ascii: ">"): isInTag = false
                case UInt8(ascii: "="): attributes += 1
                default: break
                }
                guard attributes <= attributeLimit else {
                    throw ParseFault(
                        at: index,
                        "OVF descriptor: has a tag with more than \(attributeLimit) attributes, which is the limit")
                }
            }
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        [UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), UInt8(ascii: "\n")].contains(byte)
    }

    /// Whether names of encodings have this byte (XML 1.0, EncName).
    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}

/// Where `word` first stands in `bytes`, which are few.
func firstIndex(of word: [UInt8], in bytes: ArraySlice<UInt8>) -> Int? {
    bytes.indices.first { bytes[$0...].starts(with: word) }
}
