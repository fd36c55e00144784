import BlockImage

extension ForeignContent {
    /// A text: of markup by how it begins, of any other kind only where all of what was read is text, in lines. A disk that
    /// is filled with one letter is none.
    static func text(_ start: [UInt8], _ end: [UInt8], _ size: UInt64) -> Self? {
        let plain = start.starts(with: [0xef, 0xbb, 0xbf]) ? start.dropFirst(3) : start[...]
        let words = String(decoding: plain.drop(while: isSpace).prefix(64), as: UTF8.self).lowercased()
        if ["<!doctype html", "<html", "<head", "<body"].contains(where: words.hasPrefix) {
            return Self("an HTML page", isText: true)
        }
        if let descriptor = ovfDescriptor(String(decoding: plain, as: UTF8.self)) { return descriptor }
        if words.hasPrefix("<?xml") { return Self("an XML document", isText: true) }
        if words.hasPrefix("version https://git-lfs.github.com/") {
            return Self("a pointer of Git LFS", "'git lfs pull' fetches the file", isText: true)
        }
        if isUTF16(start, size) {
            let text = String(decoding: units(start), as: UTF16.self)
            if let descriptor = ovfDescriptor(text) { return descriptor }
            return Self("a text in UTF-16", isText: true)
        }
        guard isUTF8(plain, isWhole: UInt64(start.count) == size), plain.contains(UInt8(ascii: "\n")),
            !end.contains(where: isControl)
        else { return nil }
        return Self("a text", isText: true)
    }

    /// The descriptor of an appliance, by its first element and its namespace.
    private static func ovfDescriptor(_ text: String) -> Self? {
        guard text.drop(while: { $0.isWhitespace || $0 == "\u{feff}" }).hasPrefix("<"), text.contains(text: "Envelope"),
            text.contains(text: "/ovf/")
        else { return nil }
        return Self(
            "an OVF descriptor", "the disks that it names are files of their own, which can be named, as an OVA can",
            isText: true)
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (9...13).contains(byte) }

    private static func isControl(_ byte: UInt8) -> Bool { byte == 0x7f || (byte < 0x20 && !isSpace(byte)) }

    private static func isUTF8(_ bytes: ArraySlice<UInt8>, isWhole: Bool) -> Bool {
        guard !bytes.contains(where: isControl) else { return false }
        // The last character of a part may be cut.
        let cuts = isWhole ? 0...0 : 0...3
        return cuts.contains { cut in String(validating: bytes.dropLast(cut), as: UTF8.self) != nil }
    }

    /// Whether all units are characters, in lines, and either a byte order mark or sixteen of ASCII in a row begin it.
    private static func isUTF16(_ start: [UInt8], _ size: UInt64) -> Bool {
        guard size % 2 == 0, start.count >= 8 else { return false }
        let units = units(start)
        let isText = units.allSatisfy { unit in unit >= 0x80 || !isControl(UInt8(unit)) }
        guard isText, units.contains(10) else { return false }
        return isMarked(start) || (units.count >= 16 && units.prefix(16).allSatisfy { $0 < 0x7f })
    }

    /// Whether a byte order mark begins it.
    private static func isMarked(_ start: [UInt8]) -> Bool {
        start.starts(with: [0xff, 0xfe]) || start.starts(with: [0xfe, 0xff])
    }

    /// Its units behind the mark; `start` has two bytes at least.
    private static func units(_ start: [UInt8]) -> [UInt16] {
        let isLittle = start[0] == 0xff || (!isMarked(start) && start[0] != 0)
        return stride(from: isMarked(start) ? 2 : 0, to: start.count - 1, by: 2).map { index in
            let (low, high) = isLittle ? (start[index], start[index + 1]) : (start[index + 1], start[index])
            return UInt16(high) << 8 | UInt16(low)
        }
    }
}
