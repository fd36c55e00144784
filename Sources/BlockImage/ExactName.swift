/// A name as the key of a set or a dictionary: one that is written with other bytes is another name, though Swift's
/// strings call them equal.
public struct ExactName: Hashable, Comparable, Sendable, ExpressibleByStringLiteral {
    /// The name.
    public let text: String

    /// The name `text`.
    public init(_ text: String) {
        self.text = text
    }

    /// A name of the program's own.
    public init(stringLiteral text: String) {
        self.text = text
    }

    /// Whether both have the same bytes.
    public static func == (left: Self, right: Self) -> Bool {
        left.text.utf8.elementsEqual(right.text.utf8)
    }

    /// The order of their bytes.
    public static func < (left: Self, right: Self) -> Bool {
        left.text.utf8.lexicographicallyPrecedes(right.text.utf8)
    }

    /// Hashes the bytes.
    public func hash(into hasher: inout Hasher) {
        // The bytes as they are; a string's own hash is that of its normal form.
        for byte in text.utf8 { hasher.combine(byte) }
    }
}
