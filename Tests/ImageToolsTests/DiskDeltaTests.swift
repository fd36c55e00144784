import BlockImage
import HostTools
import ImageTools
import TestImages
import Testing

struct `A delta of two disks` {
    /// Keeps what it is handed, and applies it to a copy of the disk that it lies over.
    private final class Overlay: ImageWriter {
        let granularity: Int
        let encoder: (any UnitEncoder)? = nil
        private(set) var disk: [UInt8]
        /// The granules that were written, in order, and whether they were zeros.
        private(set) var granules: [(index: Int, isZeros: Bool)] = []
        private let size: Int

        /// Over `base`, which is cut off or goes on with zeros at `size` bytes.
        init(over base: [UInt8], size: Int, granularity: Int) {
            self.granularity = granularity
            self.size = size
            let sectors = (size + 511) / 512 * 512
            disk = Array((base + Array(repeating: 0, count: max(0, sectors - base.count))).prefix(sectors))
        }

        func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
            bytes.withUnsafeBytes { store(Array($0), at: Int(start.rawValue), isZeros: false) }
        }

        func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError) {
            store(Array(repeating: 0, count: Int(count)), at: Int(start.rawValue), isZeros: true)
        }

        func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {}

        func finish() throws(ImageError) {}

        private func store(_ bytes: [UInt8], at start: Int, isZeros: Bool) {
            let end = start + bytes.count
            #expect(start % granularity == 0 && (end % granularity == 0 || end == size) && end <= size)
            for offset in stride(from: start, to: end, by: granularity) {
                #expect(granules.last.map { $0.index < offset / granularity } ?? true)
                granules.append((offset / granularity, isZeros))
            }
            // The last sector is filled up with zeros, as in every image.
            let padding = end == size ? disk.count - end : 0
            disk.replaceSubrange(start..<end + padding, with: bytes + Array(repeating: 0, count: padding))
        }
    }

    private func padded(_ bytes: [UInt8]) -> [UInt8] {
        bytes + Array(repeating: 0, count: (bytes.count + 511) / 512 * 512 - bytes.count)
    }

    @Test(arguments: 1...24 as ClosedRange<UInt64>)
    func `holds each granule that differs, and no other`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let size = Int.random(in: 1...(seed % 6 == 0 ? 3_000_000 : 300_000), using: &random)
        let base = try Disk.random(size: size, using: &random)
        let changes =
            seed % 2 == 0 ? base.changed(using: &random) : try Disk.random(size: size, over: base, using: &random)
        for (was, now) in [(base, changes), (changes, base)] {
            for granularity in [512, 4096, 65536, 2 << 20] {
                let overlay = Overlay(over: was.bytes, size: now.bytes.count, granularity: granularity)
                let before = overlay.disk
                let result = try DiskDelta(of: now.image, .base(was.image)).run(into: overlay)
                let wanted = padded(now.bytes)
                #expect(areSame(overlay.disk[...], wanted[...]), "seed \(seed), granules of \(granularity)")
                var expected: [(index: Int, isZeros: Bool)] = []
                for start in stride(from: 0, to: wanted.count, by: granularity) {
                    let granule = start..<min(start + granularity, wanted.count)
                    if areSame(before[granule], wanted[granule]) { continue }
                    expected.append((start / granularity, wanted[granule].allSatisfy { $0 == 0 }))
                }
                #expect(
                    overlay.granules.map(\.index) == expected.map(\.index), "seed \(seed), granules of \(granularity)")
                #expect(overlay.granules.map(\.isZeros) == expected.map(\.isZeros), "seed \(seed)")
                let bytes = expected.map { min($0.index * granularity + granularity, now.bytes.count) }
                let sizes = zip(bytes, expected).map { $0 - $1.index * granularity }
                #expect(result.changed == UInt64(sizes.reduce(0, +)))
                #expect(result.stored == UInt64(zip(sizes, expected).reduce(0) { $0 + ($1.1.isZeros ? 0 : $1.0) }))
            }
        }
    }

    @Test func `of one disk is empty, and reads nothing`() throws {
        let file = MadeFile(size: 1 << 40) { UInt8(truncatingIfNeeded: $0 | 1) }
        let disk = Image(layer: RawLayer(file: file))
        let overlay = Overlay(over: [], size: 0, granularity: 65536)
        let result = try DiskDelta(of: disk, .base(disk)).run(into: overlay)
        #expect(result.changed == 0 && result.stored == 0 && overlay.granules.isEmpty && file.bytesRead == 0)
    }

    @Test func `copies what has changed while it compares, and tells how far it is`() throws {
        let was = Image(layer: RawLayer(file: MadeFile(size: 300 << 20) { _ in 1 }))
        let now = Image(layer: RawLayer(file: MadeFile(size: 300 << 20) { _ in 2 }))
        final class Counting: ImageWriter {
            let granularity = 65536
            let encoder: (any UnitEncoder)? = nil
            private(set) var position: UInt64 = 0

            func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
                #expect(start.rawValue == position && bytes.byteCount % granularity == 0)
                position += UInt64(bytes.byteCount)
            }
            func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {}
            func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError) {}
            func finish() throws(ImageError) {}
        }
        let writer = Counting()
        var heard: [UInt64] = []
        let result = try DiskDelta(of: now, .base(was)).run(into: writer) { position in
            heard.append(position)
            // No more than one batch is found and not yet written.
            #expect(position - writer.position <= 65 << 20)
        }
        #expect(result.stored == 300 << 20 && writer.position == 300 << 20)
        #expect(heard.last == 300 << 20 && heard == heard.sorted() && heard.count > 100)
    }
}
