import BlockImage
import ImageFormats
import ImageTools

/// What clients read of the host's paths in JSON, string by string: a path in one never reaches into the next.
extension HostPaths {
    /// Members whose strings are no paths, whatever they look like: names by which clients ask, and bytes in Base64.
    private static let exempt = ["name", "image", "summary", "id", "data"].map { Array("\"\($0)\"".utf8) }

    /// `text`, JSON, with `hidden(in:)` of its strings; the names of members, and what clients call images, snapshots and
    /// the like, stay.
    func hidden(inJSON text: String) -> String {
        guard text.utf8.contains(where: { Self.separators.contains($0) }) else { return text }
        let bytes = Array(text.utf8)
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        var member: ArraySlice<UInt8> = []
        var position = 0
        while position < bytes.count {
            guard bytes[position] == UInt8(ascii: "\"") else {
                result.append(bytes[position])
                position += 1
                continue
            }
            let string = bytes[position..<Self.endOfString(at: position, in: bytes)]
            position = string.endIndex
            if Self.isMember(string, in: bytes) {
                member = string
                result += string
                continue
            }
            if string.contains(where: { Self.separators.contains($0) }), !Self.exempt.contains(Array(member)) {
                result += jsonString(hidden(in: Self.decoded(string), behind: UInt8(ascii: "\""))).utf8
            } else {
                result += string
            }
            member = []
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// `field`, an object of a layout in JSON, without the bytes in hexadecimal where its value has a path: they spell it.
    func withoutBytes(of field: String) -> String {
        let bytes = Array(field.utf8)
        guard let value = Self.string(of: "value", in: bytes), let raw = Self.string(of: "raw", in: bytes) else {
            return field
        }
        let text = Self.decoded(value)
        guard hidden(in: text, behind: UInt8(ascii: "\"")) != text else { return field }
        // The comma and the blank behind it go as well.
        let start = raw.startIndex - "\"raw\": ".utf8.count
        return String(decoding: bytes[..<start] + bytes[raw.endIndex...].drop { ", ".utf8.contains($0) }, as: UTF8.self)
    }

    private static let separators = Array("/\\".utf8)

    /// Behind the quote that ends the string whose first one is at `start`.
    private static func endOfString(at start: Int, in bytes: [UInt8]) -> Int {
        var position = start + 1
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
        }
        return min(position + 1, bytes.count)
    }

    /// Whether `string` is the name of a member: a colon follows it.
    private static func isMember(_ string: ArraySlice<UInt8>, in bytes: [UInt8]) -> Bool {
        bytes[string.endIndex...].first { !" \n".utf8.contains($0) } == UInt8(ascii: ":")
    }

    /// The string that the member `name` has, with its quotes; nil where there is none.
    private static func string(of name: String, in bytes: [UInt8]) -> ArraySlice<UInt8>? {
        let mark = Array("\"\(name)\": ".utf8)
        var position = 0
        while position < bytes.count {
            guard bytes[position] == UInt8(ascii: "\"") else {
                position += 1
                continue
            }
            let end = endOfString(at: position, in: bytes)
            if bytes[position...].starts(with: mark) {
                let start = position + mark.count
                guard start < bytes.count, bytes[start] == UInt8(ascii: "\"") else { return nil }
                return bytes[start..<endOfString(at: start, in: bytes)]
            }
            position = end
        }
        return nil
    }

    private static func decoded(_ string: ArraySlice<UInt8>) -> String {
        (try? JSON(parsing: Array(string)))?.string ?? ""
    }
}
