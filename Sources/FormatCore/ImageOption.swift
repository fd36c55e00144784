import BlockImage

/// An option of a new image is not what it must be: one sentence for the person who wrote it.
public struct OptionFault: Error, Hashable, Sendable {
    /// What is wrong and what it must be.
    public var message: String

    /// The fault that `message` says.
    public init(message: String) {
        self.message = message
    }

    /// Throws where `level` is none of the `levels` of the compression `name`.
    public static func check(_ level: Int, _ levels: ClosedRange<Int>, _ name: String) throws(OptionFault) {
        guard levels.contains(level) else {
            throw OptionFault(
                message: "level: is \(level), but must be from \(levels.lowerBound) to \(levels.upperBound) for \(name)"
            )
        }
    }
}

/// The options of a new image as people write them, as for `qemu-img create -o`: `cluster_size=64k,compat=1.1`, where
/// a comma of a value is two.
public struct ImageOptionList: Sendable {
    /// The names and values, in the order that they were written in.
    public private(set) var items: [(name: String, value: String)] = []
    /// Whether the options are asked for.
    public private(set) var asksForHelp = false

    /// No options.
    public init() {}

    /// Adds what `text` says; a name alone is on. Throws for what is no `name=value`.
    public mutating func add(_ text: String) throws(OptionFault) {
        for piece in Self.pieces(of: text) {
            if piece == "help" || piece == "?" {
                asksForHelp = true
                continue
            }
            guard let mark = piece.firstIndex(of: "=") else {
                items.append((piece, "on"))
                continue
            }
            guard mark != piece.startIndex else {
                throw OptionFault(message: "option \"\(piece)\": must be name=value; 'help' lists the names")
            }
            items.append((String(piece[..<mark]), String(piece[piece.index(after: mark)...])))
        }
    }

    /// Takes the value of `name` out of the list: the last one, as a later option takes the place of an earlier one. Nil
    /// where it is not there.
    public mutating func take(_ name: String) -> String? {
        let value = items.last { $0.name == name }?.value
        items.removeAll { $0.name == name }
        return value
    }

    private static func pieces(of text: String) -> [String] {
        var pieces: [String] = []
        var piece = ""
        var isAfterComma = false
        for letter in text {
            if isAfterComma {
                isAfterComma = false
                if letter != "," {
                    pieces.append(piece)
                    piece = ""
                }
                piece.append(letter)
            } else if letter == "," {
                isAfterComma = true
            } else {
                piece.append(letter)
            }
        }
        return (pieces + [piece]).filter { !$0.isEmpty }
    }
}

/// An option that a new image of one format has.
public struct ImageOption<New>: Sendable {
    /// What people write before the equals sign.
    public let name: String
    /// What it may be and what it means, in one line.
    public let help: String
    /// Its values, where they have names.
    public let values: [String]
    private let set: @Sendable (inout New, OptionValue) throws(OptionFault) -> Void

    /// The option `name`, which `help` explains, and whose values have these names, if any; `set` sets what its value says.
    public init(
        name: String, help: String, values: [String] = [],
        set: @escaping @Sendable (inout New, OptionValue) throws(OptionFault) -> Void
    ) {
        self.name = name
        self.help = help
        self.values = values
        self.set = set
    }

    /// Sets what `list` says of `new`. Throws for an option that `format` does not have, and for a wrong value.
    public static func apply(
        _ list: ImageOptionList, _ options: [ImageOption], to new: inout New, format: String
    ) throws(OptionFault) {
        for (name, value) in list.items {
            guard let option = options.first(where: { $0.name == name }) else {
                let names = options.map(\.name).joined(separator: ", ")
                throw OptionFault(message: "option \(name): \(format) has none of this name; it has \(names)")
            }
            try option.set(&new, OptionValue(name: name, text: value))
        }
    }
}

/// The value of an option, as it was written.
public struct OptionValue {
    /// The names of yes and no that are offered.
    public static let flags = ["on", "off"]

    /// The name of the option.
    public let name: String
    /// The value.
    public let text: String

    /// The fault that it is not `wanted`.
    public func fault(_ wanted: String) -> OptionFault {
        OptionFault(message: "option \(name): is \"\(text)\", but must be \(wanted)")
    }

    /// A number of bytes, as `65536` or `64k`.
    public func size() throws(OptionFault) -> UInt64 {
        do throws(ByteCountFault) {
            return try byteCount(of: text)
        } catch {
            throw fault(error.wanted)
        }
    }

    /// A number.
    public func number<Number: FixedWidthInteger>() throws(OptionFault) -> Number {
        guard let number = Number(text) else { throw fault("a number") }
        return number
    }

    /// Yes or no, as QEMU takes it.
    public func flag() throws(OptionFault) -> Bool {
        switch text {
        case "on", "yes", "true", "y": return true
        case "off", "no", "false", "n": return false
        default: throw fault("on or off")
        }
    }

    /// One of the values that have names.
    public func choice<Choice: RawRepresentable<String> & CaseIterable>() throws(OptionFault) -> Choice {
        guard let choice = Choice(rawValue: text) else {
            throw fault("one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return choice
    }
}
