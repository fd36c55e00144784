/// The names of the segments of an image: `disk.E01` to `disk.E99`, `disk.EAA` to `disk.EZZ`, `disk.FAA` to `disk.ZZZ`; those of
/// SMART begin with an S.
enum SegmentNames {
    /// The most segments that these are: E01 to ZZZ.
    static let limit = 99 + 22 * 26 * 26

    /// What comes after the dot in the name of the segment `number` of an image whose first one's is `first`, three letters;
    /// nil where there is none, as for a first one that begins with no letter.
    static func suffix(_ number: Int, after first: [UInt8]) -> [UInt8]? {
        guard first.count == 3, number > 0, letters.contains(first[0] & 0xdf) else { return nil }
        if number < 100 { return [first[0], zero + UInt8(number / 10), zero + UInt8(number % 10)] }
        let isUpper = first[0] & 0x20 == 0
        let index = number - 100
        let (step, rest) = (index / 676, index % 676)
        guard step <= Int((isUpper ? UInt8(ascii: "Z") : UInt8(ascii: "z")) - first[0]) else { return nil }
        let base = isUpper ? UInt8(ascii: "A") : UInt8(ascii: "a")
        return [first[0] + UInt8(step), base + UInt8(rest / 26), base + UInt8(rest % 26)]
    }

    /// The name of the segment `number` beside the first one, `name`.
    static func name(_ number: Int, beside name: [UInt8]) -> [UInt8]? {
        guard let dot = name.lastIndex(of: dot), let suffix = suffix(number, after: Array(name[(dot + 1)...])) else {
            return nil
        }
        return name[...dot] + suffix
    }

    /// The names that the first segment may have of which `name` may be a later one.
    static func firstNames(of name: [UInt8]) -> [[UInt8]] {
        guard let dot = name.lastIndex(of: dot) else { return [] }
        let suffix = name[(dot + 1)...]
        guard suffix.count == 3, let letter = suffix.first, letters.contains(letter & 0xdf) else { return [] }
        let rest = suffix.dropFirst()
        let isNumber = rest.allSatisfy { (zero...zero + 9).contains($0) }
        guard isNumber || rest.allSatisfy({ letters.contains($0 & 0xdf) }) else { return [] }
        let starts = isNumber ? [letter] : [UInt8(ascii: "E"), UInt8(ascii: "S")].map { $0 | letter & 0x20 }
        return starts.filter { "ES".utf8.contains($0 & 0xdf) && $0 <= letter }
            .map { name[...dot] + [$0] + Array("01".utf8) }.filter { $0 != name }
    }

    private static let dot = UInt8(ascii: ".")
    private static let zero = UInt8(ascii: "0")
    /// A to Z.
    private static let letters: ClosedRange<UInt8> = 0x41...0x5a
}
