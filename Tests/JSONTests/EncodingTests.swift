import Foundation
import JSON
import Testing

struct `Values as JSON` {
    /// Values of every kind, in every container that an encoder has.
    private struct Everything: Encodable {
        private enum CodingKeys: String, CodingKey {
            case text, flag, numbers, big, small, half, missing, nothing, nested, list, keyed, single, empty
        }

        private struct Point: Encodable {
            var x = Int8(-128)
            var y: UInt64? = .max
        }

        private enum Kind: String, Encodable {
            case flat
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode("a \"b\" \\ \n\u{1}\u{e9}\u{1F600}/", forKey: .text)
            try container.encode(true, forKey: .flag)
            try container.encode([1, -2, 3] as [Int16], forKey: .numbers)
            try container.encode(UInt64.max, forKey: .big)
            try container.encode(Int64.min, forKey: .small)
            try container.encode(0.5, forKey: .half)
            try container.encodeIfPresent(nil as Int?, forKey: .missing)
            try container.encodeNil(forKey: .nothing)
            try container.encode([Point(), Point(x: 1, y: nil)], forKey: .nested)
            var list = container.nestedUnkeyedContainer(forKey: .list)
            try list.encode("first")
            try list.encodeNil()
            var inner = list.nestedContainer(keyedBy: CodingKeys.self)
            try inner.encode(Kind.flat, forKey: .text)
            var numbers = list.nestedUnkeyedContainer()
            try numbers.encode(Float(1.25))
            try container.encode(["b": [1: "x"], "a": [:]] as [String: [Int: String]], forKey: .keyed)
            try container.encode(Kind.flat, forKey: .single)
            try container.encode([] as [Int], forKey: .empty)
            // One more container of the same value adds to it.
            var again = encoder.container(keyedBy: CodingKeys.self)
            try again.encode(7, forKey: .numbers)
        }
    }

    @Test func `are what Foundation's encoder makes of them`() throws {
        let encoder = JSONEncoder()
        let expected = try JSON(parsing: Array(encoder.encode(Everything())))
        #expect(try JSON(encoding: Everything()) == expected)
        #expect(try JSON(encoding: [Everything(), Everything()]) == .array([expected, expected]))
        for value in [1.5, -0.25, 1e300, 1e-300] {
            #expect(try JSON(encoding: value) == .number("\(value)"))
            #expect(try JSONDecoder().decode(Double.self, from: Data(JSON(encoding: value).text.utf8)) == value)
        }
        #expect(try JSON(encoding: "text") == .string("text"))
        #expect(try JSON(encoding: nil as Int?) == .null)
    }

    @Test func `are read again as they were`() throws {
        struct Part: Codable, Equatable {
            var name: String
            var size: UInt64?
            var kind: Kind
            var numbers: [Int8]
            var sizes: [String: Double]

            enum Kind: String, Codable { case flat, sparse }
        }
        let parts = [
            Part(name: "\u{e9}\"", size: .max, kind: .flat, numbers: [-128, 127], sizes: ["a": 0.5]),
            Part(name: "", size: nil, kind: .sparse, numbers: [], sizes: [:]),
        ]
        let json = try JSON(encoding: parts)
        #expect(try json.decoded(as: [Part].self) == parts)
        #expect(try JSONDecoder().decode([Part].self, from: Data(json.text.utf8)) == parts)
        for text in ["[{}]", "[7]", "{}", "[{\"name\":1,\"kind\":\"flat\",\"numbers\":[],\"sizes\":{}}]"] {
            #expect(throws: DecodingError.self) { try JSON(parsing: Array(text.utf8)).decoded(as: [Part].self) }
        }
        #expect(throws: DecodingError.self) { try JSON(parsing: Array("1e999".utf8)).decoded(as: Double.self) }
        for (text, isByte) in [("255", true), ("256", false), ("-1", false), ("1.0", false), ("\"1\"", false)] {
            #expect(((try? JSON(parsing: Array(text.utf8)).decoded(as: UInt8.self)) != nil) == isByte, "\(text)")
        }
    }

    @Test func `numbers without digits are refused`() {
        for value in [Double.nan, .infinity, -.infinity] {
            #expect(throws: JSONEncodingFault.self) { try JSON(encoding: [value]) }
        }
    }

    @Test func `what would steer a terminal is written as an escape`() throws {
        let text = try JSON(encoding: ["\u{1b}[2J\u{7f}\u{9b}"]).text
        #expect(text == "[\"\\u001b[2J\\u007f\\u009b\"]")
        #expect(JSON.quoted("a\tb") == "\"a\\u0009b\"")
    }

    @Test func `the encoder has the user information, and the path of where it is`() throws {
        struct Asking: Encodable {
            func encode(to encoder: any Encoder) throws {
                let key = try #require(CodingUserInfoKey(rawValue: "name"))
                var container = encoder.singleValueContainer()
                let path = encoder.codingPath.map(\.stringValue).joined(separator: "/")
                try container.encode("\(encoder.userInfo[key] as? String ?? "none") at \(path)")
            }
        }
        let key = try #require(CodingUserInfoKey(rawValue: "name"))
        let json = try JSON(encoding: ["a": ["b": Asking()]], userInfo: [key: "disk"])
        #expect(json["a"]?["b"] == .string("disk at a/b"))
    }
}
