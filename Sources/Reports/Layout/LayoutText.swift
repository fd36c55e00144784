import BlockImage
import ByteFormat
import ImageTools

/// How people are shown things on a terminal or in a file.
package struct TextStyle: Sendable {
    /// Whether the terminal shows colours, and may be asked to.
    package var hasColours: Bool
    /// How many characters a line has space for.
    let columns: Int
    /// Lines that have no more, where a terminal shows them.
    package let wrap: LineWrap

    /// Lines for a terminal of `columns` characters, or, where that is nil, for files and pipes; with colours or without.
    package init(hasColours: Bool = false, columns: Int? = nil) {
        self.hasColours = hasColours
        self.columns = columns ?? 80
        wrap = LineWrap(columns: columns)
    }

    /// `text` so that it stands out as a fault.
    package func fault(_ text: String) -> String { hasColours ? "\u{1b}[1;31m\(text)\u{1b}[0m" : text }
    /// `text` so that it stands out as something to look at, which is no fault.
    package func warning(_ text: String) -> String { hasColours ? "\u{1b}[1;33m\(text)\u{1b}[0m" : text }
    /// `text` so that it stands out as good.
    package func good(_ text: String) -> String { hasColours ? "\u{1b}[32m\(text)\u{1b}[0m" : text }
    /// `text` so that it stands out as a heading.
    package func heading(_ text: String) -> String { hasColours ? "\u{1b}[1m\(text)\u{1b}[0m" : text }
    /// `text` so that it steps back.
    func quiet(_ text: String) -> String { hasColours ? "\u{1b}[2m\(text)\u{1b}[0m" : text }
}

/// Writes structures for people as they come: a heading each, a line a field or entry, and under it, behind `!!`, what is
/// wrong. For use by one thread.
package final class LayoutText: LayoutConsumer {
    /// How many faults there were.
    package private(set) var faultCount: UInt64 = 0
    private let style: TextStyle
    private let write: (String) throws(ImageError) -> Void
    private var depth = 0

    /// A writer that hands its lines, each with its end, to `write`.
    package init(_ style: TextStyle, _ write: @escaping (String) throws(ImageError) -> Void) {
        self.style = style
        self.write = write
    }

    private var indent: String { String(repeating: "  ", count: depth) }

    /// Writes `line`; what has no space in it goes on below, `hanging` columns behind the indent.
    private func write(line: String, hanging: Int) throws(ImageError) {
        try write(style.wrap.wrapped(indent + line, hanging: indent.count + hanging) + "\n")
    }

    /// A structure begins; it belongs to the one that has begun and not ended yet.
    package func begin(_ structure: LayoutStructure) throws(ImageError) {
        var place = ""
        if let offset = structure.offset { place = "  at \(offset)" }
        if let size = structure.size { place += ", \(counted(size, "byte"))" }
        if depth == 0 { try write("\n") }
        try write(line: "\(style.heading(structure.name))\(place)", hanging: 4)
        depth += 1
    }

    /// The table has this entry.
    package func add(_ field: LayoutField) throws(ImageError) {
        let offset = padded(field.offset.description, 10)
        let size = padded("\(field.size)", 4, right: true)
        let raw = hexBytes(field.raw.prefix(8)) + (field.raw.count > 8 ? " …" : "")
        let shown = field.raw.isEmpty ? "" : "\(padded(raw, 25)) "
        let place = "\(offset) \(size)"
        let head = "\(style.quiet(place))  \(padded(field.name, 24))  "
        let value = "\(field.value)"
        if style.wrap.fits("\(indent)\(head)\(shown)\(value)") {
            try write("\(indent)\(head)\(style.quiet(shown))\(value)\n")
        } else {
            // The value is easier to read as a whole, below.
            let start = String(repeating: " ", count: place.count + 4)
            try write(line: head + style.quiet(raw), hanging: start.count)
            try write(line: start + value, hanging: start.count + 2)
        }
        if let fault = field.fault { try self.fault("\(fault)") }
    }

    /// The table has this entry.
    package func add(_ entry: LayoutEntry) throws(ImageError) {
        let last = entry.index + (entry.count - 1)
        let index = entry.count == 1 ? "[\(entry.index)]" : "[\(entry.index)-\(last)]"
        var words = entry.count == 1 ? entry.facts.map { text($0, count: 1) } : []
        if entry.count > 1 {
            words = entry.facts.map { text($0, count: entry.count) }
            // A run of things, or of entries in which nothing stands.
            words = entry.raw.isEmpty ? ["\(entry.count)"] + words : words + ["\(entry.count) empty entries"]
        } else if entry.raw.allSatisfy({ $0 == 0 }) && entry.facts.count < 2 {
            words.append("empty")
        }
        let raw = entry.count == 1 ? entry.raw.map { hexDigits($0, 16) }.joined(separator: " ") : ""
        try write(
            line: "\(padded(index, 10)) \(style.quiet("\(padded(entry.offset.description, 10)) \(raw)"))"
                + "\(raw.isEmpty ? "" : " ")\(words.joined(separator: " "))",
            hanging: 22)
        if let fault = entry.fault { try self.fault("\(fault)") }
    }

    /// Something is wrong with the structure as a whole, or it cannot be read: what, and what must be.
    package func fault(_ message: ErrorText) throws(ImageError) {
        faultCount += 1
        try write(line: style.fault("!! \(message)"), hanging: 3)
    }

    /// Something to know of the structure, with which nothing is wrong.
    package func note(_ message: ErrorText) throws(ImageError) {
        try write(line: "(\(message))", hanging: 1)
    }

    /// `count` things called `what` are left out, because of the limit that was asked for.
    package func omit(_ count: UInt64, _ what: String) throws(ImageError) {
        try write(line: "… \(what): \(count) more, left out; --limit says how many are shown", hanging: 2)
    }

    /// The structure ends.
    package func end() throws(ImageError) {
        depth -= 1
    }

    private func text(_ fact: LayoutEntry.Fact, count: UInt64) -> String {
        switch fact.value {
        case .flag: fact.name
        case .number(let number): "\(fact.name) \(number)"
        case .text(let text): fact.name == "kind" ? text : "\(fact.name) \(text)"
        case .offset(let offset):
            ["host", "l2", "table", "block"].contains(fact.name)
                ? "-> \(fact.name) \(HostOffset(offset))" : "\(fact.name) \(HostOffset(offset))"
        case .range(let start, let size):
            "\(fact.name) \(HostOffset(start))-\(HostOffset(start &+ size &* count &- 1))"
        }
    }
}

/// `text` with spaces up to `width` characters: behind it, or before it where `right`.
package func padded(_ text: String, _ width: Int, right: Bool = false) -> String {
    let spaces = String(repeating: " ", count: max(0, width - text.count))
    return right ? spaces + text : text + spaces
}
