/// Names of FAT and exFAT: UTF-16 and code page 437 as UTF-8, and which of them are the same.
enum FATText {
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

    /// `bytes` of code page 437 as UTF-16, in lower case where it `isLower`.
    static func codePage437(_ bytes: some Sequence<UInt8>, isLower: Bool) -> [UInt16] {
        bytes.map { byte in
            var byte = byte
            if isLower { byte = (0x41...0x5a).contains(byte) ? byte + 0x20 : lower[byte] ?? byte }
            return byte < 0x80 ? UInt16(byte) : upperHalf[Int(byte) - 0x80]
        }
    }

    /// The letters of its upper half that Linux has lower-case ones for.
    private static let lower: [UInt8: UInt8] = [
        0x80: 0x87, 0x8e: 0x84, 0x8f: 0x86, 0x90: 0x82, 0x92: 0x91, 0x99: 0x94, 0x9a: 0x81, 0xa5: 0xa4, 0xe4: 0xe5,
        0xe8: 0xed,
    ]

    private static let upperHalf = Array(
        """
        ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
        αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}
        """.utf16)

    /// `name` in capitals, letter for letter, without the dots at its end: names of which that is the same are one name.
    ///
    /// Letters are those whose capital in Unicode is one character, as Windows has it; Linux does this for those of ASCII only.
    static func folded(_ name: [UInt8]) -> [UInt16] {
        var end = name.count
        while end > 0, name[end - 1] == UInt8(ascii: ".") { end -= 1 }
        var units: [UInt16] = []
        for scalar in String(decoding: name[..<end], as: UTF8.self).unicodeScalars {
            units += UTF16.encode(capital(of: scalar)) ?? UTF16.encodedReplacementCharacter
        }
        return units
    }

    private static func capital(of scalar: Unicode.Scalar) -> Unicode.Scalar {
        if scalar.isASCII {
            return ("a"..."z").contains(scalar) ? Unicode.Scalar(UInt8(scalar.value) - 0x20) : scalar
        }
        let capitals = scalar.properties.uppercaseMapping.unicodeScalars
        // A few letters, as the dotless i, have a capital in ASCII, which is that of another letter.
        guard let capital = capitals.first, capitals.count == 1, !capital.isASCII else { return scalar }
        return capital
    }

    /// Whether a file can have the name `name`: it is not empty, no part of a path and none of the two that every directory has.
    static func isName(_ name: [UInt8]) -> Bool {
        !name.isEmpty && !name.contains(0) && !name.contains(UInt8(ascii: "/")) && name != [UInt8(ascii: ".")]
            && name != [UInt8(ascii: "."), UInt8(ascii: ".")]
    }
}
