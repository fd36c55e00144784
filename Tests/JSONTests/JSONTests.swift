import Foundation
import HostTools
import TestImages
import Testing

@testable import JSON

struct `JSON from strangers` {
    private func parse(_ text: String, valueLimit: Int = .max) throws(JSONFault) -> JSON {
        try JSON(parsing: Array(text.utf8), valueLimit: valueLimit)
    }

    @Test func `keeps numbers as they were sent`() throws {
        for number in ["0", "-0", "1.50", "12345678901234567890123", "1e400", "-1E+2", "0.1e-7"] {
            #expect(try parse(" \(number)\t") == .number(number))
            #expect(try parse("[\(number)]").text == "[\(number)]")
        }
    }

    @Test func `takes every escape, and pairs of surrogates`() throws {
        #expect(try parse(#""\"\\\/\b\f\n\r\tA\u00e9\ud83D\uDE00\u0000""#) == .string("\"\\/\u{8}\u{c}\n\r\tAé😀\0"))
        #expect(try parse("\"é😀\u{7f}\"") == .string("é😀\u{7f}"))
    }

    @Test(arguments: [
        "", " ", "nul", "truefalse", "[1 2]", "[1,]", "[,1]", "[", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
        "{\"a\":1 \"b\":2}", "{\"a\":1,\"a\":2}", "01", "-", "+1", ".5", "1.", "1e", "0x10", "NaN", "\"", "\"\\\"",
        "\"\\x\"", "\"\\u12g4\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\u{1}\"", "\"\n\"", "1 1",
        "'a'", "[1]]", "\u{feff}1",
    ])
    func `refuses what is none, and says at which byte`(text: String) {
        #expect(throws: JSONFault.self) { try parse(text) }
    }

    @Test func `tells the byte where it ends being JSON`() {
        #expect(throws: JSONFault(offset: 5, message: "a digit must be here")) { try parse("[1, -x]") }
        #expect(throws: JSONFault(offset: 3, message: "something stands behind the end of the JSON text")) {
            try parse("[1]]")
        }
    }

    @Test func `refuses strings that are no UTF-8`() {
        for bytes in [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]] as [[UInt8]] {
            #expect(throws: JSONFault(offset: 1, message: "this string is no UTF-8")) {
                try JSON(parsing: [0x22] + bytes + [0x22])
            }
            #expect(throws: JSONFault.self) { try JSON(parsing: bytes) }
        }
    }

    @Test func `bounds depth and number of values while it parses`() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try parse(nested(JSON.depthLimit))
        #expect(throws: JSONFault.self) { try parse(nested(JSON.depthLimit + 1)) }
        #expect(throws: JSONFault.self) { try parse(String(repeating: "{\"a\":", count: 100_000)) }
        #expect(throws: JSONFault.self) { try parse(String(repeating: "[", count: 1_000_000)) }
        _ = try parse("[1,2,3]", valueLimit: 4)
        #expect(throws: JSONFault.self) { try parse("[1,2,3]", valueLimit: 3) }
    }

    /// Any value, so deep at most.
    private func random(_ depth: Int, _ random: inout SeededRandom) -> JSON {
        switch Int.random(in: depth > 0 ? 0...5 : 0...3, using: &random) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &random))
        case 2: return .number("\(Int.random(in: -1_000_000...1_000_000, using: &random))")
        case 3: return .string(text(&random))
        case 4: return .array((0..<Int.random(in: 0...4, using: &random)).map { _ in self.random(depth - 1, &random) })
        default:
            var members: [String: JSON] = [:]
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                members[text(&random)] = self.random(depth - 1, &random)
            }
            return .object(members)
        }
    }

    private func text(_ random: inout SeededRandom) -> String {
        let scalars = (0..<Int.random(in: 0...6, using: &random)).compactMap { _ in
            Unicode.Scalar(UInt32.random(in: 0...0x2ff, using: &random))
        }
        var text = ""
        text.unicodeScalars.append(contentsOf: scalars)
        return text
    }

    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `what is written is read again, by Foundation as well; what is mutilated does no harm`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<40 {
            let value = self.random(4, &random)
            #expect(try parse(value.text) == value, "seed \(seed): \(value.text)")
            #expect(try parse(value.textForPeople) == value, "seed \(seed)")
            #expect(!value.text.contains("\n"))
            _ = try JSONSerialization.jsonObject(with: Data(value.text.utf8), options: .fragmentsAllowed)
            var bytes = Array(value.text.utf8)
            for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0...2, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                default: bytes.insert(Array("[]{},:\"\\u0-e.".utf8).randomElement(using: &random) ?? 0, at: index)
                }
            }
            // What is taken in spite of that is JSON for Foundation, too, but for numbers that no Double is.
            if let taken = try? JSON(parsing: bytes), taken.text.firstMatch(of: /[0-9][eE]/) == nil {
                #expect(throws: Never.self, "seed \(seed): \(taken.text)") {
                    try JSONSerialization.jsonObject(with: Data(taken.text.utf8), options: .fragmentsAllowed)
                }
            }
            _ = try? JSON(parsing: (0..<64).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
    }
}
