import BlockImage
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `Hostile images end in an error, never in a trap` {
    /// Opens the image, reads the whole of a disk that is small, else its ends, and walks its tables.
    private func exercise(_ bytes: [UInt8]) {
        let file = MemoryFile(bytes)
        guard let description = try? QCOW2Description(file),
            let layer = try? QCOW2Layer(description, file: file, resources: LayerResources(cacheSize: 1 << 20))
        else { return }
        let image = Image(layer: layer)
        if image.virtualSize <= 1 << 20 {
            _ = try? image.wholeDisk()
        } else {
            _ = try? image.bytes(1 << 16, at: 0)
            _ = try? image.bytes(1 << 16, at: image.virtualSize - (1 << 16))
        }
        // The pieces of a huge disk may be as many as its clusters.
        var position = GuestOffset(0)
        for _ in 0..<200 where position.rawValue < image.virtualSize {
            guard let found = try? image.resolve(at: position, limit: .max) else { break }
            position = position.advanced(by: found.extent.count)
        }
        if image.virtualSize <= 1 << 24 {
            _ = image.allocation()
            _ = try? image.next(hole: true, from: GuestOffset(0))
        }
    }

    static let extremes: [UInt64] = [
        0, 1, 511, 512, 1 << 16, 1 << 31, 1 << 32, 1 << 55, (1 << 56) - 512, (1 << 56) - (1 << 16), 1 << 56,
        (1 << 62) - 1, 1 << 62, 1 << 63, .max - 65535, .max - 511, .max,
    ]

    @Test(arguments: [UInt32(9), 16, 21])
    func `with every field of the header at its extremes`(clusterBits: UInt32) {
        var builder = QCOW2Builder(size: 3 << UInt64(clusterBits), clusterBits: clusterBits)
        builder.clusters = [.data, .compressed, .zero]
        let good = builder.build(seed: 3)
        for offset in stride(from: UInt64(4), to: 128, by: 4) {
            for value in Self.extremes {
                var image = good
                image.poke(UInt32(truncatingIfNeeded: value), at: offset)
                exercise(image.bytes)
                image = good
                image.poke(value, at: offset)
                exercise(image.bytes)
            }
        }
    }

    @Test(arguments: [UInt32(9), 16, 21])
    func `with every entry of the tables at its extremes`(clusterBits: UInt32) {
        var builder = QCOW2Builder(size: 3 << UInt64(clusterBits), clusterBits: clusterBits)
        builder.clusters = [.data, .compressed, .zero]
        let good = builder.build(seed: 3)
        let entries = [good.l1Offset, good.entryOffset(of: 0), good.entryOffset(of: 1), good.entryOffset(of: 2)]
        for offset in entries {
            for value in Self.extremes {
                for flags in [0, 1, 1 << 62, 1 << 63, 3 << 62] as [UInt64] {
                    var image = good
                    image.poke(value | flags, at: offset)
                    exercise(image.bytes)
                }
            }
        }
    }

    @Test func `with a disk as large as the format allows, which is walked in no time`() throws {
        for (bits, size) in [(9, 1 << 37), (16, 1 << 51), (21, 1 << 61)] as [(UInt32, UInt64)] {
            var image = QCOW2Builder(size: 1 << UInt64(bits), clusterBits: bits).build()
            image.poke(size, at: 24)
            image.poke(UInt32(1 << 22), at: 36)
            image.bytes += Array(repeating: 0, count: 32 << 20)
            let disk = try openQCOW2(MemoryFile(image.bytes))
            #expect(disk.virtualSize == size)
            #expect(disk.allocation().0.unallocated == size)
            #expect(try disk.bytes(4096, at: size - 4096) == Array(repeating: 0, count: 4096))
        }
    }

    @Test func `except where an L1 table is its own L2 table, which is read as it stands`() throws {
        var image = QCOW2Builder(size: 1 << 20, clusters: Array(repeating: .data, count: 16)).build()
        image.poke(image.l1Offset, at: image.l1Offset)
        let disk = try openQCOW2(MemoryFile(image.bytes)).wholeDisk()
        let table = Int(image.l1Offset)
        #expect(areSame(disk.prefix(65536), image.bytes[table..<table + 65536]))
        #expect(areSame(disk.dropFirst(65536), [UInt8](repeating: 0, count: 15 << 16)))
    }

    /// Thousands of images with a few bytes of the header, or of the tables, turned into others.
    @Test(arguments: [UInt64(1), 2, 3, 4])
    func `with random bytes in their metadata`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var builder = QCOW2Builder(size: 40 << 9, clusterBits: 9)
        builder.compressionType = UInt8(seed % 2)
        builder.clusters = (0..<40).map { QCOW2Builder.Cluster.allCases[$0 % 5] }
        builder.extensions = [(0x6803_f857, `An image that needs what is not there yet`.feature), (0xe279_2aca, [1])]
        let good = builder.build(seed: seed)
        let tables = [good.l1Offset, good.entryOffset(of: 0)].map { Int($0) }
        for _ in 0..<800 {
            var image = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let offset =
                    switch Int.random(in: 0..<3, using: &random) {
                    case 0: Int.random(in: 4..<200, using: &random)
                    case 1: tables[0] + Int.random(in: 0..<8, using: &random)
                    default: tables[1] + Int.random(in: 0..<320, using: &random)
                    }
                image.bytes[offset] = UInt8.random(in: 0...255, using: &random)
            }
            exercise(image.bytes)
        }
    }
}
