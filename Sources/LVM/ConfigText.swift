import ByteFormat

/// A section of LVM's configuration language, in which metadata is written: lvm.conf(5), "FILE FORMAT". There are only
/// comments, assignments and sections:
///
///     name = 123            # or "text", or [ "a", 1 ]
///     name { … }
struct ConfigSection: Sendable {
    /// What follows a sign of equality.
    indirect enum Value: Sendable {
        case number(Int64)
        case text(String)
        case list([Value])
    }

    /// The assignments, by name.
    private(set) var values: [String: Value] = [:]
    /// The sections, in the order of the text.
    private(set) var sections: [(name: String, section: ConfigSection)] = []

    /// The section called `name`; nil where there is none.
    func section(_ name: String) -> ConfigSection? { sections.first { $0.name == name }?.section }

    /// The whole of `text`, up to its end or to a NUL. Throws where the language is broken, or used beyond the limits.
    init(parsing text: [UInt8]) throws(ParseFault) {
        var parser = ConfigParser(text)
        self = try parser.section(depth: 0)
    }

    fileprivate init() {}

    fileprivate mutating func add(_ value: Value, called name: String, at position: Int) throws(ParseFault) {
        guard values.updateValue(value, forKey: name) == nil else {
            throw ParseFault(at: position, quoting: name, ": is given a value twice in its section")
        }
    }

    fileprivate mutating func add(
        _ section: ConfigSection, called name: String, _ names: inout Set<String>, at position: Int
    )
        throws(ParseFault)
    {
        guard names.insert(name).inserted else {
            throw ParseFault(at: position, quoting: name, ": stands for two sections of one section")
        }
        sections.append((name, section))
    }
}

/// Reads the language from the first byte to the last, each once.
private struct ConfigParser {
    /// LVM itself nests four sections.
    static let depthLimit = 16
    /// The most names and values of a text: those of 10,000 volumes.
    static let itemLimit = 1 << 18

    let text: [UInt8]
    var position = 0
    var items = 0

    init(_ text: [UInt8]) { self.text = text }

    /// What is inside a section, up to its closing brace, or the end for the outermost.
    mutating func section(depth: Int) throws(ParseFault) -> ConfigSection {
        guard depth < Self.depthLimit else {
            throw ParseFault(at: position, "there are more than \(Self.depthLimit) sections in one another")
        }
        var result = ConfigSection()
        var names: Set<String> = []
        while let byte = next() {
            if byte == UInt8(ascii: "}") {
                guard depth > 0 else { throw ParseFault(at: position, "a section ends here that did not begin") }
                position += 1
                return result
            }
            let start = position
            let name = try name()
            switch next() {
            case UInt8(ascii: "="):
                position += 1
                try result.add(try value(depth: depth), called: name, at: start)
            case UInt8(ascii: "{"):
                position += 1
                try result.add(try section(depth: depth + 1), called: name, &names, at: start)
            default: throw ParseFault(at: position, quoting: name, ": is followed by neither = nor {")
            }
        }
        guard depth == 0 else { throw ParseFault(at: position, "the text ends inside a section") }
        return result
    }

    /// The next byte that is neither space nor comment; nil at the end.
    private mutating func next() -> UInt8? {
        while position < text.count, text[position] != 0 {
            let byte = text[position]
            if byte == UInt8(ascii: "#") {
                while position < text.count, text[position] != UInt8(ascii: "\n"), text[position] != 0 { position += 1 }
            } else if byte == UInt8(ascii: " ") || (9...13).contains(byte) {
                position += 1
            } else {
                return byte
            }
        }
        return nil
    }

    private mutating func count() throws(ParseFault) {
        items += 1
        guard items <= Self.itemLimit else {
            throw ParseFault(at: position, "there are more than \(Self.itemLimit) names and values")
        }
    }

    /// Bytes of names: those that LVM has in names of volumes, and what else occurs in other names.
    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "_-+./:@".utf8.contains(byte)
        }
    }

    private mutating func name() throws(ParseFault) -> String {
        try count()
        let start = position
        // A name may be quoted, as a text is.
        if text[position] == UInt8(ascii: "\"") { return try quoted() }
        while position < text.count, Self.isOfName(text[position]) { position += 1 }
        guard position > start else { throw ParseFault(at: position, "a name must begin here") }
        return String(decoding: text[start..<position], as: UTF8.self)
    }

    private mutating func value(depth: Int) throws(ParseFault) -> ConfigSection.Value {
        guard depth < Self.depthLimit else {
            throw ParseFault(at: position, "there are more than \(Self.depthLimit) lists in one another")
        }
        try count()
        guard let byte = next() else { throw ParseFault(at: position, "the text ends where a value must be") }
        switch byte {
        case UInt8(ascii: "\""): return .text(try quoted())
        case UInt8(ascii: "["):
            position += 1
            return .list(try list(depth: depth))
        default: return try number()
        }
    }

    private mutating func list(depth: Int) throws(ParseFault) -> [ConfigSection.Value] {
        var list: [ConfigSection.Value] = []
        while let byte = next() {
            if byte == UInt8(ascii: "]") {
                position += 1
                return list
            }
            list.append(try value(depth: depth + 1))
            let separator = next()
            if separator == UInt8(ascii: ",") {
                position += 1
            } else if separator != UInt8(ascii: "]") {
                throw ParseFault(at: position, "a list must go on with a comma here, or end")
            }
        }
        throw ParseFault(at: position, "the text ends inside a list")
    }

    /// A text between quotation marks, in which a backslash stands before a mark or another backslash.
    private mutating func quoted() throws(ParseFault) -> String {
        let start = position
        position += 1
        var bytes: [UInt8] = []
        while position < text.count {
            let byte = text[position]
            position += 1
            if byte == UInt8(ascii: "\"") { return String(decoding: bytes, as: UTF8.self) }
            if byte == UInt8(ascii: "\\"), position < text.count {
                bytes.append(text[position])
                position += 1
            } else {
                bytes.append(byte)
            }
        }
        throw ParseFault(at: start, "a quotation mark has no other one")
    }

    /// An integer. No other number is in metadata.
    private mutating func number() throws(ParseFault) -> ConfigSection.Value {
        let start = position
        if text[position] == UInt8(ascii: "-") { position += 1 }
        while position < text.count, Self.isOfName(text[position]) { position += 1 }
        guard let number = Int64(String(decoding: text[start..<position], as: UTF8.self)) else {
            throw ParseFault(at: start, "a number of at most 64 bits, a text or a list must be here")
        }
        return .number(number)
    }
}

extension ConfigSection {
    /// The value of `name`, a number that is not negative. Throws where it has no such.
    func number(_ name: String) throws(ParseFault) -> UInt64 {
        guard case .number(let number)? = values[name], number >= 0 else {
            throw ParseFault(at: 0, "\(name): is no number that is not negative, but must be one")
        }
        return UInt64(number)
    }

    /// The same in 512-byte sectors, as bytes.
    func sectors(_ name: String) throws(ParseFault) -> UInt64 {
        let (bytes, overflow) = try number(name).multipliedReportingOverflow(by: 512)
        guard !overflow, bytes <= UInt64(Int64.max) else {
            throw ParseFault(at: 0, "\(name): is a number of sectors that no disk has")
        }
        return bytes
    }

    /// The value of `name`, a text; nil where it has no such.
    func text(_ name: String) -> String? {
        if case .text(let text)? = values[name] { text } else { nil }
    }

    /// The texts of the list `name`; a text alone stands for a list of it.
    func texts(_ name: String) -> [String] {
        switch values[name] {
        case .list(let list): list.compactMap { if case .text(let text) = $0 { text } else { nil } }
        case .text(let text): [text]
        default: []
        }
    }
}
