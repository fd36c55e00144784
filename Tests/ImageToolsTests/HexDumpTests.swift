import BlockImage
import Foundation
import HostTools
import ImageTools
import TestImages
import Testing

struct `The lines of a hex dump` {
    /// What the dump of these pieces is.
    private func dump(_ pieces: [[UInt8]], from start: UInt64) -> String {
        var dump = HexDump(from: GuestOffset(start))
        var text = ""
        for piece in pieces { text += dump.lines(of: .bytes(filled(piece))) }
        return text + dump.end()
    }

    private func filled(_ bytes: [UInt8]) -> AlignedBuffer {
        let buffer = AlignedBuffer(capacity: bytes.count)
        buffer.fill(bytes.count) { output in for byte in bytes { output.append(byte) } }
        return buffer
    }

    @Test(.enabled(if: Tool.areThere("hexdump")), arguments: [0, 5, 0xffff_fff0] as [UInt64])
    func `are those of hexdump, wherever the pieces end`(start: UInt64) throws {
        let folder = try TemporaryFolder()
        var random = SeededRandom(seed: start)
        for round in 0..<40 {
            var bytes: [UInt8] = []
            // Few values, so that lines repeat, also the last one, also in part.
            for _ in 0..<Int.random(in: 0...9, using: &random) {
                let byte: UInt8 = [0, 0x41, 0x7f, 0xff].randomElement(using: &random) ?? 0
                bytes += Array(repeating: byte, count: Int.random(in: 1...70, using: &random))
            }
            let path = try folder.write([], to: "bytes")
            let file = try #require(FileHandle(forWritingAtPath: path))
            try file.seek(toOffset: start)
            try file.write(contentsOf: Data(bytes))
            try file.close()
            // With -n 0, it would read everything.
            let expected =
                bytes.isEmpty
                ? "" : String(decoding: try Tool.check("hexdump", "-C", "-s", "\(start)", path), as: UTF8.self)
            var pieces: [[UInt8]] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                pieces.append(Array(rest.prefix(Int.random(in: 1...40, using: &random))))
                rest = rest.dropFirst(pieces.last?.count ?? 0)
            }
            #expect(dump(pieces, from: start) == expected, "round \(round)")
        }
    }

    @Test func `do not become more with the zeros`() {
        var dump = HexDump(from: GuestOffset(7))
        var text = dump.lines(of: .bytes(filled([1, 2, 3])))
        text += dump.lines(of: .zeros(1 << 50))
        text += dump.lines(of: .bytes(filled([4])))
        text += dump.end()
        #expect(
            text == """
                00000007  01 02 03 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
                00000017  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|
                *
                4000000000007  00 00 00 04                                       |....|
                400000000000b

                """)
    }
}
