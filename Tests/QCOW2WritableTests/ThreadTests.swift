import BlockImage
import Dispatch
import FormatCore
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `Threads that write to one disk` {
    /// What one thread does: it alone writes to every so manieth sector of the first half of the disk, so that clusters are
    /// shared, and to every so manieth cluster of the second.
    // Safe: each is used by one thread at a time.
    private final class Writer: @unchecked Sendable {
        let number: Int
        let count: Int
        let layer: WritableQCOW2
        let disk: Image
        var expected: [UInt8]
        var random: SeededRandom

        init(_ number: Int, of count: Int, _ written: WrittenDisk, _ disk: Image, seed: UInt64) {
            self.number = number
            self.count = count
            layer = written.layer
            self.disk = disk
            expected = written.expected
            random = SeededRandom(seed: seed)
        }

        func run(steps: Int) throws {
            let cluster = Int(layer.format.clusterSize)
            let half = expected.count / 2 / cluster / count * cluster * count
            for _ in 0..<steps {
                let isCluster = Bool.random(using: &random)
                let unit = isCluster ? cluster : 512
                let start = isCluster ? half : 0
                let units = (isCluster ? expected.count - half : half) / unit / count
                let first = start + (Int.random(in: 0..<units, using: &random) * count + number) * unit
                let range = first..<first + unit
                let place = GuestOffset(UInt64(first))
                switch Int.random(in: 0..<10, using: &random) {
                case 0, 1:
                    try layer.zero(UInt64(unit), at: place, mayUnmap: Bool.random(using: &random))
                    expected.clear(range)
                case 2 where isCluster:
                    try layer.discard(UInt64(unit), at: place)
                    expected.clear(range)
                case 3: try layer.flush()
                case 4: try layer.writeBack()
                case 5, 6:
                    let found = try layer.whileReading { () throws(ImageError) -> [UInt8] in
                        try disk.bytes(unit, at: place.rawValue)
                    }
                    try #require(areSame(found, expected[range]), "\(range)")
                default:
                    let bytes = [UInt8].noise(unit, salt: random.next())
                    try layer.write(bytes, at: place.rawValue)
                    expected.overwrite(from: first, with: bytes)
                }
            }
        }

        /// Puts what this thread wrote into `whole`.
        func merge(into whole: inout [UInt8]) {
            let cluster = Int(layer.format.clusterSize)
            let half = expected.count / 2 / cluster / count * cluster * count
            for (start, end, unit) in [(0, half, 512), (half, expected.count, cluster)] {
                for first in stride(from: start + number * unit, to: end - unit + 1, by: unit * count) {
                    whole.overwrite(from: first, with: Array(expected[first..<first + unit]))
                }
            }
        }
    }

    @Test(arguments: [(12, false), (16, true), (16, false)], [1, 2] as [UInt64])
    func `at once have it as if each had been alone`(clusters: (bits: Int, isExtended: Bool), seed: UInt64) throws {
        let count = 6
        var image = NewQCOW2(size: UInt64(96 << clusters.bits))
        image.clusterSize = 1 << UInt64(clusters.bits)
        image.hasExtendedL2 = clusters.isExtended
        let below = [UInt8].noise(70 << clusters.bits, salt: 9)
        var disk = try WrittenDisk(image, below: below, seed: seed)
        let whole = Image(layer: disk.layer, backing: disk.below)
        let writers = (0..<count).map { number in
            Writer(number, of: count, disk, whole, seed: seed &* 100 &+ UInt64(number))
        }
        let failures = Guarded<[String]>([])
        DispatchQueue.concurrentPerform(iterations: count) { number in
            do { try writers[number].run(steps: 250) } catch {
                let text = "seed \(seed), thread \(number): \(error)"
                failures.withLock { $0.append(text) }
            }
        }
        let found = failures.withLock { $0 }
        #expect(found.isEmpty, "\(found)")
        for writer in writers { writer.merge(into: &disk.expected) }
        try disk.finish()
    }

    @Test func `share the barriers of their flushes`() throws {
        var disk = try WrittenDisk(QCOW2Overlay.image(size: 8 << 20, over: nil), seed: 1)
        let (layer, file) = (disk.layer, disk.file)
        let before = file.syncCount
        let bytes = [UInt8].noise(4096, salt: 1)
        DispatchQueue.concurrentPerform(iterations: 8) { number in
            for step in 0..<20 {
                try? layer.write(bytes, at: UInt64(number << 20 + step * 4096))
                try? layer.flush()
            }
        }
        // Each flush alone would have two or more.
        #expect(file.syncCount - before <= 8 * 20 * 2 + 2)
        for number in 0..<8 {
            for step in 0..<20 { disk.expected.overwrite(from: number << 20 + step * 4096, with: bytes) }
        }
        try disk.finish()
    }
}
