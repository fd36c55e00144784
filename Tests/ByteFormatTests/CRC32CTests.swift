import ByteFormat
import HostTools
import Testing

struct `CRC-32C` {
    @Test func `of nine digits is that of the specification`() {
        #expect(CRC32C(of: Array("123456789".utf8), without: 0..<0).value == 0xe306_9283)
    }

    @Test func `is the same in one piece, in several and byte by byte`() {
        var random = SeededRandom(seed: 32)
        for count in [0, 1, 7, 8, 9, 15, 16, 100, 4096] {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            let seed = UInt32.random(in: 0...(.max), using: &random)
            var (whole, pieces, single) = (CRC32C(state: seed), CRC32C(state: seed), CRC32C(state: seed))
            whole.update(bytes, in: 0..<count)
            let middle = Int.random(in: 0...count, using: &random)
            pieces.update(bytes, in: 0..<middle)
            pieces.update(bytes, in: middle..<count + 5)
            single.update(bytes[...])
            #expect(whole == single && pieces == single, "\(count) bytes, seed \(seed)")
            #expect(whole.state == ~whole.value)
        }
    }

    @Test func `goes on with words and zeros`() {
        var (parts, whole) = (CRC32C(), CRC32C())
        parts.update(littleEndian: 0x0403_0201)
        parts.update(zeros: 5)
        whole.update([1, 2, 3, 4, 0, 0, 0, 0, 0], in: 0..<9)
        #expect(parts == whole)
    }
}
