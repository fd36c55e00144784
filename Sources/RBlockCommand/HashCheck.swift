import ArgumentParser
import BlockImage
import Encryption
import HostStorage
import Reports
import SystemPackage

extension Hash {
    /// The most bytes that a list may have.
    private static let listLimit = 64 << 20

    /// What a line of a list says.
    private struct Line {
        var name: String
        var algorithm: HashAlgorithm
        var digits: String
    }

    /// What is printed of one line.
    private enum Document: Encodable {
        case compared(HashCheckReport)
        case failure(FailureReport)

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .compared(let report): try report.encode(to: encoder)
            case .failure(let report): try report.encode(to: encoder)
            }
        }
    }

    /// Compares the disks that the list at `path` names with its hashes, and ends with 1 where one is another or cannot be
    /// read.
    func compare(with path: String) throws {
        var documents: [Document] = []
        var hasFailed = false
        try Failure.reported(as: output) {
            let printer = StandardOutput()
            for line in try lines(of: path) {
                var words = "FAILED"
                do {
                    let report = HashCheckReport(
                        try hash(line.name, by: [line.algorithm]), expected: line.digits)
                    if report.matches { words = "OK" } else { hasFailed = true }
                    documents.append(.compared(report))
                } catch let error as ImageError {
                    words = "FAILED to open or read"
                    hasFailed = true
                    Failure.say(error.description)
                    documents.append(.failure(FailureReport(filename: line.name, .image(error))))
                }
                guard output == .human else { continue }
                try printer.write("\(printable(line.name)): \(words)\n")
                try printer.flush()
            }
            if output == .json { try writeJSON(documents) }
        }
        if hasFailed { throw ExitCode(1) }
    }

    /// The lines of the list at `path`, or of standard input. Throws where one is none.
    private func lines(of path: String) throws -> [Line] {
        let name = path == "-" ? "standard input" : path
        let bytes: [UInt8]
        do {
            let file =
                path == "-"
                ? FileDescriptor.standardInput
                : try FileDescriptor.open(FilePath(text: path), .readOnly, options: .closeOnExec)
            defer { if path != "-" { try? file.close() } }
            bytes = try Self.all(of: file)
        } catch let error as Errno {
            throw ImageError(.system(errno: error.rawValue), path: name, "\(error)")
        }
        guard bytes.count <= Self.listLimit else {
            throw ImageError(
                .unsupported, path: name, "has more than \(Self.listLimit) bytes, and is no list of hashes")
        }
        let lines = bytes.split(separator: UInt8(ascii: "\n")).enumerated().filter {
            $0.element.first != UInt8(ascii: "#")
        }
        guard !lines.isEmpty else { throw ImageError(.corrupt, path: name, "has no line with a hash") }
        return try lines.map { index, bytes in
            guard let line = line(nameText(bytes)) else {
                throw ImageError(
                    .corrupt, path: name,
                    "line \(index + 1): must be HASH and NAME with two blanks between them, or ALGORITHM (NAME) = HASH")
            }
            return line
        }
    }

    private static func all(of file: FileDescriptor) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while bytes.count <= listLimit {
            // Safe: read writes at most as many bytes as the array has.
            let count = unsafe try buffer.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return bytes
    }

    /// What `text` says, as sha256sum(1) writes it, with and without --tag; nil where it says nothing such.
    private func line(_ text: String) -> Line? {
        var text = text[...]
        let isEscaped = text.first == "\\"
        if isEscaped { text = text.dropFirst() }
        let line: Line?
        if let open = text.firstRange(of: " ("), let close = text.ranges(of: ") = ").last {
            line = HashAlgorithm(rawValue: text[..<open.lowerBound].lowercased()).map {
                Line(
                    name: String(text[open.upperBound..<close.lowerBound]), algorithm: $0,
                    digits: String(text[close.upperBound...]))
            }
        } else {
            let digits = text.prefix { $0.isHexDigit }
            let rest = text[digits.endIndex...]
            guard rest.hasPrefix("  ") || rest.hasPrefix(" *"), let known = algorithm(of: digits.count) else {
                return nil
            }
            line = Line(name: String(rest.dropFirst(2)), algorithm: known, digits: String(digits))
        }
        guard var line, line.digits.count == 2 * line.algorithm.size, line.digits.allSatisfy(\.isHexDigit) else {
            return nil
        }
        if isEscaped { line.name = Self.unescaped(line.name) }
        return line
    }

    /// The hash function whose digests have `count` hexadecimal digits.
    private func algorithm(of count: Int) -> HashAlgorithm? {
        if let said = algorithm.first { return said }
        return [.md5, .sha1, .sha224, .sha256, .sha384, .sha512].first { 2 * $0.size == count }
    }

    private static func unescaped(_ name: String) -> String {
        name.split(separator: "\\\\", omittingEmptySubsequences: false)
            .map { $0.replacing("\\n", with: "\n") }.joined(separator: "\\")
    }
}
