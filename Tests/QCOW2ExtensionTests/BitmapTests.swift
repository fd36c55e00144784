import BlockImage
import ByteFormat
import Foundation
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `A dirty bitmap` {
    /// Pieces of the disk that are written to while it is there.
    private static let writes: [(start: UInt64, count: UInt64)] = [
        (0, 1000), (100 << 10, 10 << 10), (1 << 20, 1 << 20), (7 << 20, 512), ((8 << 20) - 512, 512),
    ]

    private func make(_ options: String, granularity: UInt64) throws -> Images {
        let images = try Images()
        try images.create("b.qcow2", options, size: "8M")
        try Tool.check("qemu-img", "bitmap", "--add", "-g", "\(granularity)", images.path("b.qcow2"), "full")
        try Tool.check(
            "qemu-img", "bitmap", "--add", "--disable", "-g", "65536", images.path("b.qcow2"), "nothing")
        try images.io("b.qcow2", Self.writes.map { "write -P 1 \($0.start) \(max($0.count, 512))" })
        return images
    }

    private func ranges(
        _ description: QCOW2Description, _ bitmap: Bitmap, _ file: any HostFile, from start: UInt64 = 0
    ) throws -> [DirtyRange] {
        var ranges = try description.dirtyRanges(of: bitmap, in: file, from: GuestOffset(start))
        var found: [DirtyRange] = []
        while let range = try ranges.next() { found.append(range) }
        return found
    }

    /// What qemu-nbd exports of the bitmap, as qemu-img shows it: what is dirty is no data there.
    private func rangesOfQemu(_ images: Images, _ bitmap: String) throws -> [DirtyRange] {
        let socket = images.path("nbd.sock")
        let server = Process()
        server.executableURL = URL(fileURLWithPath: try #require(Tool.path("qemu-nbd")))
        server.arguments = ["-r", "-f", "qcow2", "-B", bitmap, "-k", socket, images.path("b.qcow2")]
        try server.run()
        defer {
            server.terminate()
            server.waitUntilExit()
        }
        for _ in 0..<200 where !FileManager.default.fileExists(atPath: socket) { usleep(20_000) }
        struct Entry: Decodable {
            var start: UInt64
            var length: UInt64
            var data: Bool
        }
        let text = try Tool.check(
            "qemu-img", "map", "--output=json", "--image-opts",
            "driver=nbd,server.type=unix,server.path=\(socket),x-dirty-bitmap=qemu:dirty-bitmap:\(bitmap)")
        return try JSONDecoder().decode([Entry].self, from: text).filter { !$0.data }
            .map { DirtyRange(start: GuestOffset($0.start), count: $0.length) }
    }

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "qemu-io", "qemu-nbd")),
        arguments: [("", UInt64(4096)), ("cluster_size=512", 512), ("cluster_size=2M", 65536), ("extended_l2=on", 512)])
    func `marks what qemu marks`(shape: (options: String, granularity: UInt64)) throws {
        let images = try make(shape.options, granularity: shape.granularity)
        let file = try images.file("b.qcow2")
        let description = try QCOW2Description(file)
        #expect(description.bitmaps.map(\.name) == ["full", "nothing"])
        let full = description.bitmaps[0]
        let found = try ranges(description, full, file)
        #expect(found == (try rangesOfQemu(images, "full")))
        #expect(try description.dirtyBytes(of: full, in: file) == found.reduce(0) { $0 + $1.count })
        #expect(try description.dirtyBytes(of: description.bitmaps[1], in: file) == 0)
        // From anywhere on: what lies before is cut off.
        for start in [UInt64(1), 500, 4096, 105_000, 1 << 20, 3 << 20, (8 << 20) - 1, 8 << 20, .max] {
            let expected = found.compactMap { range -> DirtyRange? in
                let begin = max(range.start.rawValue, start)
                let end = range.start.rawValue + range.count
                return begin < end ? DirtyRange(start: GuestOffset(begin), count: end - begin) : nil
            }
            #expect(try ranges(description, full, file, from: start) == expected, "from \(start)")
        }
        try images.agrees("b.qcow2")
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `that is not marked as valid is listed as inconsistent`() throws {
        let images = try make("", granularity: 4096)
        var bytes = try images.bytes("b.qcow2")
        let bitmap = try QCOW2Description(MemoryFile(bytes)).bitmaps[0]
        #expect(!bitmap.isInconsistent && bitmap.flags == .auto && bitmap.type == 1)
        // In use: only this one.
        bytes.poke(UInt32(3), at: Int(bitmap.entryOffset.rawValue) + 12)
        try images.folder.write(bytes, to: "b.qcow2")
        let used = try images.layer("b.qcow2").description
        #expect(used.bitmaps.map(\.isInconsistent) == [true, false])
        try images.agrees("b.qcow2")
        let error = imageError { _ = try used.dirtyBytes(of: used.bitmaps[0], in: images.file("b.qcow2")) }
        #expect(error?.code == .unsupported && error?.offset == bitmap.entryOffset.advanced(by: 12))
        // Written to by something that knows no bitmaps: all of them, and qemu lists none.
        bytes.poke(UInt64(0), at: 88)
        try images.folder.write(bytes, to: "b.qcow2")
        #expect(try images.layer("b.qcow2").description.bitmaps.map(\.isInconsistent) == [true, true])
        try images.agrees("b.qcow2")
        // Even where the directory is gone.
        bytes.poke(UInt64.max, at: Int(bitmap.entryOffset.rawValue) + 16)
        try images.folder.write(bytes, to: "b.qcow2")
        #expect(try images.layer("b.qcow2").description.bitmaps == [])
        try images.agrees("b.qcow2")
    }

    @Test(
        arguments: [
            (0, .uniform(isDirty: false)), (1, .uniform(isDirty: true)),
            (0x00ff_ffff_ffff_0000, .stored(HostOffset(0x00ff_ffff_ffff_0000))),
        ] as [(UInt64, BitmapTableEntry.Content)])
    func `has table entries of three kinds`(entry: UInt64, content: BitmapTableEntry.Content) throws {
        #expect(try BitmapTableEntry(rawValue: entry).content(clusterSize: 65536) == content)
    }

    @Test func `has table entries whose fields tile the word`() {
        let fields = [
            BitmapTableEntry.allOnes, BitmapTableEntry.reservedLow, BitmapTableEntry.offset,
            BitmapTableEntry.reservedHigh,
        ]
        #expect(fields.reduce(0) { $0 | $1.mask } == .max)
        #expect(fields.reduce(0) { $0 + $1.width } == 64)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `that is damaged is an error of its own`() throws {
        let images = try make("cluster_size=512", granularity: 512)
        let good = try images.bytes("b.qcow2")
        let bitmap = try QCOW2Description(MemoryFile(good)).bitmaps[0]
        let entry = Int(bitmap.entryOffset.rawValue)
        let table = Int(bitmap.tableOffset)
        func result(_ value: some FixedWidthInteger, at offset: Int) throws -> (UInt64?, ImageError?) {
            var bytes = good
            bytes.poke(value, at: offset)
            let file = MemoryFile(bytes)
            let description = try QCOW2Description(file)
            // The disk, and the other bitmap, are as they were.
            #expect(try openInMemory(bytes).bytes(2, at: 1 << 20) == [1, 1])
            #expect(try description.dirtyBytes(of: description.bitmaps[1], in: file) == 0)
            var count: UInt64?
            let error = imageError { count = try description.dirtyBytes(of: description.bitmaps[0], in: file) }
            return (count, error)
        }
        func expect(
            _ value: some FixedWidthInteger, at offset: Int, _ code: ImageError.Code, _ message: String,
            sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let error = ImageError(code, path: "memory.img", offset: HostOffset(UInt64(offset)), "\(message)")
            #expect(try result(value, at: offset).1 == error, sourceLocation: sourceLocation)
        }
        // 8 MiB in 512-byte pieces: 16384 bits, which are four clusters of 512 bytes.
        try expect(
            UInt64(0x10000 + 512 + 2), at: table + 8, .corrupt,
            "table of bitmap \"full\": entry 1 has reserved bits set: 0x10202")
        try expect(
            UInt64(1) << 60, at: table, .corrupt,
            "table of bitmap \"full\": entry 0 has reserved bits set: 0x1000000000000000")
        try expect(
            UInt64(0x10001), at: table, .corrupt,
            "table of bitmap \"full\": entry 0 has both a cluster of bits and the flag that all are ones")
        let beyond = try result(UInt64(1 << 40), at: table).1
        #expect(beyond?.code == .truncated && beyond?.offset == HostOffset(1 << 40))
        try expect(
            UInt64(0x200 + 8), at: entry, .corrupt,
            "bitmap \"full\": bitmap_table_offset is 0x208, but must be a multiple of the cluster size (512) below 2^56"
        )
        try expect(
            UInt32(3), at: entry + 8, .corrupt, "bitmap \"full\": bitmap_table_size is 3, but the disk needs 4")
        try expect(UInt8(2), at: entry + 16, .unsupported, "bitmap \"full\": type is 2, but only 1 is known")
        #expect(try result(UInt8(1), at: entry + 16).1 == nil)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `can be all ones without a cluster`() throws {
        let images = try make("cluster_size=512", granularity: 512)
        var bytes = try images.bytes("b.qcow2")
        let bitmap = try QCOW2Description(MemoryFile(bytes)).bitmaps[0]
        for index in 0..<4 { bytes.poke(UInt64(index % 3 == 1 ? 0 : 1), at: Int(bitmap.tableOffset) + index * 8) }
        let file = MemoryFile(bytes)
        let description = try QCOW2Description(file)
        // Every entry stands for 2 MiB.
        #expect(
            try ranges(description, bitmap, file) == [
                DirtyRange(start: GuestOffset(0), count: 2 << 20),
                DirtyRange(start: GuestOffset(4 << 20), count: 4 << 20),
            ])
        #expect(try description.dirtyBytes(of: bitmap, in: file) == 6 << 20)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: [UInt64(1), 2])
    func `with random bytes ends in an error at worst`(seed: UInt64) throws {
        let images = try make("cluster_size=512", granularity: 512)
        let good = try images.bytes("b.qcow2")
        let bitmap = try QCOW2Description(MemoryFile(good)).bitmaps[0]
        var random = SeededRandom(seed: seed)
        for _ in 0..<200 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let places = [
                    Int(bitmap.entryOffset.rawValue) + Int.random(in: 0..<24, using: &random),
                    Int(bitmap.tableOffset) + Int.random(in: 0..<32, using: &random),
                ]
                bytes[places.randomElement(using: &random)!] = UInt8.random(in: 0...255, using: &random)
            }
            let file = MemoryFile(bytes)
            guard let description = try? QCOW2Description(file) else { continue }
            for bitmap in description.bitmaps { _ = try? description.dirtyBytes(of: bitmap, in: file) }
        }
    }
}
