/// Why bytes are no JSON, or more of it than is taken.
package struct JSONFault: Error, Hashable, Sendable {
    /// The byte that it is about.
    package var offset: Int
    /// What is wrong there.
    package var message: String

    /// "byte 17: …".
    package var description: String { "byte \(offset): \(message)" }
}

extension JSON {
    /// Arrays and objects in one another that are taken; nothing that is sent or answered here has more than ten.
    package static let depthLimit = 64

    /// Parses one JSON text (RFC 8259), and nothing after it, of at most `valueLimit` values: a value takes up to fifty
    /// times the memory of its text. Numbers are not converted, and may have any number of digits. A name that comes twice
    /// in one object is refused, since two readers may choose differently.
    ///
    /// Foundation's JSONDecoder was tried (Swift 6.3): it gives back the id 1.0 as 1 and keeps 38 digits of a longer number,
    /// takes the first of two members of one name, says of every fault only "not valid JSON" without a place, limits the
    /// depth to 512 and the values not at all, and needs 2.5 seconds for a megabyte of numbers. Of the C libraries, yyjson
    /// keeps numbers as text, but has no limit of depth, and keeps both members of one name.
    package init(parsing bytes: [UInt8], valueLimit: Int = .max) throws(JSONFault) {
        var parser = JSONParser(bytes: bytes, valuesLeft: valueLimit)
        self = try parser.document()
    }
}

/// Goes over a text from its start to its end. The functions begin at what they parse, and end behind it.
private struct JSONParser {
    let bytes: [UInt8]
    var valuesLeft: Int
    private var position = 0

    init(bytes: [UInt8], valuesLeft: Int) {
        self.bytes = bytes
        self.valuesLeft = valuesLeft
    }

    private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

    private func fault(_ message: String, at offset: Int? = nil) -> JSONFault {
        JSONFault(offset: offset ?? position, message: message)
    }

    mutating func document() throws(JSONFault) -> JSON {
        let value = try value(depth: 0)
        skipSpace()
        if next != nil { throw fault("something stands behind the end of the JSON text") }
        return value
    }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x09 || byte == 0x0a || byte == 0x0d { position += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONFault) -> JSON {
        skipSpace()
        valuesLeft -= 1
        guard valuesLeft >= 0 else { throw fault("more values than are taken at once") }
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth + 1)
        case UInt8(ascii: "["): return try array(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-")?: return try number()
        case let digit? where isDigit(digit): return try number()
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw fault("the text ends where a value must be")
        default: throw fault("no value begins so")
        }
    }

    private mutating func word(_ word: String, _ value: JSON) throws(JSONFault) -> JSON {
        guard bytes[position...].starts(with: word.utf8) else { throw fault("no value begins so") }
        position += word.utf8.count
        return value
    }

    private mutating func array(depth: Int) throws(JSONFault) -> JSON {
        guard depth <= JSON.depthLimit else {
            throw fault("more than \(JSON.depthLimit) arrays and objects in one another")
        }
        position += 1
        var elements: [JSON] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array(elements) }
        while true {
            elements.append(try value(depth: depth))
            skipSpace()
            if take(UInt8(ascii: "]")) { return .array(elements) }
            guard take(UInt8(ascii: ",")) else { throw fault("behind an element must be a comma or the array's end") }
        }
    }

    private mutating func object(depth: Int) throws(JSONFault) -> JSON {
        guard depth <= JSON.depthLimit else {
            throw fault("more than \(JSON.depthLimit) arrays and objects in one another")
        }
        position += 1
        var members: [String: JSON] = [:]
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            skipSpace()
            let start = position
            guard next == UInt8(ascii: "\"") else { throw fault("a member must begin with its name, a string") }
            let name = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw fault("behind a member's name must be a colon") }
            guard members.updateValue(try value(depth: depth), forKey: name) == nil else {
                throw fault("this member's name stands in the object already", at: start)
            }
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { throw fault("behind a member must be a comma or the object's end") }
        }
    }

    private mutating func number() throws(JSONFault) -> JSON {
        let start = position
        _ = take(UInt8(ascii: "-"))
        // A zero has nothing behind it.
        if !take(UInt8(ascii: "0")) { try digits() }
        if take(UInt8(ascii: ".")) { try digits() }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits()
        }
        return .number(String(decoding: bytes[start..<position], as: UTF8.self))
    }

    private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private mutating func digits() throws(JSONFault) {
        let start = position
        while let byte = next, isDigit(byte) { position += 1 }
        guard position > start else { throw fault("a digit must be here") }
    }

    private mutating func string() throws(JSONFault) -> String {
        position += 1
        var text = ""
        var start = position
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                text += try characters(start..<position)
                position += 1
                return text
            case UInt8(ascii: "\\"):
                text += try characters(start..<position)
                position += 1
                text.unicodeScalars.append(try escaped())
                start = position
            case 0..<0x20: throw fault("a string has control characters only as escapes")
            default: position += 1
            }
        }
        throw fault("the text ends in a string")
    }

    private func characters(_ range: Range<Int>) throws(JSONFault) -> String {
        guard let text = String(validating: bytes[range], as: UTF8.self) else {
            throw fault("this string is no UTF-8", at: range.lowerBound)
        }
        return text
    }

    /// The character of the escape whose backslash was passed.
    private mutating func escaped() throws(JSONFault) -> Unicode.Scalar {
        let start = position - 1
        guard let byte = next else { throw fault("the text ends in a string") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): break
        default: throw fault("there is no such escape", at: start)
        }
        let unit = try codeUnit()
        if let scalar = Unicode.Scalar(unit) { return scalar }
        // UTF-16 writes what lies above 0xFFFF as two halves.
        guard (0xd800...0xdbff).contains(unit), take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
            throw fault("half of a pair of surrogates is no character", at: start)
        }
        let low = try codeUnit()
        guard (0xdc00...0xdfff).contains(low),
            let scalar = Unicode.Scalar(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
        else { throw fault("half of a pair of surrogates is no character", at: start) }
        return scalar
    }

    private mutating func codeUnit() throws(JSONFault) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw fault("\\u must have four hexadecimal digits behind it")
            }
            unit = unit << 4 | UInt32(digit)
            position += 1
        }
        return unit
    }
}
