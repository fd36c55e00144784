import BlockImage
import Encryption
import Foundation
import HostTools
import ImageTools
import Synchronization
import TestImages
import Testing

@testable import ImageTools

struct `A stream of a disk` {
    private func bytes(of stream: DiskStream) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try stream.read { piece in
            piece.forEachBuffer { part in part.withUnsafeBytes { bytes += $0 } }
        }
        return bytes
    }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func `has the bytes of any part of it`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = try Disk.random(
            size: Int.random(in: 1...(seed % 4 == 0 ? 4_000_000 : 200_000), using: &random), using: &random)
        #expect(areSame(try bytes(of: try DiskStream(of: disk.image, path: "d")), disk.bytes), "seed \(seed)")
        for _ in 0..<5 {
            let start = Int.random(in: 0...disk.bytes.count, using: &random)
            let count = Int.random(in: 0...disk.bytes.count - start, using: &random)
            let stream = try DiskStream(
                of: disk.image, from: GuestOffset(UInt64(start)), count: UInt64(count), path: "d")
            #expect(stream.count == count)
            #expect(areSame(try bytes(of: stream), disk.bytes[start..<start + count]), "seed \(seed)")
        }
    }

    @Test(arguments: [(101, nil), (0, 101), (100, 1), (.max, nil), (1, .max)] as [(UInt64, UInt64?)])
    func `cannot go behind the end, and says where that is`(start: UInt64, count: UInt64?) throws {
        let disk = Disk.raw(Array(repeating: 1, count: 100))
        let error = #expect(throws: ImageError.self) {
            _ = try DiskStream(of: disk.image, from: GuestOffset(start), count: count, path: "d.raw")
        }
        #expect(error?.code == .outOfRange && error?.path == "d.raw" && error?.message.contains("100 bytes") == true)
    }

    @Test func `has zeros for holes, which are not read`() throws {
        let file = MemoryFile(Array(repeating: 0, count: 5 << 20), holes: [0..<4 << 20])
        var zeros: UInt64 = 0
        var read: UInt64 = 0
        try DiskStream(of: Image(layer: RawLayer(file: file)), path: "d").read { piece in
            if case .zeros = piece { zeros += piece.count } else { read += piece.count }
        }
        #expect(zeros == 4 << 20 && read == 1 << 20)
        #expect(file.reads.load(ordering: .relaxed) == 1)
    }

    @Test(
        .enabled(if: Tool.areThere("sha256sum")),
        arguments: [("sha256", HashAlgorithm.sha256), ("md5", .md5), ("sha512", .sha512), ("sha1", .sha1)])
    func `has the digest that the tools find`(name: String, algorithm: HashAlgorithm) throws {
        var random = SeededRandom(seed: 3)
        let folder = try TemporaryFolder()
        for size in [0, 1, 3_000_001] {
            let disk = Disk.patterned(size, using: &random)
            let path = try folder.write(disk.bytes, to: "disk")
            let expected = String(
                decoding: try Tool.check("\(name)sum", path).prefix(2 * algorithm.size), as: UTF8.self)
            var done: UInt64 = 0
            let digest = try DiskStream(of: disk.image, path: "d").digest(algorithm, path: "d") { done = $0 }
            #expect(digest.map { String(format: "%02x", $0) }.joined() == expected)
            #expect(done == size)
        }
    }

    @Test func `ends at damage, after what lies before it`() throws {
        var built = QCOW2Builder(size: 8 << 20, clusters: Array(repeating: .data, count: 128)).build()
        built.poke((1 << 63 | 1 << 40) as UInt64, at: built.entryOffset(of: 100))
        let image = try openQCOW2(MemoryFile(built.bytes, path: "damaged.qcow2"))
        var read: UInt64 = 0
        let error = #expect(throws: ImageError.self) {
            try DiskStream(of: image, path: "d").read { read += $0.count }
        }
        #expect(error?.path == "damaged.qcow2" && error?.offset == HostOffset(1 << 40))
        #expect(read == 100 << 16)
    }
}

struct `Work in order` {
    @Test func `is handed over in order, whichever is done first, and never runs far ahead`() throws {
        let begun = Atomic(0)
        let work = OrderedWork<Int, Int>(limit: 5) { job in
            begun.add(1, ordering: .relaxed)
            // The first of five takes longest.
            usleep(UInt32(5 - job % 5) * 300)
            return job
        }
        var next = 0
        var taken: [Int] = []
        try work.run(
            next: {
                next += 1
                return next <= 100 ? next - 1 : nil
            },
            take: { number in
                #expect(begun.load(ordering: .relaxed) <= taken.count + 5)
                taken.append(number)
            })
        #expect(taken == Array(0..<100))
    }

    @Test(arguments: [0, 1, 37])
    func `ends with the first error, after the results before it`(bad: Int) throws {
        let work = OrderedWork<Int, Int>(limit: 8) { job throws(ImageError) in
            if job >= bad { throw ImageError(.corrupt, path: "\(job)", "bad") }
            return job
        }
        var next = 0
        var taken: [Int] = []
        let error = #expect(throws: ImageError.self) {
            try work.run(
                next: {
                    next += 1
                    return next - 1
                }, take: { taken.append($0) })
        }
        #expect(error?.path == "\(bad)")
        #expect(taken == Array(0..<bad))
    }
}
