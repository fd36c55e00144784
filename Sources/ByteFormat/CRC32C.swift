/// The check sum CRC-32C, with the polynomial of Castagnoli (RFC 3720, section 12.1), which protects the structures of VHDX.
public struct CRC32C: Hashable, Sendable {
    private var state = UInt32.max

    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { sum, _ in sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0x82f6_3b78 }
    }

    /// That of no bytes.
    public init() {}

    /// That of `bytes`, of which those of `field` count as zeros: that is where the sum itself is kept.
    public init(of bytes: [UInt8], without field: Range<Int>) {
        let field = field.clamped(to: 0..<bytes.count)
        update(bytes[..<field.lowerBound])
        update(repeatElement(0, count: field.count)[...])
        update(bytes[field.upperBound...])
    }

    /// The check sum of all bytes so far.
    public var value: UInt32 { ~state }

    /// Goes on with `bytes`.
    public mutating func update(_ bytes: some Sequence<UInt8>) {
        let table = Self.table
        for byte in bytes {
            state = state >> 8 ^ table[Int(UInt8(truncatingIfNeeded: state) ^ byte)]
        }
    }
}
