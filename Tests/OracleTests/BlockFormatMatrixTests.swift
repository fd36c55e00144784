import BlockImage
import FormatCore
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

/// Formats that store a disk in blocks under one table: VHD and VDI.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "7zz")))
struct `Every VHD and VDI` {
    struct Kind: Sendable, CustomTestStringConvertible {
        var format: String
        var options: [String]
        var testDescription: String { "\(format) \(options.joined(separator: ","))" }
        var imageFormat: ImageFormat { ImageFormat(rawValue: format) ?? .raw }
    }

    static let kinds = [
        Kind(format: "vpc", options: []), Kind(format: "vpc", options: ["subformat=fixed"]),
        Kind(format: "vpc", options: ["force_size=on"]),
        Kind(format: "vpc", options: ["subformat=fixed", "force_size=on"]),
        Kind(format: "vdi", options: []), Kind(format: "vdi", options: ["static=on"]),
    ]

    /// QEMU checks no VHD, and counts nothing in a VDI.
    private func agrees(_ kind: Kind, _ oracle: Oracle, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try oracle.agrees(on: "image", as: kind.imageFormat, isChecked: false, sourceLocation: sourceLocation)
        let path = oracle.folder.file("image")
        let (ours, findings) = try CheckVerdict.ours(path, kind.imageFormat)
        #expect(ours.status == 0 && findings == [], "\(findings)", sourceLocation: sourceLocation)
        let theirs = try CheckVerdict.theirs(path, kind.imageFormat)
        #expect(theirs.status == (kind.format == "vdi" ? 0 : 63), sourceLocation: sourceLocation)
    }

    @Test(arguments: kinds, [512, Disk.oddSize, 5 << 20] as [UInt64])
    func `that qemu-img makes is read as qemu-img reads it`(kind: Kind, size: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: size)
        let path = oracle.folder.file("image")
        try QemuImg.convert(source, to: path, as: kind.format, options: kind.options)
        try agrees(kind, oracle)
    }

    @Test(arguments: kinds)
    func `that qemu-io writes, zeroes and discards here and there is read as it reads it`(kind: Kind) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image")
        try QemuImg.create(path, format: kind.format, size: 9 << 20, options: kind.options)
        try agrees(kind, oracle)
        try QemuImg.io(
            path, format: kind.format,
            ["write -P 9 100k 70k", "write -P 8 7M 512", "write -z 5M 200k", "write -P 7 4090k 8k", "discard 2M 1M"])
        try agrees(kind, oracle)
    }

    /// What is made here, with options of ours.
    static let made = [
        Kind(format: "vpc", options: []), Kind(format: "vpc", options: ["subformat=fixed"]),
        Kind(format: "vpc", options: ["force_size=off"]), Kind(format: "vpc", options: ["azure"]),
        Kind(format: "vpc", options: ["uuid=12345678-9abc-def0-1234-56789abcdef0"]),
        Kind(format: "vdi", options: []), Kind(format: "vdi", options: ["static"]),
        Kind(format: "vdi", options: ["uuid={12345678-9abc-def0-1234-56789abcdef0}"]),
    ]

    @Test(arguments: made, 1...2 as ClosedRange<UInt64>)
    func `that is written here is read by all`(kind: Kind, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let oracle = try Oracle(try TemporaryFolder())
        let count = seed == 1 ? 7 << 20 | 512 : Int.random(in: 1...4 << 20, using: &random)
        let model = GrainModel(
            size: (count + 511) / 512 * 512, grainSize: 4096, seed: seed, of: [.absent, .zero, .data], longestRun: 60)
        var disk = Array(model.disk().prefix(count))
        for index in disk.indices.suffix(700) { disk[index] = UInt8(truncatingIfNeeded: index) | 1 }
        var list = ImageOptionList()
        try list.add(kind.options.joined(separator: ","))
        let new = try NewImage(kind.imageFormat, size: UInt64(count), list)
        disk += [UInt8](repeating: 0, count: Int(new.size) - count)
        for name in ["image", "again"] {
            let writer = try new.writer(named: name, in: FolderFiles(oracle.folder.path))
            // However it comes, the file is the same.
            var pieces = SeededRandom(seed: name == "again" ? 77 : 78)
            try writer.write(disk: disk, random: &pieces)
        }
        let path = oracle.folder.file("image")
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        #expect(areSame(bytes, try Data(contentsOf: URL(fileURLWithPath: oracle.folder.file("again")))))
        try agrees(kind, oracle)
        let opened = oracle.open("image", as: kind.imageFormat)
        #expect(areSame(try opened.disk.result.get().wholeDisk(), disk))
        #expect(try QemuImg.info(path, format: kind.format)["virtual-size"] as? UInt64 == UInt64(disk.count))
        #expect(areSame(try Self.read(path, as: kind.format), disk))
        if kind.options.contains("azure") { #expect(disk.count % (1 << 20) == 0 && bytes.count == disk.count + 512) }
    }

    /// The disk of the image at `path`, and of its parents beside it, as 7-Zip reads it.
    private static func read(_ path: String, as format: String) throws -> Data {
        let type = format == "vpc" ? "-tvhd" : "-tvdi"
        let result = try Tool.run("7zz", ["x", "-so", type, path], timeout: 60)
        #expect(result.status == 0, "7zz: \(result.errors)")
        return result.output
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `that differs from a parent is read as 7-Zip reads it`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let oracle = try Oracle(try TemporaryFolder())
        let size = Int.random(in: 2...12, using: &random) << 18
        var (base, disk) = VHDBuilder.random(kind: 3, size: size, blockSize: 2 << 20, over: [], using: &random)
        // 7-Zip wants all sectors of a dynamic disk to be written that are there.
        for index in base.blocks.keys { base.blocks[index]?.written = [Bool](repeating: true, count: 4096) }
        disk = [UInt8](repeating: 0, count: size)
        for (index, block) in base.blocks {
            let count = min(block.bytes.count, size - index << 21)
            disk.replaceSubrange(index << 21..<index << 21 + count, with: block.bytes.prefix(count))
        }
        try oracle.folder.write(base.build().bytes, to: "level0.vhd")
        for level in 1...2 {
            var (child, above) = VHDBuilder.random(
                kind: 4, size: size, blockSize: 2 << 20, over: disk, using: &random)
            child.identity = [UInt8](repeating: UInt8(level), count: 16)
            let name = "level\(level - 1).vhd"
            child.parent = (level == 1 ? base.identity : [UInt8](repeating: 1, count: 16), 0, name)
            child.locators = [("W2ru", ".\\\(name)".utf16LittleBytes)]
            try oracle.folder.write(child.build().bytes, to: "level\(level).vhd")
            disk = above
            let image = try oracle.open("level\(level).vhd", as: .vhd).disk.result.get()
            #expect(areSame(try image.wholeDisk(), disk), "seed \(seed)")
            #expect(areSame(try Self.read(oracle.folder.file("level\(level).vhd"), as: "vpc"), disk), "seed \(seed)")
            above = []
        }
    }
}
