import JSON

/// A parameter of a method: its description, and what is taken for it.
struct Parameter: Sendable {
    /// The most bytes of a string: names of disks are paths below a folder.
    static let stringLimit = 4096

    /// What a value may be.
    enum Kind: Sendable {
        /// A string.
        case string
        /// A string or a number, as an id is one.
        case id
        /// A whole number from `least` to `most`.
        case count(least: UInt64 = 0, most: UInt64 = .max)
        /// `true` or `false`; false where it is left out.
        case flag
    }

    var name: String
    var kind: Kind
    var isRequired = false
    /// What it means, in a phrase.
    var summary: String
    /// Whether it names a disk.
    var isImage = false

    /// The same, to be sent always.
    var required: Parameter {
        var copy = self
        copy.isRequired = true
        return copy
    }

    /// Throws where `value` is none that is taken.
    func check(_ value: JSON) throws(RPCError) {
        switch (kind, value) {
        case (.id, .string), (.id, .number), (.flag, .bool): return
        case (.string, .string(let text)) where text.utf8.count <= Self.stringLimit: return
        case (.count(let least, let most), .number(let text)):
            if let number = UInt64(text), (least...most).contains(number) { return }
        default: break
        }
        throw RPCError(.invalidParams, "\(name): is \(Self.excerpt(of: value)), and must be \(description)")
    }

    private var description: String {
        switch kind {
        case .string: "a string of at most \(Self.stringLimit) bytes"
        case .id: "a string or a number"
        case .count(let least, .max): "a whole number, without a fraction, from \(least) on"
        case .count(let least, let most): "a whole number, without a fraction, from \(least) to \(most)"
        case .flag: "true or false"
        }
    }

    private static func excerpt(of value: JSON) -> String {
        switch value {
        case .null, .bool: return value.text
        case .number(let text): return text.count > 40 ? "\(text.prefix(40))…" : text
        case .string(let text): return JSON.string(text.count > 40 ? "\(text.prefix(40))…" : text).text
        case .array: return "an array"
        case .object: return "an object"
        }
    }

    /// What OpenRPC calls its content descriptor.
    var descriptor: JSON {
        .object([
            "name": .string(name), "summary": .string(summary), "required": .bool(isRequired), "schema": schema,
        ])
    }

    private var schema: JSON {
        switch kind {
        case .string: return .object(["type": .string("string"), "maxLength": .count(Self.stringLimit)])
        case .id: return .object(["type": .array([.string("string"), .string("number")])])
        case .flag: return .object(["type": .string("boolean"), "default": .bool(false)])
        case .count(let least, let most):
            var members: [String: JSON] = ["type": .string("integer"), "minimum": .count(least)]
            if most != .max { members["maximum"] = .count(most) }
            return .object(members)
        }
    }
}

/// What a method was called with, by the names of its parameters, checked.
struct Arguments: Sendable {
    private var values: [String: JSON] = [:]

    /// Takes `sent`, the `params` of a request, for `parameters`: by name, or in their order; null stands for one that is
    /// left out. Throws `invalidParams` for what is missing, of another type, or not known.
    init(_ sent: JSON?, for parameters: [Parameter]) throws(RPCError) {
        var given: [String: JSON] = [:]
        switch sent {
        case .array(let elements)?:
            guard elements.count <= parameters.count else {
                throw RPCError(
                    .invalidParams, "there are \(elements.count) parameters, and at most \(parameters.count) are taken")
            }
            for (parameter, element) in zip(parameters, elements) { given[parameter.name] = element }
        case .object(let members)?: given = members
        default: break
        }
        for parameter in parameters {
            let value = given.removeValue(forKey: parameter.name) ?? .null
            if value == .null {
                guard !parameter.isRequired else { throw RPCError(.invalidParams, "\(parameter.name): is missing") }
                continue
            }
            try parameter.check(value)
            values[parameter.name] = value
        }
        if let unknown = given.keys.min() {
            let known = parameters.isEmpty ? "none" : parameters.map(\.name).joined(separator: ", ")
            throw RPCError(
                .invalidParams,
                "there is no parameter \(JSON.string(String(unknown.prefix(40))).text); there are: \(known)"
            )
        }
    }

    /// The value of a parameter as it was sent; nil where it was left out.
    subscript(parameter: Parameter) -> JSON? { values[parameter.name] }

    /// The string; empty where it was left out.
    func string(_ parameter: Parameter) -> String { values[parameter.name]?.string ?? "" }

    /// The number; nil where it was left out.
    func count(_ parameter: Parameter) -> UInt64? {
        if case .number(let text)? = values[parameter.name] { UInt64(text) } else { nil }
    }

    /// The flag.
    func flag(_ parameter: Parameter) -> Bool { values[parameter.name] == .bool(true) }
}

extension Parameter {
    /// The disk that a method is about: what `list` names.
    static let image = Parameter(
        name: "image", kind: .string, summary: "The name of the image; may be left out where one image is served",
        isImage: true)
    /// Where on the disk to begin.
    static let offset = Parameter(name: "offset", kind: .count(), summary: "The first byte of the disk")
}
