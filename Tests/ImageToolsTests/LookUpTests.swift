import BlockImage
import ImageFormats
import TestImages
import Testing

@testable import ImageTools

struct `Where a byte of a disk lies is looked up once` {
    private let layer = CountingLayer(size: 3_000_001, runSize: 5000)
    private var disk: Image { Image(layer: layer) }
    private var size: Int { layer.content.count }

    @Test(arguments: [(512, nil), (65536, nil), (4096, 65536)] as [(Int, Int?)])
    func `by a copy`(granularity: Int, unitSize: Int?) throws {
        let writer = RecordingWriter(
            size: size, granularity: granularity, encoder: unitSize.map { RepeatEncoder(unitSize: $0) })
        _ = try DiskCopy(of: disk).run(into: writer)
        #expect(areSame(writer.disk, layer.content))
        #expect(layer.asked == size)
    }

    @Test func `by a copy that goes on where it cannot read`() throws {
        let writer = RecordingWriter(size: size, granularity: 4096)
        var copy = DiskCopy(of: disk)
        copy.ignoresReadErrors = true
        #expect(try copy.run(into: writer).losses.isEmpty)
        #expect(areSame(writer.disk, layer.content))
        #expect(layer.asked == size)
    }

    @Test func `by what reads it from the start to the end`() throws {
        var bytes: [UInt8] = []
        try DiskStream(of: disk, path: "disk").read { piece in
            piece.forEachBuffer { part in part.withUnsafeBytes { bytes += $0 } }
        }
        #expect(areSame(bytes, layer.content))
        #expect(layer.asked == size)
    }

    @Test func `by a comparison`() throws {
        let other = CountingLayer(size: size, runSize: 7000)
        let found = try DiskComparison(disk, Image(layer: other)).run { _ in }
        #expect(found.sectors > 0)
        #expect(layer.asked == size && other.asked == size)
    }

    @Test func `by a map, and by a count of how it is stored`() throws {
        var map = DiskMap(disk)
        var end: UInt64 = 0
        while let run = try map.next() { end = run.start + run.length }
        #expect(end == size && layer.asked == size)
        #expect(disk.allocation().1 == nil && layer.asked == 2 * size)
    }

    @Test func `also of a part of it, which is decoded by its own layer`() throws {
        let part = disk.slice(from: GuestOffset(12_345), size: 1_000_000)
        let writer = RecordingWriter(size: 1_000_000, granularity: 512)
        _ = try DiskCopy(of: part).run(into: writer)
        #expect(areSame(writer.disk, Array(layer.content[12_345..<1_012_345])))
        #expect(layer.asked == 1_000_000)
    }
}
