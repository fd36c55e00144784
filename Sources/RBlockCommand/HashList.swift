import BlockImage
import Encryption
import HostStorage
import SystemPackage

/// A list of hashes, as sha256sum(1) of coreutils writes it, with and without --tag.
struct HashList {
    /// The most bytes that a list may have.
    private static let limit = 64 << 20

    /// What a line says.
    struct Line {
        var name: String
        var algorithm: HashAlgorithm
        /// The hash in hexadecimal digits.
        var digits: String
    }

    /// The most malformed lines that are named, one by one.
    private static let faultLimit = 10

    /// The lines, but for those that are empty or begin with #, or malformed.
    private(set) var lines: [Line] = []
    /// What is wrong with malformed lines: with the first few, and how many there are.
    private(set) var faults: [ImageError] = []

    /// The list at `path`, or on standard input where that is -. `algorithm`: what lines have that do not name theirs; nil:
    /// the number of their digits says it. Throws where there is no line that is well-formed.
    init(at path: String, algorithm: HashAlgorithm?) throws(ImageError) {
        let file = path == "-" ? "standard input" : path
        let bytes = try Self.bytes(of: path, called: file)
        let texts = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        var malformed = 0
        for (index, text) in texts.enumerated() {
            let text = text.last == UInt8(ascii: "\r") ? text.dropLast() : text
            guard !text.isEmpty, text.first != UInt8(ascii: "#") else { continue }
            guard let line = Self.line(Array(text), algorithm) else {
                malformed += 1
                guard malformed <= Self.faultLimit else { continue }
                faults.append(
                    ImageError(
                        .corrupt, path: file,
                        "line \(index + 1): must be HASH and NAME with two blanks between them, or ALGORITHM (NAME) = HASH"
                    ))
                continue
            }
            lines.append(line)
        }
        if malformed > 0 {
            let words = "\(counted(malformed, "malformed line")) of \(malformed + lines.count)"
            faults.append(
                ImageError(
                    .corrupt, path: file,
                    "\(words): what \(malformed == 1 ? "it is" : "they are") about was not compared"))
        }
        guard !lines.isEmpty else {
            throw faults.first ?? ImageError(.corrupt, path: file, "has no line with a hash")
        }
    }

    private static func bytes(of path: String, called name: String) throws(ImageError) -> [UInt8] {
        var bytes: [UInt8] = []
        do {
            let isInput = path == "-"
            let file =
                isInput
                ? FileDescriptor.standardInput
                : try FileDescriptor.open(FilePath(text: path), .readOnly, options: .closeOnExec)
            defer { if !isInput { try? file.close() } }
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while bytes.count <= limit {
                // Safe: read writes at most as many bytes as the array has.
                let count = unsafe try buffer.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
                guard count > 0 else { break }
                bytes += buffer[..<count]
            }
        } catch {
            let number = (error as? Errno) ?? .ioError
            throw ImageError(.system(errno: number.rawValue), path: name, "\(number)")
        }
        guard bytes.count <= limit else {
            throw ImageError(.unsupported, path: name, "has more than \(limit) bytes, and is no list of hashes")
        }
        return bytes
    }

    /// What a line says, by its bytes: an accent at its start makes one character of the blank before it and itself.
    private static func line(_ bytes: [UInt8], _ algorithm: HashAlgorithm?) -> Line? {
        let isEscaped = bytes.first == UInt8(ascii: "\\")
        let text = bytes.dropFirst(isEscaped ? 1 : 0)
        guard var line = tagged(text) ?? plain(text, algorithm), line.digits.utf8.count == 2 * line.algorithm.size
        else {
            return nil
        }
        if isEscaped { line.name = unescaped(line.name) }
        return line
    }

    /// `SHA256 (NAME) = HASH`.
    private static func tagged(_ text: ArraySlice<UInt8>) -> Line? {
        guard let blank = text.firstIndex(of: UInt8(ascii: " ")), text[blank...].starts(with: " (".utf8),
            let algorithm = HashAlgorithm(rawValue: String(decoding: text[..<blank], as: UTF8.self).lowercased())
        else { return nil }
        let rest = text[(blank + 2)...]
        let mark = Array(") = ".utf8)
        let end = rest.count - 2 * algorithm.size - mark.count
        guard end >= 0, rest.dropFirst(end).starts(with: mark), let digits = digits(rest.dropFirst(end + mark.count))
        else { return nil }
        return Line(name: nameText(rest.prefix(end)), algorithm: algorithm, digits: digits)
    }

    /// `HASH  NAME`.
    private static func plain(_ text: ArraySlice<UInt8>, _ said: HashAlgorithm?) -> Line? {
        let all: [HashAlgorithm] = [.md5, .sha1, .sha224, .sha256, .sha384, .sha512]
        guard let blank = text.firstIndex(of: UInt8(ascii: " ")), let digits = digits(text[..<blank]),
            let algorithm = said ?? all.first(where: { 2 * $0.size == digits.utf8.count })
        else { return nil }
        let rest = text[blank...]
        guard rest.count > 2, rest.starts(with: "  ".utf8) || rest.starts(with: " *".utf8) else { return nil }
        return Line(name: nameText(rest.dropFirst(2)), algorithm: algorithm, digits: digits)
    }

    private static func digits(_ text: ArraySlice<UInt8>) -> String? {
        let digits = String(decoding: text, as: UTF8.self)
        return !digits.isEmpty && digits.allSatisfy { $0.isASCII && $0.isHexDigit } ? digits : nil
    }

    /// `name` as a line has it: where that would break the line, escaped, with a mark at the line's start.
    static func escaped(_ name: String) -> (mark: String, name: String) {
        guard name.utf8.contains(where: { $0 == UInt8(ascii: "\\") || $0 == 10 || $0 == 13 }) else { return ("", name) }
        var result = ""
        for scalar in name.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return ("\\", result)
    }

    private static func unescaped(_ name: String) -> String {
        var result = ""
        var isMarked = false
        for scalar in name.unicodeScalars {
            switch (isMarked, scalar) {
            case (false, "\\"): isMarked = true
            case (true, "n"): (result, isMarked) = (result + "\n", false)
            case (true, "r"): (result, isMarked) = (result + "\r", false)
            default:
                result.unicodeScalars.append(scalar)
                isMarked = false
            }
        }
        return result
    }
}
