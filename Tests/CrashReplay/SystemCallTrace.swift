import Foundation
import HostTools

/// What `strace -f -y -xx` wrote about a program: its system calls in the order in which they ended.
struct SystemCallTrace {
    /// An argument.
    enum Argument: Equatable {
        /// The bytes of a string.
        case bytes([UInt8])
        /// The path behind a file descriptor, and the descriptor.
        case file(String, descriptor: Int)
        /// Anything else, as it stands there.
        case text(String)
    }

    /// A call that has ended.
    struct Call {
        var name: String
        var arguments: [Argument]
        var result: Int
        /// How many calls of the trace had ended when it began.
        var begin: Int
    }

    /// The calls.
    private(set) var calls: [Call] = []

    /// Reads the trace; throws where a line is not understood.
    init(parsing text: String) throws {
        var open: [Substring: (text: String, begin: Int)] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let process = parts[0]
            var rest = String(parts[1].drop { $0 == " " })
            // Signals, and ends of threads, also of those that were about to begin a call.
            if ["+++", "---", "???(", "<... ???"].contains(where: rest.hasPrefix) { continue }
            // The process ended before the call did.
            if rest.hasSuffix(" = ?") {
                open[process] = nil
                continue
            }
            var begin = calls.count
            if rest.hasPrefix("<... ") {
                guard let end = rest.range(of: " resumed>"), let known = open.removeValue(forKey: process) else {
                    throw ToolFailure(
                        description: "strace: the end of a call without its beginning: \(rest.prefix(80))")
                }
                rest = known.text + rest[end.upperBound...]
                begin = known.begin
            }
            if rest.hasSuffix(" <unfinished ...>") {
                open[process] = (String(rest.dropLast(" <unfinished ...>".count)), begin)
                continue
            }
            calls.append(try Self.call(rest, begin: begin))
        }
    }

    private static func call(_ text: String, begin: Int) throws -> Call {
        var parser = Parser(Array(text.utf8))
        guard let call = parser.call(begin: begin) else {
            throw ToolFailure(description: "strace: not understood: \(text.prefix(200))")
        }
        return call
    }

    /// Reads one call.
    private struct Parser {
        private let text: [UInt8]
        private var place = 0

        init(_ text: [UInt8]) { self.text = text }

        private var next: UInt8? { place < text.count ? text[place] : nil }

        private mutating func take(_ character: Character) -> Bool {
            guard next == character.asciiValue else { return false }
            place += 1
            return true
        }

        private mutating func word(until stops: String) -> String {
            let stops = Set(stops.utf8)
            let start = place
            while let next, !stops.contains(next) { place += 1 }
            return String(decoding: text[start..<place], as: UTF8.self)
        }

        mutating func call(begin: Int) -> Call? {
            let name = word(until: "(")
            guard take("(") else { return nil }
            var arguments: [Argument] = []
            while !take(")") {
                guard let argument = argument() else { return nil }
                // A vector of buffers is one run of bytes.
                arguments.append(argument)
                while take(",") || take(" ") {}
                if next == nil { return nil }
            }
            while take(" ") {}
            guard take("=") else { return nil }
            while take(" ") {}
            guard let result = Int(word(until: " <")) else { return nil }
            return Call(name: name, arguments: arguments, result: result, begin: begin)
        }

        private mutating func argument() -> Argument? {
            if next == UInt8(ascii: "\"") { return string().map(Argument.bytes) }
            if take("[") {
                var bytes: [UInt8] = []
                while !take("]") {
                    let key = word(until: "\"],=")
                    if key.hasSuffix("iov_base") {
                        guard take("="), let part = string() else { return nil }
                        bytes += part
                    }
                    guard next == UInt8(ascii: "]") || take(",") || take("=") else { return nil }
                }
                return .bytes(bytes)
            }
            let word = word(until: ",)<")
            // The folder of the process, which relative paths begin in, has a name instead of a descriptor.
            guard take("<"), let descriptor = word == "AT_FDCWD" ? Int(AT_FDCWD) : Int(word) else { return .text(word) }
            var path: [UInt8] = []
            while let next, next != UInt8(ascii: ">") {
                guard let byte = character() else { return nil }
                path.append(byte)
            }
            guard take(">") else { return nil }
            // "(deleted)", where the file has no name any more.
            if take("(") { place += self.word(until: ")").isEmpty ? 0 : 1 }
            return .file(String(decoding: path, as: UTF8.self), descriptor: descriptor)
        }

        private mutating func string() -> [UInt8]? {
            guard take("\"") else { return nil }
            var bytes: [UInt8] = []
            while !take("\"") {
                guard let byte = character() else { return nil }
                bytes.append(byte)
            }
            // "..." would mean that it was cut.
            return next == UInt8(ascii: ".") ? nil : bytes
        }

        /// A byte as \xab, or as it is.
        private mutating func character() -> UInt8? {
            guard let first = next else { return nil }
            guard first == UInt8(ascii: "\\") else {
                place += 1
                return first
            }
            guard place + 3 < text.count, text[place + 1] == UInt8(ascii: "x"),
                let high = Self.digit(text[place + 2]), let low = Self.digit(text[place + 3])
            else { return nil }
            place += 4
            return high << 4 | low
        }

        private static func digit(_ character: UInt8) -> UInt8? {
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): character - UInt8(ascii: "a") + 10
            default: nil
            }
        }
    }
}
