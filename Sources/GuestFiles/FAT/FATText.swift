/// Names of FAT and exFAT: code page 437 as UTF-16, and which of them are the same.
enum FATText {
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
}
