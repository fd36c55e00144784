/// A value of JSON (RFC 8259), as it was sent.
///
/// A type of its own, as Foundation's encoder cannot write a number in the digits it came in, and costs each program 6 MB.
/// The packages build ArgumentParser with it, too (`Packaging/without-foundation`): it imports nothing.
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

    /// The truth value, if it is one.
    package var bool: Bool? {
        if case .bool(let value) = self { value } else { nil }
    }

    /// The elements, if it is an array.
    package var elements: [JSON]? {
        if case .array(let elements) = self { elements } else { nil }
    }

    /// The member called `name`, if it is an object that has one.
    package subscript(name: String) -> JSON? { members?[name] }

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
        case .string(let string): Self.write(string, to: &text)
        case .array(let elements):
            Self.write(elements, between: "[", "]", to: &text, indentation) { element, text, inner in
                element.write(to: &text, indentation: inner)
            }
        case .object(let members):
            let sorted = members.sorted { $0.key < $1.key }
            Self.write(sorted, between: "{", "}", to: &text, indentation) { member, text, inner in
                Self.write(member.key, to: &text)
                text += inner == nil ? ":" : ": "
                member.value.write(to: &text, indentation: inner)
            }
        }
    }

    /// `text` as a string of JSON, in its quotation marks. What JSON may not have as it is, and what would steer a terminal
    /// that the text is shown on, is written as escapes.
    package static func quoted(_ text: String) -> String {
        var result = ""
        write(text, to: &result)
        return result
    }

    private static func write(_ string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"", "\\": text += "\\\(scalar)"
            case "\n": text += "\\n"
            case _ where scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value):
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
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
