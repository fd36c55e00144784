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

    /// The sums of a byte and up to seven zeros behind it: eight tables, one after the other.
    private static let tables: [UInt32] = {
        var tables = table
        for index in 256..<2048 {
            let last = tables[index - 256]
            tables.append(last >> 8 ^ table[Int(UInt8(truncatingIfNeeded: last))])
        }
        return tables
    }()

    /// Goes on with those of `bytes` that `range` has, which is held to them: eight at a time.
    public mutating func update(_ bytes: [UInt8], in range: Range<Int>) {
        let tables = Self.tables
        let range = range.clamped(to: 0..<bytes.count)
        var (sum, index) = (state, range.lowerBound)
        while range.upperBound - index >= 8 {
            let low =
                sum
                ^ (UInt32(bytes[index]) | UInt32(bytes[index + 1]) << 8 | UInt32(bytes[index + 2]) << 16
                    | UInt32(bytes[index + 3]) << 24)
            let first = tables[1792 + Int(low & 0xff)] ^ tables[1536 + Int(low >> 8 & 0xff)]
            let second = tables[1280 + Int(low >> 16 & 0xff)] ^ tables[1024 + Int(low >> 24)]
            let third = tables[768 + Int(bytes[index + 4])] ^ tables[512 + Int(bytes[index + 5])]
            let fourth = tables[256 + Int(bytes[index + 6])] ^ tables[Int(bytes[index + 7])]
            sum = first ^ second ^ third ^ fourth
            index += 8
        }
        while index < range.upperBound {
            sum = sum >> 8 ^ tables[Int(UInt8(truncatingIfNeeded: sum) ^ bytes[index])]
            index += 1
        }
        state = sum
    }

    /// Goes on with the four bytes of `word`, the lowest first.
    public mutating func update(littleEndian word: UInt32) {
        let table = Self.table
        state ^= word
        for _ in 0..<4 { state = state >> 8 ^ table[Int(UInt8(truncatingIfNeeded: state))] }
    }

    /// Goes on with `count` zeros.
    public mutating func update(zeros count: Int) {
        let table = Self.table
        for _ in 0..<count { state = state >> 8 ^ table[Int(UInt8(truncatingIfNeeded: state))] }
    }
}
