import BlockImage
import Foundation
import HostTools
import ImageTools
import Synchronization
import TestImages
import Testing

struct `The comparison of two disks` {
    /// What a comparison handed over and answered.
    private func compare(
        _ left: Image, _ right: Image, sectorSize: Int = 512
    ) throws -> (ranges: [SectorRange], sum: DiskDifference) {
        var ranges: [SectorRange] = []
        let sum = try DiskComparison(left, right, sectorSize: sectorSize).run { ranges.append($0) }
        return (ranges, sum)
    }

    /// The ranges of sectors in which two byte arrays differ, the shorter of which goes on with zeros.
    private func reference(_ left: [UInt8], _ right: [UInt8], sectorSize: Int) -> [SectorRange] {
        let count = (max(left.count, right.count) + sectorSize - 1) / sectorSize
        func padded(_ bytes: [UInt8]) -> [UInt8] {
            bytes + Array(repeating: 0, count: count * sectorSize - bytes.count)
        }
        let (left, right) = (padded(left), padded(right))
        var ranges: [SectorRange] = []
        for sector in 0..<count {
            let bytes = sector * sectorSize..<(sector + 1) * sectorSize
            if areSame(left[bytes], right[bytes]) { continue }
            if let last = ranges.last, last.start + last.count == sector {
                ranges[ranges.count - 1].count += 1
            } else {
                ranges.append(SectorRange(start: UInt64(sector), count: 1))
            }
        }
        return ranges
    }

    private func expectReference(_ left: Disk, _ right: Disk, _ seed: UInt64) throws {
        for sectorSize in [512, 4096] {
            let (ranges, sum) = try compare(left.image, right.image, sectorSize: sectorSize)
            let expected = reference(left.bytes, right.bytes, sectorSize: sectorSize)
            #expect(ranges == expected, "seed \(seed), sectors of \(sectorSize)")
            #expect(sum.ranges == UInt64(expected.count))
            #expect(sum.sectors == expected.reduce(0) { $0 + $1.count })
            let size = UInt64(max(left.bytes.count, right.bytes.count))
            let bytes = expected.reduce(0) {
                $0 + min(size, ($1.start + $1.count) * UInt64(sectorSize)) - $1.start * UInt64(sectorSize)
            }
            #expect(sum.bytes == bytes, "seed \(seed), sectors of \(sectorSize)")
            #expect(sum.sizes == [UInt64(left.bytes.count), UInt64(right.bytes.count)])
        }
    }

    @Test(arguments: 1...24 as ClosedRange<UInt64>)
    func `finds what a look at every byte finds`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        // Some go over the borders of what one thread reads.
        let size = Int.random(in: 0...(seed % 6 == 0 ? 3_000_000 : 200_000), using: &random)
        let disk = try Disk.random(size: size, using: &random)
        try expectReference(disk, disk.changed(using: &random), seed)
        try expectReference(disk.changed(using: &random), disk, seed)
        try expectReference(disk, disk, seed)
        let backing = Disk.patterned(Int.random(in: 0...size, using: &random), using: &random)
        let overlays = try (0..<2).map { _ in try Disk.random(size: size, over: backing, using: &random) }
        try expectReference(overlays[0], overlays[1], seed)
        try expectReference(overlays[0], backing, seed)
        try expectReference(disk, try Disk.random(size: size / 2 + 1, using: &random), seed)
    }

    @Test(arguments: [0, 1, 511, 512, 513, 4095, 4097, 1 << 20, 1 << 20 | 1])
    func `takes what a longer disk has more for a comparison with zeros`(size: Int) throws {
        let short = Disk.raw(Array(repeating: 1, count: size))
        for more in [0, 1, 600, 5000] {
            let zeros = Disk.raw(short.bytes + Array(repeating: 0, count: more))
            #expect(try compare(short.image, zeros.image).ranges == [])
            var bytes = zeros.bytes
            if more > 0 { bytes[bytes.count - 1] = 9 }
            let other = Disk.raw(bytes)
            try expectReference(short, other, 0)
            try expectReference(other, short, 0)
            // Only the last sector differs, and of it the bytes that there are count.
            let sum = try compare(short.image, other.image).sum
            #expect(sum.sectors == (more > 0 ? 1 : 0))
            #expect(sum.bytes == (more > 0 ? UInt64((bytes.count - 1) % 512 + 1) : 0))
        }
    }

    @Test func `does not read what two overlays have from one file below them`() throws {
        let base = Array(repeating: UInt8(5), count: 1 << 20)
        // Two openings of one file, as two overlays come by it.
        let files = (0..<2).map { _ in MemoryFile(base, identity: FileIdentity(device: 1, inode: 2)) }
        var builder = QCOW2Builder(size: 1 << 20, clusters: [])
        let empty = builder.build()
        builder.clusters = [.unallocated, .unallocated, .data]
        let written = builder.build()
        func overlay(_ built: BuiltQCOW2, _ file: MemoryFile) throws -> Image {
            try openQCOW2(MemoryFile(built.bytes), backing: Image(layer: RawLayer(file: file)))
        }
        let same = try compare(try overlay(empty, files[0]), try overlay(empty, files[1]))
        #expect(same.ranges == [])
        #expect(files.map { $0.reads.load(ordering: .relaxed) } == [0, 0])
        let other = try compare(try overlay(written, files[0]), try overlay(empty, files[1]))
        #expect(other.ranges == [SectorRange(start: 256, count: 128)])
        #expect(files.map { $0.reads.load(ordering: .relaxed) } == [0, 1])
        // The same bytes in another file are read.
        let copy = MemoryFile(base, identity: FileIdentity(device: 1, inode: 3))
        #expect(try compare(try overlay(empty, files[0]), try overlay(empty, copy)).ranges == [])
        #expect(files[0].reads.load(ordering: .relaxed) > 0 && copy.reads.load(ordering: .relaxed) > 0)
    }

    @Test(arguments: [QCOW2Builder.Cluster.data, .compressed])
    func `does not read the clusters of an image that both disks are`(kind: QCOW2Builder.Cluster) throws {
        let builder = QCOW2Builder(size: 4 << 20, clusters: Array(repeating: kind, count: 64))
        let built = builder.build()
        let files = (0..<2).map { _ in MemoryFile(built.bytes, identity: FileIdentity(device: 1, inode: 2)) }
        let resources = LayerResources()
        let disks = try files.map { try openQCOW2($0, resources: resources) }
        let opening = files.map { $0.reads.load(ordering: .relaxed) }
        #expect(try compare(disks[0], disks[1]).ranges == [])
        #expect(resources.counters.decompressions.load(ordering: .relaxed) == 0)
        for (file, before) in zip(files, opening) {
            // An L1 and an L2 table.
            #expect(file.reads.load(ordering: .relaxed) - before <= 2)
        }
    }

    @Test func `does not read holes, and reads what lies beside them in the other disk`() throws {
        let size = 3 << 20
        var bytes = [UInt8](repeating: 0, count: size)
        let empty = MemoryFile(bytes, holes: [0..<UInt64(size)])
        let otherEmpty = MemoryFile(bytes, holes: [0..<UInt64(size)])
        #expect(try compare(Image(layer: RawLayer(file: empty)), Image(layer: RawLayer(file: otherEmpty))).ranges == [])
        bytes[2 << 20] = 1
        let full = MemoryFile(bytes, holes: [0..<UInt64(1 << 20)])
        let ranges = try compare(Image(layer: RawLayer(file: empty)), Image(layer: RawLayer(file: full))).ranges
        #expect(ranges == [SectorRange(start: 4096, count: 1)])
        #expect(empty.reads.load(ordering: .relaxed) == 0)
        #expect(otherEmpty.reads.load(ordering: .relaxed) == 0)
        #expect(full.reads.load(ordering: .relaxed) > 0)
    }

    @Test func `takes no time for empty disks of any size`() throws {
        let size: UInt64 = 1 << 62
        let files = [size, size - 1].map { MadeFile(size: $0, isHole: true) }
        let disks = files.map { Image(layer: RawLayer(file: $0)) }
        #expect(try compare(disks[0], disks[1]).sum.sectors == 0)
        #expect(files.allSatisfy { $0.bytesRead == 0 })
    }

    @Test func `hands over what it found while it goes on`() throws {
        let zeros = MadeFile(size: 256 << 20)
        let odd = MadeFile(size: 256 << 20) { UInt8($0 % 2) }
        var count: UInt64 = 0
        var readAtFirst: UInt64 = 0
        let disks = [zeros, odd].map { Image(layer: RawLayer(file: $0)) }
        var lastProgress: UInt64 = 0
        let sum = try DiskComparison(disks[0], disks[1]).run(
            progress: { position in
                #expect(position > lastProgress)
                lastProgress = position
            },
            { range in
                if count == 0 { readAtFirst = odd.bytesRead }
                #expect(range == SectorRange(start: 2 * count + 1, count: 1))
                count += 1
            })
        #expect(count == 256 << 10 && sum.sectors == count && sum.ranges == count)
        #expect(lastProgress == 256 << 20)
        // No more than a fixed part was read ahead, whatever the disks have.
        #expect(readAtFirst <= zeros.size / 2)
    }

    @Test func `ends at damage with the place in the file, after what it found before it`() throws {
        let builder = QCOW2Builder(size: 8 << 20, clusters: Array(repeating: .data, count: 128))
        var built = builder.build()
        built.poke((1 << 63 | 1 << 40) as UInt64, at: built.entryOffset(of: 100))
        let damaged = try openQCOW2(MemoryFile(built.bytes, path: "damaged.qcow2"))
        var bytes = built.disk
        bytes[99 << 16] ^= 1
        let other = Disk.raw(bytes)
        for isSwapped in [false, true] {
            var ranges: [SectorRange] = []
            let error = #expect(throws: ImageError.self) {
                _ = try DiskComparison(isSwapped ? other.image : damaged, isSwapped ? damaged : other.image)
                    .run { ranges.append($0) }
            }
            #expect(
                error?.path == "damaged.qcow2" && error?.offset == HostOffset(1 << 40), "\(String(describing: error))")
            #expect(ranges == [SectorRange(start: 99 * 128, count: 1)])
        }
    }

    @Test func `ends with the error of who takes the ranges`() throws {
        struct Enough: Error {}
        let zeros = MadeFile(size: 1 << 50)
        let odd = MadeFile(size: 1 << 50) { UInt8($0 % 2) }
        let disks = [zeros, odd].map { Image(layer: RawLayer(file: $0)) }
        #expect(throws: Enough.self) { _ = try DiskComparison(disks[0], disks[1]).run { _ in throw Enough() } }
    }
}
