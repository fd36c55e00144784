import BlockImage
import ByteFormat
import Compression

/// What an examiner wrote about an image: the specification's "Header section", a text in lines of which the third names
/// fields and the fourth has their values, with tabs between them.
struct CaseText: Hashable, Sendable {
    /// The most bytes of the text.
    static let limit = 1 << 18
    /// The most bytes that it may have compressed.
    static let storedLimit: UInt64 = 1 << 16
    /// The sections that have it, the better one first.
    static let types = ["header2", "header"]
    /// How many sections of each type are looked at: writers store the text twice.
    static let sectionLimit = 2

    /// The values by the letters of their fields, of those in `names`.
    private(set) var values: [String: String] = [:]

    /// Nothing.
    init() {}

    /// What the data of the section "header", ASCII, or "header2", UTF-16, holds, which is compressed by zlib.
    init(inflating bytes: [UInt8]) throws(ParseFault) {
        let buffer = AlignedBuffer(capacity: Self.limit, alignment: 16)
        do throws(DecompressionFault) {
            try buffer.fill(Self.limit) { output throws(DecompressionFault) in
                // Safe: integers have no bytes that are not set.
                _ = try unsafe Zlib.inflate(bytes.span.bytes, limit: Self.limit, into: &output)
            }
        } catch {
            throw ParseFault(at: 0, error.message)
        }
        self.init(text: buffer.array)
    }

    /// What the text `bytes` says.
    init(text bytes: [UInt8]) {
        var text = bytes
        if bytes.starts(with: [0xff, 0xfe]) || bytes.starts(with: [0xfe, 0xff]) {
            let isLittle = bytes[0] == 0xff
            let units = stride(from: 2, to: bytes.count - 1, by: 2).map { index in
                UInt16(bytes[index + (isLittle ? 1 : 0)]) << 8 | UInt16(bytes[index + (isLittle ? 0 : 1)])
            }
            text = Array(String(decoding: units, as: UTF16.self).utf8)
        }
        let (lineFeed, carriageReturn) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
        let end = text.contains(lineFeed) ? lineFeed : carriageReturn
        let lines = text.split(separator: end, omittingEmptySubsequences: false)
            .map { $0.last == carriageReturn ? $0.dropLast() : $0 }
        guard let main = lines.firstIndex(where: { $0.elementsEqual("main".utf8) }), lines.count > main + 2 else {
            return
        }
        let tab = UInt8(ascii: "\t")
        let names = lines[main + 1].split(separator: tab, omittingEmptySubsequences: false)
        let found = lines[main + 2].split(separator: tab, omittingEmptySubsequences: false)
        for (name, value) in zip(names, found) where !value.isEmpty && name.count <= 2 {
            let field = String(decoding: name, as: UTF8.self)
            guard Self.names.contains(where: { $0.field == field }) else { continue }
            values[field] = String(decoding: value, as: UTF8.self)
        }
    }

    /// The fields that people know, by the names that reports have for them.
    static let names: [(field: String, name: String)] = [
        ("c", "case-number"), ("n", "evidence-number"), ("a", "description"), ("e", "examiner"), ("t", "notes"),
        ("md", "model"), ("sn", "serial-number"), ("l", "device-label"), ("av", "program-version"),
        ("ov", "operating-system"), ("m", "acquired"), ("u", "system-date"),
    ]

    /// The value of `field` as reports have it: a date as the format's six numbers, or its seconds since 1970, in ISO form.
    func text(of field: String) -> String? {
        guard let value = values[field] else { return nil }
        guard field == "m" || field == "u" else { return printable(value) }
        let numbers = value.split(separator: " ").compactMap { Int($0) }
        if numbers.count == 6 {
            return "\(Self.digits(numbers[0], 4))-\(Self.digits(numbers[1], 2))-\(Self.digits(numbers[2], 2))T"
                + "\(Self.digits(numbers[3], 2)):\(Self.digits(numbers[4], 2)):\(Self.digits(numbers[5], 2))"
        }
        return numbers.count == 1 ? "@\(numbers[0])" : printable(value)
    }

    private static func digits(_ number: Int, _ count: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
    }
}
