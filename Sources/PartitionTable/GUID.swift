import ByteFormat

/// A globally unique identifier as EFI stores it: UEFI Specification 2.10, appendix A.
///
///     OFFSET SIZE FIELD
///          0    4 TimeLow                   little-endian
///          4    2 TimeMid                   little-endian
///          6    2 TimeHighAndVersion        little-endian
///          8    8 ClockSeq and Node         bytes in the order of the text
///
/// Foundation's UUID is sixteen bytes in the order of the text, and writes capitals: the fields would have to be put in
/// order, and the text made small, all the same.
public struct GUID: Hashable, Sendable, CustomStringConvertible {
    /// The first 16 digits of the text.
    public var high: UInt64
    /// The last 16 digits of the text.
    public var low: UInt64

    /// The identifier whose text has these digits.
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Parses the 16 bytes of an identifier.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        let timeLow: UInt32 = try reader.read(.little)
        let timeMid: UInt16 = try reader.read(.little)
        let timeHigh: UInt16 = try reader.read(.little)
        high = UInt64(timeLow) << 32 | UInt64(timeMid) << 16 | UInt64(timeHigh)
        low = try reader.read(.big)
    }

    /// Whether all digits are 0: the type of an entry that is not used.
    public var isZero: Bool { high == 0 && low == 0 }

    /// The text as RFC 9562 has it: `0fc63daf-8483-4772-8e79-3d69d8477de4`.
    public var description: String {
        let groups = [
            hexDigits(high >> 32, 8), hexDigits(high >> 16 & 0xffff, 4), hexDigits(high & 0xffff, 4),
            hexDigits(low >> 48, 4), hexDigits(low & 0xffff_ffff_ffff, 12),
        ]
        return groups.joined(separator: "-")
    }
}
