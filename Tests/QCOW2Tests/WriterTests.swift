import BlockImage
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `What is written` {
    /// Whatever can be chosen, by chance; small enough to be quick.
    private func image(_ seed: UInt64, using random: inout SeededRandom) -> NewQCOW2 {
        let bits = UInt64(9 + seed % 13)
        let clusters = UInt64.random(in: 0...(bits > 17 ? 5 : bits < 12 ? 700 : 60), using: &random)
        var image = NewQCOW2(size: clusters << bits)
        // Any end: a disk may end inside a cluster, and what it is made from inside a sector.
        image.size -= min(image.size, UInt64.random(in: 0..<1 << bits, using: &random))
        image.clusterSize = 1 << bits
        if seed % 4 == 0 {
            image.version = 2
            return image
        }
        image.refcountBits = 1 << UInt32.random(in: 0...6, using: &random)
        image.hasExtendedL2 = bits >= 14 && Bool.random(using: &random)
        image.hasLazyRefcounts = Bool.random(using: &random)
        if Bool.random(using: &random) { image.compressionType = .zstd }
        return image
    }

    @Test(arguments: UInt64(1)...52)
    func `is sound, and is read as it was by us and by QEMU`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let folder = try TemporaryFolder()
        var image = image(seed, using: &random)
        let isCompressed = Bool.random(using: &random)
        var backing: [UInt8] = []
        if Bool.random(using: &random) {
            let size = Int.random(in: 0...Int(image.size), using: &random) / 512 * 512
            backing = Array(repeating: 0x5a, count: size)
            try folder.write(backing, to: "backing")
            image.backing = NewQCOW2.Backing(name: Array("backing".utf8), format: "raw")
        } else if !isCompressed {
            image.preallocation = NewQCOW2.Preallocation.allCases.randomElement(using: &random) ?? .off
        }
        let granularity = Int(image.clusterSize) / (image.hasExtendedL2 ? 32 : 1)
        let unit = isCompressed ? Int(image.clusterSize) : granularity
        let disk = PiecesOfDisk.random(
            size: image.size, granularity: unit,
            withZeros: image.backing != nil, using: &random)
        let path = folder.file("written.qcow2")
        let level = isCompressed ? Int.random(in: image.compressionType.levels, using: &random) : nil
        try write(disk, as: image, compressionLevel: level, to: path)

        let comment: Comment = "seed \(seed): \(image)"
        let check = try QemuImg.check(path, format: "qcow2")
        #expect(check.status == 0, "\(comment): \(check)")
        let bytes = try contents(path)
        let file = MemoryFile(bytes)
        #expect(try QCOW2Description(file).check(file).findings == [], comment)
        var expected = disk.disk(over: backing)
        expected += Array(repeating: 0, count: -expected.count & 511)
        let under = Image(layer: RawLayer(file: MemoryFile(backing)))
        let read = try openQCOW2(file, backing: image.backing == nil ? nil : under)
        #expect(try areSame(read.wholeDisk(), expected), comment)
        let raw = folder.file("raw")
        let (isRead, errors) = try QemuImg.reads(path, format: "qcow2", into: raw)
        #expect(isRead, "\(comment): \(errors)")
        if isRead { #expect(try areSame(contents(raw), expected), comment) }
        try expectInfo(of: path, toBe: image, comment)

        // In other pieces it is the same file.
        let again = folder.file("again.qcow2")
        try write(disk.divided(by: unit), as: image, compressionLevel: level, to: again)
        #expect(try areSame(contents(again), bytes), comment)
    }

    private func expectInfo(of path: String, toBe image: NewQCOW2, _ comment: Comment) throws {
        let info = try QemuImg.info(path, format: "qcow2")
        #expect(info["virtual-size"] as? UInt64 == (image.size + 511) & ~511, comment)
        #expect(info["cluster-size"] as? UInt64 == image.clusterSize, comment)
        #expect(info["backing-filename"] as? String == image.backing.map { _ in "backing" }, comment)
        #expect(info["backing-filename-format"] as? String == image.backing?.format, comment)
        let specific = try #require(info["format-specific"] as? [String: Any])
        let data = try #require(specific["data"] as? [String: Any])
        #expect(data["compat"] as? String == (image.version == 2 ? "0.10" : "1.1"), comment)
        #expect(data["refcount-bits"] as? UInt32 == image.refcountBits, comment)
        guard image.version == 3 else { return }
        #expect(data["compression-type"] as? String == image.compressionType.rawValue, comment)
        #expect(data["lazy-refcounts"] as? Bool == image.hasLazyRefcounts, comment)
        #expect(data["extended-l2"] as? Bool == image.hasExtendedL2, comment)
        #expect(data["corrupt"] as? Bool == false, comment)
    }
}
