/// Names of files: UTF-16 as UTF-8, and what can be one.
enum GuestName {
    /// `units` in UTF-8, as Linux has it with the option `utf8`: halves of surrogate pairs by themselves are left out.
    static func utf8(_ units: some Sequence<UInt16>) -> [UInt8] {
        var bytes: [UInt8] = []
        var high: UInt16?
        for unit in units {
            switch unit {
            case 0xd800..<0xdc00: high = unit
            case 0xdc00..<0xe000:
                if let first = high {
                    append(0x10000 + (UInt32(first & 0x3ff) << 10 | UInt32(unit & 0x3ff)), to: &bytes)
                }
                high = nil
            default:
                append(UInt32(unit), to: &bytes)
                high = nil
            }
        }
        return bytes
    }

    private static func append(_ value: UInt32, to bytes: inout [UInt8]) {
        guard value >= 0x80 else { return bytes.append(UInt8(value)) }
        guard let scalar = Unicode.Scalar(value) else { return }
        bytes += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
    }

    /// Whether a file can have the name `name`: it is not empty, no part of a path and none of the two that every directory has.
    static func isName(_ name: [UInt8]) -> Bool {
        !name.isEmpty && !name.contains(0) && !name.contains(UInt8(ascii: "/")) && name != [UInt8(ascii: ".")]
            && name != [UInt8(ascii: "."), UInt8(ascii: ".")]
    }
}
