import ImageFormats
import Reports

/// A value of JSON (RFC 8259), as it was sent.
///
/// A type of its own, as Foundation's encoder cannot write a number in the digits it came in.
package enum JSON: Hashable, Sendable {
    /// `null`.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A number as it is written: an id such as 1.0 or 12345678901234567890 must come back as it came.
    case number(String)
    /// A string, without its escapes.
    case string(String)
    /// An array.
    case array([JSON])
    /// An object; the order of its members means nothing.
    case object([String: JSON])

    /// A whole number.
    package static func count(_ number: some BinaryInteger) -> JSON { .number("\(number)") }

    /// The string, if it is one.
    package var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The members, if it is an object.
    package var members: [String: JSON]? {
        if case .object(let members) = self { members } else { nil }
    }

    /// The text of it in one line, members in the order of their names.
    package var text: String {
        var text = ""
        write(to: &text, indentation: nil)
        return text
    }

    /// The same for people, over several lines.
    package var textForPeople: String {
        var text = ""
        write(to: &text, indentation: 0)
        return text
    }

    private func write(to text: inout String, indentation: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += "\(value)"
        case .number(let number): text += number
        case .string(let string): text += jsonString(string)
        case .array(let elements):
            Self.write(elements, between: "[", "]", to: &text, indentation) { element, text, inner in
                element.write(to: &text, indentation: inner)
            }
        case .object(let members):
            let sorted = members.sorted { $0.key < $1.key }
            Self.write(sorted, between: "{", "}", to: &text, indentation) { member, text, inner in
                text += jsonString(member.key) + (inner == nil ? ":" : ": ")
                member.value.write(to: &text, indentation: inner)
            }
        }
    }

    private static func write<Element>(
        _ elements: [Element], between start: String, _ end: String, to text: inout String, _ indentation: Int?,
        _ body: (Element, inout String, Int?) -> Void
    ) {
        text += start
        let inner = indentation.map { $0 + 2 }
        for (index, element) in elements.enumerated() {
            if index > 0 { text += "," }
            if let inner { text += "\n" + String(repeating: " ", count: inner) }
            body(element, &text, inner)
        }
        if let indentation, !elements.isEmpty { text += "\n" + String(repeating: " ", count: indentation) }
        text += end
    }
}
