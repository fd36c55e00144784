import BlockImage
import Compression
import Foundation
import HostTools
import TestImages
import Testing

/// What decoding `input` into exactly `count` bytes gives.
private func decode(
    _ input: [UInt8], _ count: Int,
    with codec: (RawSpan, Int, inout OutputRawSpan) throws(DecompressionFault) -> Void
) throws(DecompressionFault) -> [UInt8] {
    let source = AlignedBuffer(capacity: input.count)
    source.fill(input.count) { output in
        for byte in input { output.append(byte, as: UInt8.self) }
    }
    // Space for more than is wanted, and something in front, so that writing elsewhere shows.
    let target = AlignedBuffer(capacity: count + 20)
    var failure: DecompressionFault?
    target.fill(count + 20) { output in
        output.append(0xaa, as: UInt8.self)
        do throws(DecompressionFault) { try codec(source.bytes, count, &output) } catch { failure = error }
    }
    if let failure {
        #expect(target.array == [0xaa], "something was appended though it failed")
        throw failure
    }
    #expect(target.array.first == 0xaa)
    return Array(target.array.dropFirst())
}

private func content(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var random = SeededRandom(seed: seed)
    return (0..<count).map { $0 % 3 == 0 ? UInt8.random(in: 0...255, using: &random) : UInt8($0 & 0xf) }
}

struct `Raw deflate streams` {
    private func inflate(_ input: [UInt8], _ count: Int) throws(DecompressionFault) -> [UInt8] {
        try decode(input, count) { input, count, output throws(DecompressionFault) in
            try Deflate.inflate(input, count: count, into: &output)
        }
    }

    @Test(arguments: [1, 512, 4096, 65536, 2 << 18], [Int32(1), 6, 9])
    func `give back what was compressed, with and without junk behind the stream`(count: Int, level: Int32) throws {
        let bytes = content(count)
        let stream = Compressing.deflate(bytes, level: level)
        #expect(try areSame(inflate(stream, count), bytes))
        #expect(try areSame(inflate(stream + Array(repeating: 0, count: 511), count), bytes))
        #expect(try areSame(inflate(stream + content(511, seed: 2), count), bytes))
    }

    @Test func `refer back 32 KiB, as its specification allows, though QEMU writes 4 KiB`() throws {
        let start = content(30_000, seed: 3)
        let bytes = start + start + Array(repeating: 1, count: 5536)
        let stream = Compressing.deflate(bytes, windowBits: 15)
        #expect(stream.count < Compressing.deflate(bytes, windowBits: 12).count * 2 / 3)
        #expect(try areSame(inflate(stream, bytes.count), bytes))
        #expect(try areSame(inflate(stream, bytes.count - 1), bytes.dropLast()))
    }

    @Test func `stop where there is what is wanted, also in the middle of a stream, or at a cut`() throws {
        let bytes = content(65536)
        let stream = Compressing.deflate(bytes)
        for count in [1, 512, 40_000] { #expect(try areSame(inflate(stream, count), bytes.prefix(count))) }
        let cut = Array(stream.prefix(stream.count / 2))
        #expect(try areSame(inflate(cut, 20_000), bytes.prefix(20_000)))
    }

    @Test func `are faults where one is cut, gives too little, is damaged or nothing`() {
        let stream = Compressing.deflate(content(65536))
        #expect(throws: DecompressionFault.self) { _ = try inflate(Array(stream.dropLast(stream.count / 2)), 65536) }
        #expect(throws: DecompressionFault.self) { _ = try inflate(stream, 65537) }
        #expect(throws: DecompressionFault.self) { _ = try inflate([], 512) }
        #expect(throws: DecompressionFault.self) { _ = try inflate(Array(repeating: 0xff, count: 512), 512) }
        #expect(throws: DecompressionFault.self) { _ = try inflate(Array(repeating: 0, count: 512), 512) }
    }
}

struct `Zlib streams` {
    private func inflate(_ input: [UInt8], _ limit: Int) throws(DecompressionFault) -> [UInt8] {
        var found = 0
        let bytes = try decode(input, limit) { input, limit, output throws(DecompressionFault) in
            found = try Zlib.inflate(input, limit: limit, into: &output)
        }
        #expect(bytes.count == found)
        return bytes
    }

    @Test(arguments: [0, 1, 512, 65536, 2 << 18], [Int32(0), 1, 6, 9])
    func `give back what was compressed, however little it is`(count: Int, level: Int32) throws {
        let bytes = content(count)
        let stream = Compressing.zlib(bytes, level: level)
        #expect(try areSame(inflate(stream, count), bytes))
        #expect(try areSame(inflate(stream, count + 1000), bytes))
        #expect(try areSame(inflate(stream + content(511, seed: 2), count), bytes))
    }

    @Test(arguments: [0, 1, 65536])
    func `may lack their header and their check sum`(count: Int) throws {
        let bytes = content(count)
        #expect(try areSame(inflate(Compressing.deflate(bytes), count + 1), bytes))
    }

    @Test func `are faults where one is cut, holds too much, is damaged or nothing`() {
        let stream = Compressing.zlib(content(65536))
        for cut in [1, 4, 5, stream.count / 2, stream.count] {
            #expect(throws: DecompressionFault.self) { _ = try inflate(Array(stream.dropLast(cut)), 65536) }
        }
        #expect(throws: DecompressionFault.self) { _ = try inflate(stream, 65535) }
        for index in [0, 1, 2, stream.count / 2, stream.count - 1] {
            var bad = stream
            bad[index] ^= 0x55
            #expect(throws: DecompressionFault.self) { _ = try inflate(bad, 65536) }
        }
        #expect(throws: DecompressionFault.self) { _ = try inflate(Array(repeating: 0xff, count: 512), 512) }
        #expect(throws: DecompressionFault.self) { _ = try inflate(Array(repeating: 0, count: 512), 512) }
    }
}

struct `Zstandard frames` {
    private func decompress(_ input: [UInt8], _ count: Int) throws(DecompressionFault) -> [UInt8] {
        try decode(input, count) { input, count, output throws(DecompressionFault) in
            try Zstandard.decompress(input, count: count, into: &output)
        }
    }

    @Test(arguments: [1, 512, 4096, 65536, 2 << 18], [false, true])
    func `give back what was compressed, with and without junk behind them`(count: Int, checksum: Bool) throws {
        let bytes = content(count)
        let frame = Compressing.zstd(bytes, checksum: checksum)
        #expect(try areSame(decompress(frame, count), bytes))
        #expect(try areSame(decompress(frame + Array(repeating: 0, count: 511), count), bytes))
        #expect(try areSame(decompress(frame + content(511, seed: 2), count), bytes))
    }

    @Test func `may be several, empty and skippable ones among them`() throws {
        let bytes = content(50_000)
        let parts = [bytes.prefix(10_000), bytes[10_000..<10_001], bytes[10_001..<10_001], bytes[10_001...]]
        var frames = parts.flatMap { Compressing.zstd(Array($0), checksum: true) }
        #expect(try areSame(decompress(frames, bytes.count), bytes))
        frames = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9] + frames
        #expect(try areSame(decompress(frames + [1, 2, 3], bytes.count), bytes))
    }

    @Test func `must end with the last byte that is wanted`() {
        let frame = Compressing.zstd(content(4096), checksum: true)
        #expect(throws: DecompressionFault.self) { _ = try decompress(frame, 4095) }
        #expect(throws: DecompressionFault.self) { _ = try decompress(frame, 4097) }
        #expect(throws: DecompressionFault.self) { _ = try decompress(frame + Compressing.zstd([1, 2]), 4097) }
        for cut in [1, 4, 5, frame.count - 1] {
            #expect(throws: DecompressionFault.self) { _ = try decompress(Array(frame.dropLast(cut)), 4096) }
        }
    }

    @Test func `that are damaged are faults, and the next ones are read all the same`() throws {
        let bytes = content(4096)
        let good = Compressing.zstd(bytes, checksum: true)
        for index in [0, 3, good.count / 2, good.count - 1] {
            var bad = good
            bad[index] ^= 0x55
            #expect(throws: DecompressionFault.self) { _ = try decompress(bad, 4096) }
            #expect(try areSame(decompress(good, 4096), bytes))
        }
        #expect(throws: DecompressionFault.self) { _ = try decompress([], 512) }
    }

    @Test func `are decompressed by many threads at once`() async {
        let bytes = content(20_000)
        let frame = Compressing.zstd(bytes)
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<16 {
                group.addTask {
                    (0..<20).allSatisfy { _ in
                        (try? self.decompress(frame, bytes.count)).map { areSame($0, bytes) } ?? false
                    }
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}

struct `CRC-32` {
    @Test func `is that of zlib and of GPT, in however many pieces the bytes come`() {
        #expect(CRC32().value == 0)
        #expect(CRC32(of: []).value == 0)
        // The check value that catalogues of check sums give for this one.
        #expect(CRC32(of: Array("123456789".utf8)).value == 0xcbf4_3926)
        var sum = CRC32()
        for piece in ["123", "", "4567", "89"] { sum.update(Array(piece.utf8)) }
        #expect(sum.value == 0xcbf4_3926)
    }
}
