import BlockImage

/// Secrets that clients show instead of certificates, each with the name that a client gives.
package struct PresharedKeys: Hashable, Sendable {
    private var keys: [ExactName: [UInt8]] = [:]

    /// None.
    package init() {}

    /// Those of a file as GnuTLS's psktool writes it: lines of a name, a colon, and the key in hexadecimal. Nil where a
    /// line is none, and where there is no line.
    package init?(parsing text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            guard let colon = line.lastIndex(of: ":"), let key = Self.bytes(line[colon...].dropFirst()) else {
                return nil
            }
            keys[ExactName(String(line[..<colon]))] = key
        }
        guard !keys.isEmpty else { return nil }
    }

    /// The names that clients give.
    package var names: [String] { keys.keys.map(\.text).sorted() }

    /// Whether there are none.
    var isEmpty: Bool { keys.isEmpty }

    /// The key that goes with `name`.
    subscript(name: String) -> [UInt8]? { keys[ExactName(name)] }

    private static func bytes(_ text: Substring) -> [UInt8]? {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.count, !digits.isEmpty, digits.count.isMultiple(of: 2) else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }
}
