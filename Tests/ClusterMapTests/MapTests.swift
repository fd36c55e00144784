import BlockImage
import FormatCore
import HostTools
import ImageFormats
import ImageTools
import TestImages
import Testing

/// The formats that map clusters by one table or by two.
private let formats: [(ClusterImageBuilder.Format, Int)] = [
    (.qcow1, 9), (.qcow1, 12), (.qcow1, 16), (.qed, 12), (.qed, 16), (.parallels, 9), (.parallels, 16),
    (.parallelsExtended, 12), (.parallelsExtended, 16),
]

struct `A disk that is mapped by clusters` {
    @Test(arguments: formats)
    func `is read as it was written, wherever a read begins`(format: ClusterImageBuilder.Format, bits: Int) throws {
        // Three second tables of the smallest clusters, and a last cluster that is not whole.
        let builder = ClusterImageBuilder(format, size: 150 << UInt64(bits) | 512, clusterBits: bits)
        let (bytes, disk) = builder.build(seed: 5)
        let image = try opened(bytes, as: format).disk.result.get()
        #expect(areSame(try image.wholeDisk(), disk))
        var random = SeededRandom(seed: UInt64(bits))
        for _ in 0..<100 {
            let start = Int.random(in: 0..<disk.count, using: &random)
            let count = Int.random(in: 1...min(disk.count - start, 5000), using: &random)
            #expect(
                areSame(try image.bytes(count, at: UInt64(start)), disk[start..<start + count]), "\(start) \(count)")
        }
        var position: UInt64 = 0
        while position < image.virtualSize {
            position += try image.resolve(at: GuestOffset(position), limit: .max).extent.count
        }
        #expect(position == image.virtualSize)
    }

    @Test(arguments: formats)
    func `is found sound by a check, and shown whole by inspect`(format: ClusterImageBuilder.Format, bits: Int) throws {
        let builder = ClusterImageBuilder(format, size: 40 << UInt64(bits), clusterBits: bits)
        let bytes = builder.build().bytes
        let result = try #require(try checked(bytes, as: format))
        #expect(result.findings.isEmpty && result.corruptions == 0 && result.leaks == 0)
        let stored = builder.clusters.filter { $0 == .data || $0 == .compressed }.count
        #expect(result.totalClusters == 40 && result.allocatedClusters == UInt64(stored))
        #expect(result.compressedClusters == UInt64(builder.clusters.filter { $0 == .compressed }.count))
        let (text, map) = try inspected(bytes, as: format)
        #expect(text.contains("header") && !text.contains("but"), "\(text)")
        #expect(map.totals.reduce(0) { $0 + $1.count } == UInt64(bytes.count))
        #expect(map.totals.first { $0.use == .overlap } == nil)
    }

    @Test(arguments: formats)
    func `whose entry leads out of the file is damaged there and nowhere else`(
        format: ClusterImageBuilder.Format, bits: Int
    ) throws {
        var builder = ClusterImageBuilder(format, size: 8 << UInt64(bits), clusterBits: bits)
        builder.clusters = Array(repeating: .data, count: 8)
        let (bytes, disk) = builder.build()
        let size = 1 << bits
        let cut = Array(bytes.dropLast(size))
        let image = try opened(cut, as: format).disk.result.get()
        #expect(areSame(try image.bytes(7 * size, at: 0), disk[..<(7 * size)]))
        let error = #expect(throws: ImageError.self) { try image.bytes(1, at: UInt64(7 * size)) }
        #expect(error?.code == .truncated)
        #expect(image.lost(at: GuestOffset(UInt64(7 * size)), limit: .max) == UInt64(size))
        let result = try #require(try checked(cut, as: format))
        #expect(result.corruptions == 1 && result.findings.first?.kind == .outOfFile)
        #expect(try inspected(cut, as: format).text.contains("but the file ends at"))
        // Two clusters at one place.
        var twice = bytes
        let width = format == .qcow1 || format == .qed ? 8 : 4
        let entry = bytes[builder.entryOffset(2)..<builder.entryOffset(2) + width]
        twice.replaceSubrange(builder.entryOffset(3)..<builder.entryOffset(3) + width, with: entry)
        let found = try #require(try checked(twice, as: format))
        #expect(found.corruptions == 1 && found.findings.contains { $0.kind == .overlap })
    }
}

struct `Hostile maps of clusters end in an error, never in a trap` {
    private func exercise(_ bytes: [UInt8], _ format: ClusterImageBuilder.Format) {
        let opened = opened(bytes, as: format)
        _ = try? inspected(bytes, as: format)
        _ = try? (opened.layers.first?.image as? any CheckableImage)?.check { _ in }
        guard let image = opened.disk.image else { return }
        let count = Int(min(image.virtualSize, 1 << 16))
        _ = try? image.bytes(count, at: 0)
        _ = try? image.bytes(count, at: image.virtualSize - UInt64(count))
        var position = GuestOffset(0)
        for _ in 0..<200 where position.rawValue < image.virtualSize {
            guard let found = try? image.resolve(at: position, limit: .max) else {
                position = position.advanced(by: image.lost(at: position, limit: .max))
                continue
            }
            position = position.advanced(by: found.extent.count)
        }
        _ = image.allocation()
    }

    private static let extremes: [UInt64] = [
        0, 1, 511, 512, 1 << 16, 1 << 31, 1 << 32, 1 << 55, 1 << 56, 1 << 62, 1 << 63, .max - 511, .max,
    ]

    @Test(arguments: formats)
    func `with every field of the header and of the first entries at its extremes`(
        format: ClusterImageBuilder.Format, bits: Int
    ) {
        var builder = ClusterImageBuilder(format, size: 5 << UInt64(bits), clusterBits: bits)
        builder.backingFile = format == .qcow1 || format == .qed ? "base.raw" : ""
        let good = builder.build().bytes
        let entries = [builder.firstTable, builder.secondTable, builder.secondTable + 8]
        for offset in Array(stride(from: 4, to: 72, by: 4)) + entries where offset + 8 <= good.count {
            for value in Self.extremes {
                for size in [1, 4, 8] {
                    for isBig in [true, false] {
                        let raw = (0..<size).map { UInt8(truncatingIfNeeded: value >> UInt64($0 * 8)) }
                        var bytes = good
                        bytes.replaceSubrange(offset..<offset + size, with: isBig ? raw.reversed() : raw)
                        exercise(bytes, format)
                    }
                }
            }
        }
    }

    @Test(arguments: formats)
    func `with random bytes in their metadata, or cut`(format: ClusterImageBuilder.Format, bits: Int) {
        var random = SeededRandom(seed: UInt64(bits) + 1)
        let builder = ClusterImageBuilder(format, size: 20 << UInt64(bits), clusterBits: bits)
        let good = builder.build().bytes
        for round in 0..<300 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let start = [4, builder.firstTable, builder.secondTable].randomElement(using: &random) ?? 4
                bytes[start + Int.random(in: 0..<60, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if round % 5 == 0 { bytes = Array(bytes.prefix(Int.random(in: 0..<bytes.count, using: &random))) }
            exercise(bytes, format)
        }
    }
}
