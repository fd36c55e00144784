import BlockImage
import ByteFormat
import ImageFormats

/// Writes structures as JSON as they come, so that a listing of any length takes no memory: each an object with its
/// name, offset and size, and, where there are any, `fields`, `entries`, `structures`, `faults`, `notes` and `omitted`.
/// For use by one thread.
package final class LayoutJSON: LayoutConsumer {
    /// How many faults there were.
    package private(set) var faultCount: UInt64 = 0
    private let write: (String) throws(ImageError) -> Void
    private let naming: (any PathNaming)?

    /// A structure that has begun.
    private struct Level {
        /// The array that is open: `fields`, `entries` or `structures`.
        var array = ""
        var faults: [String] = []
        var notes: [String] = []
        var omitted: [String] = []
    }

    private var levels: [Level] = []
    private var isFirst = true

    /// A writer that hands its text to `write`: the elements of an array, without its brackets; paths are called what
    /// `naming` says.
    package init(naming: (any PathNaming)? = nil, _ write: @escaping (String) throws(ImageError) -> Void) {
        self.write = write
        self.naming = naming
    }

    /// Begins another element of the array `name` of the structure.
    private func element(of name: String) throws(ImageError) {
        guard let level = levels.last else {
            if !isFirst { try write(",") }
            isFirst = false
            return
        }
        if level.array == name { return try write(",\n") }
        try write((level.array.isEmpty ? "," : "],") + "\n\(jsonString(name)): [\n")
        levels[levels.count - 1].array = name
    }

    /// A structure begins; it belongs to the one that has begun and not ended yet.
    package func begin(_ structure: LayoutStructure) throws(ImageError) {
        try element(of: "structures")
        var object = JSONObject()
        object.add("name", structure.name)
        if let offset = structure.offset { object.add("offset", offset.rawValue) }
        if let size = structure.size { object.add("size", size) }
        try write(String(object.text.dropLast()))
        levels.append(Level())
    }

    /// The table has this entry.
    package func add(_ field: LayoutField) throws(ImageError) {
        try element(of: "fields")
        if field.fault != nil { faultCount += 1 }
        var object = JSONObject()
        object.add("name", field.name)
        object.add("offset", field.offset.rawValue)
        object.add("size", field.size)
        let value = field.value.text(naming: naming)
        // The bytes of a name spell the path.
        if !field.raw.isEmpty, value == field.value.description { object.add("raw", hexBytes(field.raw)) }
        if let number = field.number { object.add("number", number) }
        object.add("value", value)
        if let fault = field.fault { object.add("fault", fault.text(naming: naming)) }
        try write(object.text)
    }

    /// The table has this entry. Runs of entries with nothing to list are passed over.
    package func add(_ entry: LayoutEntry) throws(ImageError) {
        guard entry.count == 1, entry.raw.isEmpty || entry.raw.contains(where: { $0 != 0 }) || entry.fault != nil else {
            return
        }
        try element(of: "entries")
        if entry.fault != nil { faultCount += 1 }
        var object = JSONObject()
        object.add("index", entry.index)
        object.add("offset", entry.offset.rawValue)
        if !entry.raw.isEmpty { object.add("raw", entry.raw.map { hexDigits($0, 16) }.joined(separator: " ")) }
        for fact in entry.facts {
            let name = fact.name.lowercased()
            switch fact.value {
            case .flag: object.add(name, raw: "true")
            case .offset(let number), .number(let number): object.add(name, number)
            case .text(let text): object.add(name, text)
            case .range(let start, let size):
                object.add(name, start)
                object.add("\(name)-size", size)
            }
        }
        if let fault = entry.fault { object.add("fault", fault) }
        try write(object.text)
    }

    /// Something is wrong with the structure as a whole, or it cannot be read: what, and what must be.
    package func fault(_ message: ErrorText) throws(ImageError) {
        faultCount += 1
        if !levels.isEmpty { levels[levels.count - 1].faults.append(jsonString(message.text(naming: naming))) }
    }

    /// Something to know of the structure, with which nothing is wrong.
    package func note(_ message: ErrorText) throws(ImageError) {
        if !levels.isEmpty { levels[levels.count - 1].notes.append(jsonString(message.text(naming: naming))) }
    }

    /// `count` things called `what` are left out, because of the limit that was asked for.
    package func omit(_ count: UInt64, _ what: String) throws(ImageError) {
        guard !levels.isEmpty else { return }
        var object = JSONObject()
        object.add("what", what)
        object.add("count", count)
        levels[levels.count - 1].omitted.append(object.text)
    }

    /// All structures end that have begun.
    func endAll() throws(ImageError) {
        while !levels.isEmpty { try end() }
    }

    /// The structure ends.
    package func end() throws(ImageError) {
        guard let level = levels.popLast() else { return }
        if !level.array.isEmpty { try write("]") }
        for (name, texts) in [("faults", level.faults), ("notes", level.notes), ("omitted", level.omitted)]
        where !texts.isEmpty { try write(",\n\(jsonString(name)): [\(texts.joined(separator: ", "))]") }
        try write("}")
    }
}

/// An object of JSON as it is written.
struct JSONObject {
    private var members: [String] = []

    /// The whole object.
    var text: String { "{\(members.joined(separator: ", "))}" }

    mutating func add(_ name: String, _ text: String) { add(name, raw: jsonString(text)) }
    mutating func add(_ name: String, _ number: UInt64) { add(name, raw: "\(number)") }
    /// Adds a value that is JSON already.
    mutating func add(_ name: String, raw: String) { members.append("\(jsonString(name)): \(raw)") }
}
