import BlockImage
import Dispatch
import Foundation
import HostTools
import TestImages
import Testing

@testable import QCOW2

@Suite(.enabled(if: Tool.areThere("qemu-img")))
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
                    let found = try disk.bytes(unit, at: place.rawValue)
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

    @Test(arguments: [(12, false), (16, true), (16, false)], [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func `at once have it as if each had been alone`(clusters: (bits: Int, isExtended: Bool), seed: UInt64) throws {
        let count = 6
        var image = NewQCOW2(size: UInt64(24 << clusters.bits))
        image.clusterSize = 1 << UInt64(clusters.bits)
        image.hasExtendedL2 = clusters.isExtended
        let below = [UInt8].noise(17 << clusters.bits, salt: 9)
        var disk = try WrittenDisk(image, below: below, seed: seed)
        let file = HookedFile(disk.file)
        // Others get a turn in the middle of everything.
        file.beforeAccess = { usleep(20) }
        disk.layer = try openWritable(file, below: disk.below)
        let whole = Image(layer: disk.layer, backing: disk.below)
        let writers = (0..<count).map { number in
            Writer(number, of: count, disk, whole, seed: seed &* 100 &+ UInt64(number))
        }
        let failures = Guarded<[String]>([])
        DispatchQueue.concurrentPerform(iterations: count) { number in
            do { try writers[number].run(steps: 60) } catch {
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
        try disk.layer.close()
        let file = HookedFile(MemoryWritableFile(disk.file.bytes))
        // A barrier passes while it holds the gate, and gives it to the next.
        let (gate, arrived) = (DispatchSemaphore(value: 1), DispatchSemaphore(value: 0))
        file.beforeSync = {
            arrived.signal()
            gate.wait()
            gate.signal()
        }
        let layer = try openWritable(file)
        let bytes = [UInt8].noise(4096, salt: 1)
        let threads = 8
        let ready = DispatchSemaphore(value: 0)
        gate.wait()
        let done = DispatchGroup()
        for number in 0..<threads {
            // The first is in its barrier when the others come.
            if number == 1 { arrived.wait() }
            Thread.detachNewThread(in: done) {
                try? layer.write(bytes, at: UInt64(number << 20))
                ready.signal()
                try? layer.flush()
            }
        }
        for _ in 0..<threads { ready.wait() }
        gate.signal()
        done.wait()
        // Two for the first, two for all others; some may have come late. Each alone would make it 16.
        #expect((3...12).contains(file.content.syncCount), "\(file.content.syncCount)")
        for number in 0..<threads { disk.expected.overwrite(from: number << 20, with: bytes) }
        #expect(try areSame(layer.read(0..<disk.expected.count, below: nil), disk.expected))
    }
}

extension Thread {
    /// Begins a thread that `group` waits for.
    fileprivate static func detachNewThread(in group: DispatchGroup, _ body: @escaping @Sendable () -> Void) {
        group.enter()
        Thread.detachNewThread {
            body()
            group.leave()
        }
    }
}
