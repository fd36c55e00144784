import BlockImage

/// The bytes of a disk as lines for people: the offset, sixteen bytes in hexadecimal, and the same as text where they
/// are printable ASCII, as `hexdump -C` has them. Lines that repeat the one before them are one line with an asterisk.
package struct HexDump: Sendable {
    private static let width = 16
    private static let digits = Array("0123456789abcdef".utf8)

    /// Where the line that is being gathered begins.
    private var position: UInt64
    private var line: [UInt8] = []
    private var last: [UInt8] = []
    private var isFolding = false

    /// A dump of what begins at `start` of the disk.
    package init(from start: GuestOffset) {
        position = start.rawValue
    }

    /// The lines that `piece`, which follows what came before, completes. Zeros take no longer for being many.
    package mutating func lines(of piece: DiskStream.Piece) -> String {
        var text: [UInt8] = []
        switch piece {
        case .bytes(let buffer):
            for byte in buffer.array { add(byte, to: &text) }
        case .zeros(var left):
            let width = UInt64(Self.width)
            // The first whole line of them is compared, printed or folded; those behind it are all folded.
            while left > 0 {
                if line.isEmpty, left > width, isFolding, !last.contains(where: { $0 != 0 }) {
                    let whole = left / width
                    position += whole * width
                    left -= whole * width
                } else {
                    add(0, to: &text)
                    left -= 1
                }
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// The last lines: what was left over, and the offset of the end. Nothing for nothing.
    package mutating func end() -> String {
        guard !line.isEmpty || !last.isEmpty else { return "" }
        var text: [UInt8] = []
        if !line.isEmpty {
            append(line, to: &text)
            position += UInt64(line.count)
            line = []
        }
        appendOffset(to: &text)
        text.append(UInt8(ascii: "\n"))
        return String(decoding: text, as: UTF8.self)
    }

    private mutating func add(_ byte: UInt8, to text: inout [UInt8]) {
        line.append(byte)
        guard line.count == Self.width else { return }
        if line != last {
            append(line, to: &text)
            isFolding = false
        } else if !isFolding {
            text += "*\n".utf8
            isFolding = true
        }
        last = line
        line.removeAll(keepingCapacity: true)
        position += UInt64(Self.width)
    }

    private func append(_ line: [UInt8], to text: inout [UInt8]) {
        appendOffset(to: &text)
        for index in 0..<Self.width {
            text.append(UInt8(ascii: " "))
            if index % 8 == 0 { text.append(UInt8(ascii: " ")) }
            if index < line.count {
                text.append(Self.digits[Int(line[index] >> 4)])
                text.append(Self.digits[Int(line[index] & 15)])
            } else {
                text += "  ".utf8
            }
        }
        text += "  |".utf8
        for byte in line { text.append((0x20...0x7e).contains(byte) ? byte : UInt8(ascii: ".")) }
        text += "|\n".utf8
    }

    private func appendOffset(to text: inout [UInt8]) {
        let digits = String(position, radix: 16).utf8
        for _ in 0..<max(0, 8 - digits.count) { text.append(UInt8(ascii: "0")) }
        text += digits
    }
}
