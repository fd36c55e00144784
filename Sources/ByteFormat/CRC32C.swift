/// The check sum CRC-32C, with the polynomial of Castagnoli (RFC 3720, section 12.1), which protects the structures of VHDX and
/// ext4.
public struct CRC32C: Hashable, Sendable {
    /// What the check sum is before its bits are inverted at the end.
    public private(set) var state = UInt32.max

    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { sum, _ in sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0x82f6_3b78 }
    }

    /// That of no bytes.
    public init() {}

    /// One that goes on from `state`, where sums begin with a seed, and their bits are not inverted at the end.
    public init(state: UInt32) { self.state = state }

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

    /// Goes on with those of `bytes` that `range` has, which is held to them: compiled for arrays.
    public mutating func update(_ bytes: [UInt8], in range: Range<Int>) {
        let table = Self.table
        var sum = state
        for index in range.clamped(to: 0..<bytes.count) {
            sum = sum >> 8 ^ table[Int(UInt8(truncatingIfNeeded: sum) ^ bytes[index])]
        }
        state = sum
    }
}
