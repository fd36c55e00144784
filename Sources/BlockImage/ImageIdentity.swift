/// What an image calls itself, and is called by the images that are made over it: a UUID.
public struct ImageIdentity: Hashable, Sendable, CustomStringConvertible {
    /// How many bytes it has.
    public static let size = 16

    private let high: UInt64
    private let low: UInt64

    /// The UUID whose 16 `bytes` are in the order of its text (RFC 4122). Of fewer bytes, the others are zeros.
    public init(_ bytes: some Sequence<UInt8>) {
        var (high, low): (UInt64, UInt64) = (0, 0)
        for (index, byte) in bytes.prefix(Self.size).enumerated() {
            if index < 8 { high |= UInt64(byte) << (56 - 8 * index) } else { low |= UInt64(byte) << (120 - 8 * index) }
        }
        self.high = high
        self.low = low
    }

    /// The UUID whose 16 `bytes` are those of a GUID of Windows: its first three fields are little-endian.
    public init(guid bytes: [UInt8]) {
        let order = [3, 2, 1, 0, 5, 4, 7, 6]
        self.init(order.map { $0 < bytes.count ? bytes[$0] : 0 } + bytes.dropFirst(8))
    }

    /// The UUID that `text` is, with or without braces; nil where it is none.
    public init?(text: some StringProtocol) {
        var digits = text[...]
        if digits.hasPrefix("{"), digits.hasSuffix("}") { digits = digits.dropFirst().dropLast() }
        let parts = digits.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.map(\.utf8.count) == [8, 4, 4, 4, 12] else { return nil }
        var nibbles: [UInt8] = []
        for letter in parts.joined() {
            guard letter.isASCII, let nibble = letter.hexDigitValue else { return nil }
            nibbles.append(UInt8(nibble))
        }
        guard nibbles.count == 2 * Self.size else { return nil }
        self.init((0..<Self.size).map { nibbles[2 * $0] << 4 | nibbles[2 * $0 + 1] })
    }

    /// Whether all of its bytes are zeros, which stands for none.
    public var isZero: Bool { high == 0 && low == 0 }

    /// Its bytes, in the order of its text.
    public var bytes: [UInt8] {
        [high, low].flatMap { half in (0..<8).map { UInt8(truncatingIfNeeded: half >> (56 - 8 * $0)) } }
    }

    /// Its bytes as a GUID of Windows has them.
    public var guidBytes: [UInt8] { ImageIdentity(guid: bytes).bytes }

    /// Its text in lower case, without braces.
    public var description: String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append(UInt8(ascii: "-")) }
            text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
        return String(decoding: text, as: UTF8.self)
    }
}
