import Foundation

/// A JSON document to look things up in: `document["rblockfs", "counters", "reads"]?.number`.
package enum JSONValue: Hashable, Sendable, Decodable {
    /// `null`.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A number, as exact as it is written.
    case number(Decimal)
    /// A string.
    case text(String)
    /// An array.
    case array([JSONValue])
    /// An object.
    case object([String: JSONValue])

    /// Parses a whole document; throws where it is none.
    package init(parsing data: Data) throws {
        self = try JSONDecoder().decode(JSONValue.self, from: data)
    }

    /// See `Decodable`.
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Decimal.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    /// What stands at the end of these keys; nil where there is nothing.
    package subscript(path: String...) -> JSONValue? {
        path.reduce(self) { value, key in
            guard case .object(let members)? = value else { return nil }
            return members[key]
        }
    }

    /// The number, if it is one.
    package var number: Int? {
        if case .number(let value) = self { Int(exactly: NSDecimalNumber(decimal: value).int64Value) } else { nil }
    }

    /// The text, if it is one.
    package var text: String? {
        if case .text(let value) = self { value } else { nil }
    }

    /// The elements, if it is an array.
    package var array: [JSONValue]? {
        if case .array(let value) = self { value } else { nil }
    }

    /// The same document, in whose texts `part` stands nowhere.
    package func removing(_ part: String) -> JSONValue {
        switch self {
        case .text(let value): .text(value.replacingOccurrences(of: part, with: ""))
        case .array(let elements): .array(elements.map { $0.removing(part) })
        case .object(let members): .object(members.mapValues { $0.removing(part) })
        case .null, .bool, .number: self
        }
    }

    /// Every value that is no object or array, by its path: ["format-specific.data.compat": "1.1"].
    package var leaves: [String: JSONValue] {
        switch self {
        case .object(let members): Self.join(members.map { ($0, $1) })
        case .array(let elements): Self.join(elements.enumerated().map { ("\($0)", $1) })
        default: ["": self]
        }
    }

    private static func join(_ members: [(String, JSONValue)]) -> [String: JSONValue] {
        var result: [String: JSONValue] = [:]
        for (key, value) in members {
            for (path, leaf) in value.leaves { result[path.isEmpty ? key : "\(key).\(path)"] = leaf }
        }
        return result
    }
}
