import BlockImage
import HostTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

struct `Whatever is read is what a plain array of bytes has there` {
    /// Images of every cluster size: large clusters cost memory, so that they are few.
    static let seeds: [UInt64] = Array(1...40)

    @Test(arguments: seeds)
    func `over random images, random backing disks and random reads`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let bits = UInt32(9 + seed % 13)
        let most = bits > 16 ? 3 : bits == 9 ? 300 : 24
        let clusters = Int.random(in: 1...most, using: &random)
        let size = UInt64(clusters << Int(bits)) - UInt64.random(in: 0..<1 << UInt64(bits - 9), using: &random) * 512
        var builder = QCOW2Builder(size: size, clusterBits: bits)
        builder.version = Bool.random(using: &random) ? 3 : 2
        if builder.version == 3 { builder.compressionType = UInt8.random(in: 0...1, using: &random) }
        let kinds: [QCOW2Builder.Cluster] =
            builder.version == 3 ? QCOW2Builder.Cluster.allCases : [.unallocated, .data, .compressed]
        builder.clusters = (0..<clusters).map { _ in kinds.randomElement(using: &random) ?? .data }
        builder.isShuffled = seed % 5 != 0
        let image = builder.build(seed: seed)

        // Shorter or longer than the disk, and sometimes not there at all.
        let length = Bool.random(using: &random) ? Int.random(in: 0...Int(size) * 2, using: &random) : 0
        let under = [UInt8](repeating: UInt8(truncatingIfNeeded: seed) | 1, count: length)
        let backing = length > 0 ? Image(layer: RawLayer(file: MemoryFile(under))) : nil
        let expected = image.disk(over: under)
        let disk = try openQCOW2(MemoryFile(image.bytes), backing: backing)
        #expect(disk.virtualSize == size)
        #expect(try areSame(disk.wholeDisk(), expected), "seed \(seed)")
        for _ in 0..<60 {
            let start = Int.random(in: 0..<expected.count, using: &random)
            let count = Int.random(in: 1...min(expected.count - start, 3 << Int(bits)), using: &random)
            let isSame = try areSame(disk.bytes(count, at: UInt64(start)), expected[start..<start + count])
            #expect(isSame, "seed \(seed): \(count) bytes at \(start)")
        }
        let (sum, error) = disk.allocation()
        #expect(error == nil)
        let total = sum.data + sum.compressed + sum.zero + sum.unallocated
        #expect(total == size, "seed \(seed): \(sum)")
    }

    @Test func `also when many threads read at once from caches that hold next to nothing`() async throws {
        let kinds: [QCOW2Builder.Cluster] = [.compressed, .data, .compressed, .unallocated, .zero]
        let image = QCOW2Builder(
            size: 300 * 512, clusterBits: 9, clusters: (0..<300).map { kinds[$0 % kinds.count] }
        ).build(seed: 9)
        let disk = try openQCOW2(MemoryFile(image.bytes), resources: LayerResources(cacheSize: 6000))
        await withTaskGroup(of: Bool.self) { group in
            for seed in 0..<8 {
                group.addTask {
                    var random = SeededRandom(seed: UInt64(seed))
                    return (0..<200).allSatisfy { _ in
                        let start = Int.random(in: 0..<image.disk.count, using: &random)
                        let count = Int.random(in: 1...min(3000, image.disk.count - start), using: &random)
                        let found = try? disk.bytes(count, at: UInt64(start))
                        return found.map { areSame($0, image.disk[start..<start + count]) } ?? false
                    }
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }

    @Test func `and clusters that lie one after the other are one extent`() throws {
        var builder = QCOW2Builder(size: 1 << 20, clusters: Array(repeating: .data, count: 16))
        builder.isShuffled = false
        let file = MemoryFile(builder.build().bytes)
        let disk = try openQCOW2(file)
        let found = try disk.resolve(at: GuestOffset(100), limit: .max)
        #expect(found.extent.count == 1 << 20 - 100)
        let before = file.reads.load(ordering: .relaxed)
        _ = try disk.wholeDisk()
        #expect(file.reads.load(ordering: .relaxed) == before + 1)
    }
}
