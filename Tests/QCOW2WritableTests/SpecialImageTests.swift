import BlockImage
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import QCOW2

@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `An image that is written to` {
    @Test(arguments: [(512, 64), (512, 1), (1024, 64), (2048, 32)] as [(UInt64, UInt32)])
    func `gets as many refcount blocks and refcount tables as it needs`(clusterSize: UInt64, bits: UInt32) throws {
        var image = NewQCOW2(size: 5 << 20)
        image.clusterSize = clusterSize
        image.refcountBits = bits
        var disk = try WrittenDisk(image, seed: UInt64(bits))
        let before = disk.layer.metadata.withLock { $0.refcountTable.offset }
        // In pieces that fill the whole disk, in an order of their own.
        let piece = 24 << 10
        for start in stride(from: 0, to: disk.expected.count, by: piece).shuffled(using: &disk.random) {
            let bytes = [UInt8].noise(min(piece, disk.expected.count - start), salt: UInt64(start))
            try disk.layer.write(bytes, at: UInt64(start))
            disk.expected.overwrite(from: start, with: bytes)
            if Int.random(in: 0..<20, using: &disk.random) == 0 { try disk.layer.flush() }
        }
        if bits == 64, clusterSize == 512 {
            #expect(disk.layer.metadata.withLock { $0.refcountTable.offset } != before)
        }
        for _ in 0..<60 { _ = try disk.step(most: 300_000) }
        try disk.finish()
    }

    @Test(arguments: [(9, false), (12, false), (16, false), (16, true), (18, true), (21, false)], ["zlib", "zstd"])
    func `has compressed clusters that are read, and replaced by plain ones`(
        clusters: (bits: Int, isExtended: Bool), type: String
    ) throws {
        let folder = try TemporaryFolder()
        let clusterSize = 1 << clusters.bits
        let raw = folder.file("disk.raw")
        try Pattern.writeDisk(raw, size: UInt64(max(clusterSize * 6, 300 << 10) + 1024), seed: UInt64(clusters.bits))
        try QemuImg.convert(
            raw, to: folder.file("disk.qcow2"),
            options: [
                "cluster_size=\(clusterSize)", "compression_type=\(type)",
                "extended_l2=\(clusters.isExtended ? "on" : "off")",
            ], compressed: true)
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("disk.qcow2"))))
        var disk = try WrittenDisk(MemoryWritableFile(bytes), seed: UInt64(clusters.bits))
        #expect(areSame(disk.expected, try Data(contentsOf: URL(fileURLWithPath: raw))))
        for _ in 0..<100 { _ = try disk.step(most: max(clusterSize * 2, 20000)) }
        try disk.finish()
    }

    @Test(arguments: [
        ("preallocation=metadata", "off"), ("preallocation=metadata", "on"), ("lazy_refcounts=on", "off"),
    ])
    func `may be one that QEMU made with other options`(option: String, extended: String) throws {
        let folder = try TemporaryFolder()
        try QemuImg.create(
            folder.file("disk.qcow2"), size: 3 << 20, options: [option, "extended_l2=\(extended)"])
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("disk.qcow2"))))
        var disk = try WrittenDisk(MemoryWritableFile(bytes), seed: 5)
        for _ in 0..<100 { _ = try disk.step(most: 200_000) }
        try disk.finish()
    }

    @Test func `writes its tables before they take much memory`() throws {
        var image = NewQCOW2(size: 12 << 30)
        image.clusterSize = 4096
        let empty = MemoryWritableFile()
        try QCOW2Overlay.create(image, in: empty)
        let file = MemoryWritableFile(empty.bytes)
        let below = Image(layer: RawLayer(file: MemoryFile([1])))
        let layer = try openWritable(file, below: below)
        // One request that changes 6,144 tables.
        try layer.zero(12 << 30, at: GuestOffset(0), mayUnmap: true)
        #expect(layer.metadata.withLock { $0.pages.dirty.count } <= WritableQCOW2.dirtyPageLimit + 8)
        try layer.close()
        let check = try QCOW2Description(MemoryFile(file.bytes)).check(MemoryFile(file.bytes))
        #expect(check.corruptions + check.leaks + check.checkErrors == 0)
    }

    @Test func `may be larger than all that is stored`() throws {
        let folder = try TemporaryFolder()
        var image = QCOW2Overlay.image(size: 1 << 46, over: nil)
        image.size -= 512
        let empty = MemoryWritableFile()
        try QCOW2Overlay.create(image, in: empty)
        let file = MemoryWritableFile(empty.bytes)
        let layer = try openWritable(file)
        let places: [UInt64] = [0, 1 << 31, 1 << 32, 1 << 40, image.size - 512]
        for place in places { try layer.write(.noise(512, salt: place), at: place) }
        // Nothing lies below: no table is made for what was never written.
        try layer.discard(image.size - (1 << 33), at: GuestOffset(1 << 33))
        try layer.zero((1 << 34) - 4096, at: GuestOffset((1 << 35) + 512), mayUnmap: true)
        try layer.close()
        #expect(file.bytes.count < 4 << 20)
        try folder.write(file.bytes, to: "disk.qcow2")
        let check = try QemuImg.check(folder.file("disk.qcow2"), format: "qcow2")
        #expect(check.status == 0, "\(check)")
        let disk = Image(layer: layer)
        for place in places {
            let expected = place < 1 << 33 ? [UInt8].noise(512, salt: place) : [UInt8](repeating: 0, count: 512)
            #expect(try areSame(disk.bytes(512, at: place), expected), "at \(place)")
        }
    }
}
