import BlockImage
import HostTools
import SystemPackage
import TestImages
import Testing

@testable import Catalog
@testable import ImageTools

struct `A copy of a disk` {
    private static let sizes = [512, 4096, 65536]

    @Test(arguments: 1...24 as ClosedRange<UInt64>)
    func `has the bytes of the disk, whatever it is and into whatever it goes`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let size = Int.random(in: 1...(seed % 6 == 0 ? 5_000_000 : 300_000), using: &random)
        let base = try Disk.random(size: size, using: &random)
        let disk = seed % 3 == 0 ? try Disk.random(size: size, over: base, using: &random) : base
        let granularity = Self.sizes.randomElement(using: &random) ?? 512
        let unitSize = max(granularity, [4096, 65536, 2 << 20].randomElement(using: &random) ?? 4096)
        let encoder = Bool.random(using: &random) ? RepeatEncoder(unitSize: unitSize) : nil
        let writer = RecordingWriter(size: disk.bytes.count, granularity: granularity, encoder: encoder)
        var progress: [UInt64] = []
        let result = try DiskCopy(of: disk.image).run(into: writer) { progress.append($0) }
        #expect(areSame(writer.disk, disk.bytes), "seed \(seed)")
        #expect(progress == progress.sorted() && progress.last ?? 0 == disk.bytes.count, "seed \(seed)")
        #expect(result.lost == [] && result.bytesRead <= disk.bytes.count)
        #expect(result.bytesStored == writer.pieces.reduce(0) { $0 + $1.count }, "seed \(seed)")
        #expect(!writer.pieces.contains { $0.kind == .zeros })
    }

    @Test(arguments: 1...24 as ClosedRange<UInt64>)
    func `of parts has nothing of the rest`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = try Disk.random(size: Int.random(in: 1...400_000, using: &random), using: &random)
        let size = disk.bytes.count
        var parts: [Range<UInt64>] = []
        var position = 0
        while position < size {
            let start = position + Int.random(in: 0...60_000, using: &random)
            position = start + Int.random(in: 1...60_000, using: &random)
            // The last one goes behind the end.
            parts.append(UInt64(start)..<UInt64(position))
        }
        var expected = [UInt8](repeating: 0, count: size)
        for part in parts {
            let range = Int(part.lowerBound)..<max(Int(part.lowerBound), min(Int(part.upperBound), size))
            if !range.isEmpty { expected.replaceSubrange(range, with: disk.bytes[range]) }
        }
        let granularity = Self.sizes.randomElement(using: &random) ?? 512
        let writer = RecordingWriter(
            size: size, granularity: granularity, encoder: seed % 2 == 0 ? RepeatEncoder(unitSize: 65536) : nil)
        _ = try DiskCopy(of: disk.image, parts: parts).run(into: writer)
        #expect(areSame(writer.disk, expected), "seed \(seed)")
    }

    @Test(arguments: 1...16 as ClosedRange<UInt64>)
    func `over a backing image says where zeros are, and nothing of what is no part of it`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = try Disk.random(size: Int.random(in: 1...300_000, using: &random), using: &random)
        let granularity = Self.sizes.randomElement(using: &random) ?? 512
        let granule = UInt64(granularity)
        let size = UInt64(disk.bytes.count)
        var backing = [UInt8](repeating: 0, count: disk.bytes.count)
        for index in backing.indices { backing[index] = UInt8(truncatingIfNeeded: index / 7 | 1) }
        let parts = stride(from: 0, to: size, by: Int(granule)).filter { _ in Bool.random(using: &random) }.map {
            $0..<min($0 + granule, size)
        }
        var expected = backing
        for part in parts {
            let range = Int(part.lowerBound)..<Int(part.upperBound)
            expected.replaceSubrange(range, with: disk.bytes[range])
        }
        let writer = RecordingWriter(size: disk.bytes.count, granularity: granularity, over: backing)
        // In two goes, as whoever compares meanwhile does it.
        for half in [parts.prefix(parts.count / 2), parts.dropFirst(parts.count / 2)] {
            var copy = DiskCopy(of: disk.image, parts: Array(half))
            copy.writesZeros = true
            _ = try copy.run(into: writer)
        }
        #expect(areSame(writer.disk, expected), "seed \(seed)")
    }

    @Test func `does not read what is known to be zeros, however much that is`() throws {
        let file = MadeFile(size: 1 << 50, isHole: true)
        let writer = RecordingWriter(size: 0, granularity: 65536)
        let result = try DiskCopy(of: Image(layer: RawLayer(file: file))).run(into: writer)
        #expect(result.bytesRead == 0 && file.bytesRead == 0 && writer.pieces.isEmpty)
    }

    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func `ends at what cannot be read, or leaves out just that`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var bytes = Disk.patterned(3 << 20, using: &random).bytes
        var bad: [Range<Int>] = []
        var position = 0
        while position < bytes.count - 200_000 {
            position += Int.random(in: 1...900_000, using: &random) & ~511
            let count = [512, 512, 4096, 70_144].randomElement(using: &random) ?? 512
            guard position < bytes.count else { break }
            bad.append(position..<min(position + count, bytes.count))
            position += count + 512
        }
        let image = Image(layer: RawLayer(file: FaultyFile(bytes, bad: bad)))
        var copy = DiskCopy(of: image)
        let error = #expect(throws: ImageError.self, "seed \(seed)") {
            _ = try copy.run(into: RecordingWriter(size: bytes.count, granularity: 4096))
        }
        #expect(error?.code == .system(errno: 5))
        copy.ignoresReadErrors = true
        let writer = RecordingWriter(size: bytes.count, granularity: 4096)
        let result = try copy.run(into: writer)
        #expect(result.lost == bad.map { UInt64($0.lowerBound)..<UInt64($0.upperBound) }, "seed \(seed)")
        for range in bad { bytes.replaceSubrange(range, with: Array(repeating: 0, count: range.count)) }
        #expect(areSame(writer.disk, bytes), "seed \(seed)")
    }

    @Test func `goes on behind metadata that is damaged, if read errors are ignored`() throws {
        var builder = QCOW2Builder(size: 4 << 20, clusterBits: 9)
        builder.clusters = Array(repeating: .data, count: 8192)
        let built = builder.build(seed: 3)
        let header = try QCOW2Header(built.bytes)
        var bytes = built.bytes
        // The second L2 table, of 64 clusters, begins outside of the file.
        for (index, byte) in [0x80, 0, 0, 0xff, 0xff, 0xff, 0, 0].enumerated() {
            bytes[header.l1Offset + 8 + index] = UInt8(byte)
        }
        let image = try openQCOW2(MemoryFile(bytes))
        var copy = DiskCopy(of: image)
        #expect(throws: ImageError.self) { _ = try copy.run(into: RecordingWriter(size: 4 << 20, granularity: 512)) }
        copy.ignoresReadErrors = true
        let writer = RecordingWriter(size: 4 << 20, granularity: 512)
        #expect(try copy.run(into: writer).lost == [32768..<65536])
        #expect(areSame(writer.disk[65536...], built.disk[65536...]))
    }

    @Test func `says where the host has the same bytes already`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("d.qcow2")
        try QemuImg.create(path, size: 4 << 20)
        try QemuImg.io(path, ["write -P 1 0 128k", "write -P 2 1M 64k", "write -c -P 3 2M 64k"])
        let named = NamedImage(.init(path))
        let disk = try named.disk()
        let writer = RecordingWriter(size: 4 << 20, granularity: 4096)
        _ = try DiskCopy(of: disk.image).run(into: writer)
        #expect(writer.pieces.map(\.count) == [128 << 10, 64 << 10, 64 << 10])
        #expect(writer.storedCount == 2)
    }
}

/// The little of a header that a test wants to damage.
private struct QCOW2Header {
    let l1Offset: Int

    init(_ bytes: [UInt8]) throws {
        l1Offset = bytes[40..<48].reduce(0) { $0 << 8 | Int($1) }
    }
}

struct `A list of sectors` {
    private func parts(_ text: String, sectorSize: Int = 512, size: UInt64 = 10_000) throws -> [Range<UInt64>] {
        var list = SectorList(sectorSize: sectorSize, path: "list")
        // However it is cut.
        for byte in text.utf8 { try list.add([byte]) }
        return try list.parts(of: size)
    }

    @Test(
        arguments: [
            ("", []), ("0\n", [0..<512]), ("0", [0..<512]), ("1\n2\n3\n7\n", [512..<2048, 3584..<4096]),
            ("7\n1\n3\n2\n1\n", [512..<2048, 3584..<4096]), ("1-3  3\n7-7  1\n", [512..<2048, 3584..<4096]),
            ("19\n", [9728..<10_000]), (" 4 \r\n\n", [2048..<2560]), ("0-19\n5\n", [0..<10_000]),
        ] as [(String, [Range<UInt64>])])
    func `is the bytes that it names, in order`(text: String, expected: [Range<UInt64>]) throws {
        #expect(try parts(text) == expected)
    }

    @Test func `counts in the sectors that it is said to`() throws {
        #expect(try parts("1\n2\n", sectorSize: 4096) == [4096..<10_000])
    }

    @Test(arguments: [
        "x\n", "1\n-1\n", "3-2\n", "1-2-3\n", "18446744073709551615\n", "36028797018963968\n", "1 x\n",
        "the disks are the same\n", "1-\n", String(repeating: "1", count: 500),
    ])
    func `is refused where a line names no sectors`(text: String) throws {
        let error = #expect(throws: ImageError.self) { _ = try parts(text) }
        #expect(error?.code == .corrupt && error?.message.hasPrefix("line ") == true)
    }

    @Test(arguments: ["20\n", "0-20\n", "36028797018963960\n"])
    func `is refused where the disk ends before`(text: String) throws {
        let error = #expect(throws: ImageError.self) { _ = try parts(text) }
        #expect(error?.code == .outOfRange)
    }
}
