import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

@Suite struct ModelTests {
    struct Shape: Sendable, CustomTestStringConvertible {
        var grainSize: Int
        var tableEntryCount: Int
        var seed: UInt64
        var testDescription: String { "grain \(grainSize), table \(tableEntryCount), seed \(seed)" }
    }

    static let shapes = [1, 2, 8, 128].flatMap { grainSize in
        [1, 3, 16, 512, 4096].map { Shape(grainSize: grainSize, tableEntryCount: $0, seed: UInt64($0 + grainSize)) }
    }

    /// An image of that shape whose grains come in runs of one kind, and lie in the file in pieces in random order.
    private func randomImage(_ shape: Shape, _ random: inout SeededRandom) -> SparseImage {
        var image = SparseImage(
            capacity: Int.random(in: 1...max(200, shape.grainSize * 40), using: &random), grainSize: shape.grainSize,
            tableEntryCount: shape.tableEntryCount, version: 2, flags: 5)
        var pieces: [[Int]] = []
        while image.grains.count < image.grainCount {
            let kind: SparseImage.Grain = [.absent, .zeroed, .data, .data].randomElement(using: &random)!
            let start = image.grains.count
            let count = min(Int.random(in: 1...12, using: &random), image.grainCount - start)
            image.grains += Array(repeating: kind, count: count)
            pieces.append(Array(start..<start + count))
        }
        image.order = pieces.shuffled(using: &random).flatMap { $0 }
        return image
    }

    @Test(arguments: shapes)
    func `a sparse image reads as the bytes that it was made of`(shape: Shape) throws {
        var random = SeededRandom(seed: shape.seed)
        for _ in 0..<5 {
            let model = randomImage(shape, &random)
            let disk = model.disk
            let image = Image(layer: try openLayer(MemoryFile(model.build().bytes)))
            #expect(image.virtualSize == UInt64(disk.count))
            #expect(try image.wholeDisk() == disk)
            for _ in 0..<40 {
                let start = Int.random(in: 0..<disk.count, using: &random)
                let count = min(Int.random(in: 1...5000, using: &random), disk.count - start)
                let read = try image.bytes(count, at: UInt64(start))
                #expect(read.elementsEqual(disk[start..<start + count]))
            }
        }
    }

    @Test(arguments: shapes)
    func `extents follow each other, say what is stored and never exceed the limit`(shape: Shape) throws {
        var random = SeededRandom(seed: shape.seed)
        let model = randomImage(shape, &random)
        let layer = try openLayer(MemoryFile(model.build().bytes))
        var position: UInt64 = 0
        while position < layer.virtualSize {
            let limit = UInt64.random(in: 1...20_000, using: &random)
            let room = min(limit, layer.virtualSize - position)
            let extent = try layer.extent(at: GuestOffset(position), limit: room)
            #expect(extent.start.rawValue == position)
            #expect((1...room).contains(extent.count))
            let last = position + extent.count - 1
            let grains = Int(position) / 512 / shape.grainSize...Int(last) / 512 / shape.grainSize
            let kind: SparseImage.Grain =
                switch extent.storage {
                case .data: .data
                case .zero(explicit: true): .zeroed
                default: .absent
                }
            #expect(model.grains[grains].allSatisfy { $0 == kind })
            position += extent.count
        }
    }

    @Test func `neighbours are merged as far as one page of tables knows`() throws {
        // 64 tables of 16 grains; only the grains 3 to 10 of table 40 are stored, in one piece.
        var image = SparseImage(capacity: 64 * 16 * 8, grainSize: 8, tableEntryCount: 16)
        image.grains = Array(repeating: .absent, count: 64 * 16)
        for index in 3...10 { image.grains[40 * 16 + index] = .data }
        let (bytes, sectorOfGrain) = image.build()
        let layer = try openLayer(MemoryFile(bytes))
        func run(_ grain: Int, _ skip: UInt64 = 0) throws -> (UInt64, HostOffset?) {
            let start = GuestOffset(UInt64(grain) * 4096 + skip)
            let extent = try layer.extent(at: start, limit: layer.virtualSize - start.rawValue)
            if case .data(_, let offset) = extent.storage { return (extent.count, offset) }
            return (extent.count, nil)
        }
        #expect(try run(0) == (40 * 16 * 4096, nil))
        #expect(try run(5, 100) == ((40 * 16 - 5) * 4096 - 100, nil))
        #expect(try run(640) == (3 * 4096, nil))
        let host = UInt64(sectorOfGrain[643]! * 512)
        #expect(try run(643) == (8 * 4096, HostOffset(host)))
        #expect(try run(645, 7) == (6 * 4096 - 7, HostOffset(host + 2 * 4096 + 7)))
        #expect(try run(651) == (5 * 4096, nil))
        #expect(try run(656) == (23 * 16 * 4096, nil))
    }

    @Test func `the last grain of a file may be cut short, and others may not`() throws {
        var image = SparseImage(capacity: 64)
        image.grains = [.data, .data, .absent, .data]
        image.order = [3, 0, 1, 2]
        let bytes = image.build().bytes
        var disk = image.disk
        // Grain 1 is the last in the file and loses six sectors; part of a sector would be a sign that the file was cut.
        let layer = try openLayer(MemoryFile(Array(bytes.dropLast(3072))))
        for offset in 2 * 8192 - 3072..<2 * 8192 { disk[offset] = 0 }
        #expect(try Image(layer: layer).wholeDisk() == disk)
        let tail = try layer.extent(at: GuestOffset(2 * 8192 - 1000), limit: 50_000)
        #expect(tail.count == 1000)
        // And here it is gone altogether.
        let cut = Image(layer: try openLayer(MemoryFile(Array(bytes.dropLast(8192)))))
        #expect(try cut.bytes(8192, at: 0) == Array(disk[..<8192]))
        let error = imageError { () throws(ImageError) in _ = try cut.bytes(1, at: 8192) }
        #expect(error?.code == .truncated)
        #expect(error?.message.hasPrefix("grain table 0, entry 1: points to a grain at") == true)
    }

    @Test func `the redundant grain directory is read when the first is out of the file`() throws {
        var image = SparseImage(capacity: 64, flags: 3)
        image.grains = [.data]
        var bytes = image.build().bytes
        bytes.put(UInt64(1_000_000), at: 56)
        let layer = try openLayer(MemoryFile(bytes))
        #expect(try Image(layer: layer).wholeDisk() == image.disk)
        #expect(layer.notes.contains { $0.hasSuffix("the redundant one at sector 22 is read") })
        // Without the flag, what stands there means nothing.
        bytes.put(UInt32(1), at: 8)
        #expect(imageError { () throws(ImageError) in _ = try openLayer(MemoryFile(bytes)) }?.code == .truncated)
    }

    @Test func `a grain table that lies over a shorter directory is a table of its own`() throws {
        var image = SparseImage(capacity: 64)
        image.grains = [.absent, .data]
        var bytes = image.build().bytes
        // The directory's one entry names the directory's own sector: what follows it is the table's second entry.
        bytes.put(UInt32(21), at: 21 * 512)
        bytes.put(UInt32(0), at: 21 * 512 + 4)
        #expect(try Image(layer: openLayer(MemoryFile(bytes))).bytes(1, at: 8192) == [0])
    }
}
