/// Names without Rock Ridge, as Linux shows them.
enum ISOName {
    /// `identifier` of a record: small letters, without the version `;1` and the dot before it.
    static func translated(_ identifier: ArraySlice<UInt8>) -> [UInt8] {
        var name: [UInt8] = []
        let version = ";1".utf8
        for (index, byte) in identifier.enumerated() {
            let rest = identifier.dropFirst(index + 1)
            if byte == UInt8(ascii: "."), rest.elementsEqual(version) { break }
            if byte == UInt8(ascii: ";"), rest.elementsEqual(version.dropFirst()) { break }
            switch byte {
            case 0: return name
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): name.append(byte | 0x20)
            // Some writers have left slashes in names.
            case UInt8(ascii: ";"), UInt8(ascii: "/"): name.append(UInt8(ascii: "."))
            default: name.append(byte)
            }
        }
        return name
    }

    /// `identifier` of a record of Joliet, in UTF-8: without the version, and dots at the end.
    static func joliet(_ identifier: ArraySlice<UInt8>) -> [UInt8] {
        var name = GuestName.utf8(units(of: identifier).prefix { $0 != 0 })
        if name.count > 2, name.suffix(2).elementsEqual(";1".utf8) { name.removeLast(2) }
        while name.count >= 2, name.last == UInt8(ascii: ".") { name.removeLast() }
        return name
    }

    /// Big-endian UTF-16.
    static func units(of bytes: ArraySlice<UInt8>) -> [UInt16] {
        stride(from: bytes.startIndex, to: bytes.endIndex - 1, by: 2).map { index in
            UInt16(bytes[index]) << 8 | UInt16(bytes[index + 1])
        }
    }

    /// `name` as Linux compares those of Joliet: letters of ASCII are small, and dots at the end do not count.
    static func folded(_ name: [UInt8]) -> [UInt8] {
        var end = name.count
        while end > 0, name[end - 1] == UInt8(ascii: ".") { end -= 1 }
        return name[..<end].map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
    }
}
