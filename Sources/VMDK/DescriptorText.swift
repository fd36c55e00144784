import BlockImage
import ByteFormat

/// The text of a descriptor as it is parsed, whichever way it was stored: editors save it as UTF-16, copies are appended
/// to it, and what a file held before stays after it.
struct DescriptorText {
    /// The text. Of one in UTF-16, the same in UTF-8.
    private(set) var bytes: [UInt8]
    /// Whether it was stored in UTF-16, so that places in `bytes` are none of the file.
    let isUTF16: Bool
    /// What people should know of it, in sentences.
    private(set) var notes: [ErrorText] = []
    /// Why it cannot be read; nil where it can.
    private(set) var fault: ParseFault?

    /// The text that `stored` begins with. `isFile`: all of a file, in which nothing may follow the text; what is
    /// embedded is padded with NULs, and may have an older text after these.
    init(_ stored: [UInt8], isFile: Bool) {
        let converted = Self.utf8(fromUTF16: stored)
        bytes = converted ?? stored
        isUTF16 = converted != nil
        if isUTF16 { notes.append("the descriptor is a text in UTF-16") }
        if isFile { lookBehindText() }
        dropSecondCopy()
    }

    /// What follows the NUL that ends the text is no part of it, but must not be extents.
    private mutating func lookBehindText() {
        guard let end = bytes.firstIndex(of: 0) else { return }
        let rest = bytes[end...].drop { $0 == 0 }
        guard let first = rest.first.map({ _ in rest.startIndex }) else { return }
        // QEMU writes a CID without leading zeros, which shortens the text: the end of the longer one stays after its NUL.
        if bytes[..<end].reversed().starts(with: rest.reversed().drop { $0 == 0 }) { return }
        let lines = rest.split { $0 == 0 || $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }
        if lines.contains(where: { DescriptorExtent.isExtent($0) }) {
            fault = ParseFault(
                at: end, "descriptor: its text is interrupted by NUL bytes here, after which there are more extents")
        } else {
            notes.append(
                "\(bytes.count - first) bytes after the text of the descriptor, from byte \(first) on, are ignored")
        }
    }

    /// Of a text that stands there twice, the first copy is kept.
    private mutating func dropSecondCopy() {
        var places: [Int] = []
        for line in DescriptorLines(bytes) where isDescriptorMark(line) {
            places.append(line.startIndex)
            if places.count == 2 { break }
        }
        guard places.count == 2 else { return }
        func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
            let last = text.lastIndex { $0 > 0x20 && !byteOrderMark.contains($0) }
            return text[..<(last.map { $0 + 1 } ?? text.startIndex)]
        }
        let text = bytes.prefix { $0 != 0 }
        let first = trimmed(text[places[0]..<places[1]])
        var second = text[places[1]...].drop { byteOrderMark.contains($0) }
        // Of more than two copies, each must be the same.
        while !second.isEmpty {
            let copy = trimmed(second)
            guard copy.starts(with: first) || first.starts(with: copy) else {
                fault =
                    fault
                    ?? ParseFault(
                        at: places[1],
                        "descriptor: a second one begins here, which says something else than the first: which of them "
                            + "holds cannot be known")
                return
            }
            second = copy.dropFirst(first.count).drop { $0 <= 0x20 || byteOrderMark.contains($0) }
        }
        notes.append("the text of the descriptor stands there twice, and is read once")
        bytes = Array(bytes[..<places[1]])
    }

    /// The text of `stored` in UTF-8 where a byte order mark says that it is UTF-16; nil where none does.
    static func utf8(fromUTF16 stored: [UInt8]) -> [UInt8]? {
        let isLittle = stored.starts(with: [0xff, 0xfe])
        guard isLittle || stored.starts(with: [0xfe, 0xff]) else { return nil }
        let units = stride(from: 2, to: stored.count - 1, by: 2).map { index in
            let (first, second) = (UInt16(stored[index]), UInt16(stored[index + 1]))
            return isLittle ? second << 8 | first : first << 8 | second
        }
        return Array(String(decoding: units, as: UTF16.self).utf8)
    }
}

/// What editors begin texts in UTF-8 with.
let byteOrderMark: [UInt8] = [0xef, 0xbb, 0xbf]

/// Whether `line` is the comment that begins descriptors, in any case and spacing, as products write it.
func isDescriptorMark(_ line: ArraySlice<UInt8>) -> Bool {
    let text = line.starts(with: byteOrderMark) ? line.dropFirst(byteOrderMark.count) : line
    guard text.first == UInt8(ascii: "#") else { return false }
    return uppercase(text.dropFirst().filter { !isBlank($0) }) == "DISKDESCRIPTORFILE"
}
