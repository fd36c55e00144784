import BlockImage
import Compression
import Foundation
import HostTools
import TestImages
import Testing

/// One of the compressors: its codec, how hard it tries, and how its output is read by the program that is its judge.
struct Compressor: CustomTestStringConvertible {
    var testDescription: String
    var levels: ClosedRange<Int>
    var compress: @Sendable (RawSpan, _ level: Int, _ limit: Int, inout OutputRawSpan) -> Bool
    var decompress: @Sendable (RawSpan, Int, inout OutputRawSpan) throws(DecompressionFault) -> Void
    /// A program that turns the first file of its arguments into the second, each in its shell's words.
    var judge: String

    static let all = [
        Compressor(
            testDescription: "deflate", levels: Deflate.levels,
            compress: { Deflate.compress($0, level: $1, limit: $2, into: &$3) },
            decompress: { (input, count, output) throws(DecompressionFault) in
                try Deflate.inflate(input, count: count, into: &output)
            },
            judge: python("zlib.decompress(data, -15)")),
        Compressor(
            testDescription: "zlib", levels: Deflate.levels,
            compress: { Zlib.compress($0, level: $1, limit: $2, into: &$3) },
            decompress: { (input, count, output) throws(DecompressionFault) in
                _ = try Zlib.inflate(input, limit: count, into: &output)
            },
            judge: python("zlib.decompress(data)")),
        Compressor(
            testDescription: "zstd", levels: Zstandard.levels,
            compress: { Zstandard.compress($0, level: $1, limit: $2, into: &$3) },
            decompress: { (input, count, output) throws(DecompressionFault) in
                try Zstandard.decompress(input, count: count, into: &output)
            },
            judge: "zstd -q -d -o \"$2\" \"$1\""),
    ]

    private static func python(_ expression: String) -> String {
        "python3 -c 'import sys, zlib; data = open(sys.argv[1], \"rb\").read(); "
            + "open(sys.argv[2], \"wb\").write(\(expression))' \"$1\" \"$2\""
    }

    /// What it makes of `bytes` in at most `limit` bytes; nil where it says that there is no room.
    func stream(of bytes: [UInt8], level: Int, limit: Int? = nil) -> [UInt8]? {
        let limit = limit ?? Zlib.compressBound(bytes.count) + 512
        let target = AlignedBuffer(capacity: limit + 1)
        let isDone = target.fill(limit + 1) { output in
            // Something in front, so that writing elsewhere shows.
            output.append(0xaa, as: UInt8.self)
            return bytes.withUnsafeBytes { compress($0.bytes, level, limit, &output) }
        }
        #expect(target.array.first == 0xaa)
        #expect(isDone || target.count == 1, "something was appended though it did not fit")
        return isDone ? Array(target.array.dropFirst()) : nil
    }

    /// What our own reader makes of it again.
    func bytes(of stream: [UInt8], count: Int) throws -> [UInt8] {
        let target = AlignedBuffer(capacity: count)
        try target.fill(count) { output in
            try stream.withUnsafeBytes { try decompress($0.bytes, count, &output) }
        }
        return target.array
    }
}

struct `A compressor` {
    /// Half of it from a small alphabet, so that it can be compressed; parts of it come again far away.
    static func content(_ count: Int, seed: UInt64) -> [UInt8] {
        var random = SeededRandom(seed: seed)
        var bytes = (0..<count).map { _ in UInt8.random(in: 0...15, using: &random) }
        if count > 40_000 { bytes.replaceSubrange(30_000..<40_000, with: bytes[..<10_000]) }
        return bytes
    }

    @Test(arguments: Compressor.all)
    func `makes at every level what its own reader and another one give back`(compressor: Compressor) throws {
        let folder = try TemporaryFolder()
        for level in compressor.levels {
            let bytes = Self.content([1, 512, 65536, 100_000][level % 4], seed: UInt64(level))
            let stream = try #require(compressor.stream(of: bytes, level: level))
            #expect(bytes.count < 512 || stream.count < bytes.count * 6 / 10, "level \(level)")
            #expect(try areSame(compressor.bytes(of: stream, count: bytes.count), bytes), "level \(level)")
            guard level % 3 == 0 else { continue }
            let input = try folder.write(stream, to: "\(level).in")
            let output = folder.file("\(level).out")
            try Tool.check("sh", "-c", compressor.judge, "sh", input, output)
            #expect(try areSame(Data(contentsOf: URL(fileURLWithPath: output)), bytes), "level \(level)")
        }
    }

    @Test(arguments: Compressor.all)
    func `makes less at its last level than at its first, and the same of the same`(compressor: Compressor) throws {
        var random = SeededRandom(seed: 5)
        let words = (0..<300).map { String($0 &* $0 &* 2_654_435_761, radix: 36) + " " }
        let text = (0..<8000).map { _ in words[Int.random(in: 0..<300, using: &random)] }.joined()
        let bytes = Array(text.utf8)
        let first = try #require(compressor.stream(of: bytes, level: compressor.levels.lowerBound))
        let last = try #require(compressor.stream(of: bytes, level: compressor.levels.upperBound))
        #expect(last.count < first.count)
        #expect(compressor.stream(of: bytes, level: compressor.levels.lowerBound) == first)
    }

    @Test(arguments: Compressor.all)
    func `says what does not fit, and leaves nothing of it`(compressor: Compressor) throws {
        var random = SeededRandom(seed: 1)
        let noise = (0..<65536).map { _ in UInt8.random(in: 0...255, using: &random) }
        #expect(compressor.stream(of: noise, level: 3, limit: noise.count - 1) == nil)
        let bytes = Self.content(65536, seed: 2)
        let stream = try #require(compressor.stream(of: bytes, level: 3))
        #expect(compressor.stream(of: bytes, level: 3, limit: stream.count / 2) == nil)
        #expect(compressor.stream(of: bytes, level: 3, limit: 0) == nil)
        #expect(compressor.stream(of: bytes, level: 3) == stream)
    }

    @Test func `of zlib streams has room enough in their bound, whatever they are made of`() throws {
        let zlib = try #require(Compressor.all.first { $0.testDescription == "zlib" })
        var random = SeededRandom(seed: 3)
        for count in [0, 1, 512, 4096, 65536] {
            let noise = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            for level in zlib.levels {
                #expect(zlib.stream(of: noise, level: level, limit: Zlib.compressBound(count)) != nil)
            }
        }
    }

    @Test(arguments: Compressor.all)
    func `is used by many threads at once, at several levels`(compressor: Compressor) async throws {
        let bytes = Self.content(20_000, seed: 4)
        let expected = try (1...3).map { try #require(compressor.stream(of: bytes, level: $0)) }
        await withTaskGroup(of: Bool.self) { group in
            for thread in 0..<24 {
                group.addTask {
                    (0..<10).allSatisfy { round in
                        let level = (thread + round) % 3
                        return compressor.stream(of: bytes, level: level + 1) == expected[level]
                    }
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}
