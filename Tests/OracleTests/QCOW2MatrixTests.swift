import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `Everything that qemu-img makes of QCOW2 is read as qemu-img reads it` {
    enum Backing: CaseIterable, Sendable {
        case none, raw, qcow2, vmdk, shorter, longer, twoDeep
    }

    struct Kind: Sendable, CustomTestStringConvertible {
        var clusterSize: UInt64
        var compat: String
        var compression: String?
        var testDescription: String { "cluster \(clusterSize), compat \(compat), \(compression ?? "plain")" }

        var options: [String] {
            ["cluster_size=\(clusterSize)", "compat=\(compat)"]
                + (compression == "zstd" ? ["compression_type=zstd"] : [])
        }
    }

    static let kinds: [Kind] = [512, 4096, 65536, 2 << 20].flatMap { size in
        [("0.10", nil), ("0.10", "zlib"), ("1.1", nil), ("1.1", "zlib"), ("1.1", "zstd")].map {
            Kind(clusterSize: size, compat: $0.0, compression: $0.1)
        }
    }

    @Test(arguments: kinds, Backing.allCases)
    func `every cluster size, version and compression over every kind of backing file`(
        kind: Kind, backing: Backing
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let folder = oracle.folder
        let size = kind.clusterSize == 2 << 20 ? 5 << 20 | 3 * 512 : Disk.oddSize
        guard backing != .none else {
            let source = try Disk.write("source.raw", in: folder, size: size)
            try QemuImg.convert(
                source, to: folder.file("image.qcow2"), options: kind.options, compressed: kind.compression != nil)
            return try oracle.agrees(on: "image.qcow2")
        }
        let base = try makeBase(backing, in: folder, size: size, kind: kind)
        try QemuImg.create(folder.file("image.qcow2"), size: size, options: kind.options, backing: base)
        var pattern: [UInt8] = []
        for index in 0..<29 { pattern += Pattern.sector(UInt64(index), salt: 7) }
        try folder.write(pattern, to: "pattern")
        try QemuImg.io(
            folder.file("image.qcow2"),
            Disk.writes(
                over: size, cluster: kind.clusterSize, compressed: kind.compression != nil,
                source: folder.file("pattern"), seed: kind.clusterSize + 3))
        try oracle.agrees(on: "image.qcow2")
    }

    private func makeBase(
        _ backing: Backing, in folder: TemporaryFolder, size: UInt64, kind: Kind
    ) throws -> (name: String, format: String?) {
        let baseSize =
            switch backing {
            case .shorter: size / 2 & ~511 | 512
            case .longer: size + (1 << 20)
            default: size
            }
        try Disk.write("base.raw", in: folder, size: baseSize, seed: 3)
        switch backing {
        case .none, .raw, .shorter, .longer: return ("base.raw", "raw")
        case .qcow2:
            try QemuImg.convert(folder.file("base.raw"), to: folder.file("base.qcow2"), options: ["cluster_size=4k"])
            return ("base.qcow2", "qcow2")
        case .vmdk:
            try QemuImg.convert(folder.file("base.raw"), to: folder.file("base.vmdk"), as: "vmdk")
            return ("base.vmdk", "vmdk")
        case .twoDeep:
            let middle = folder.file("middle.qcow2")
            try QemuImg.create(middle, size: size - 65536, options: kind.options, backing: ("base.raw", "raw"))
            try QemuImg.io(
                middle, ["write -P 77 0 200k", "write -z 1M 300k", "write -P 78 \(size - 65536 - 1024) 1024"])
            return ("middle.qcow2", "qcow2")
        }
    }

    @Test(arguments: [0, 512, 65536, 65536 * 8192 + 512] as [UInt64])
    func `disks of no bytes, of one sector, and of one sector in a second L2 table`(size: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.qcow2")
        try QemuImg.create(path, size: size)
        if size > 0 { try QemuImg.io(path, ["write -P 9 \(size - 512) 512"]) }
        try oracle.agrees(on: "image.qcow2")
    }

    @Test(arguments: ["off", "metadata", "falloc", "full"], ["0.10", "1.1"])
    func `every way to preallocate, written here and there`(preallocation: String, compat: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.qcow2")
        try QemuImg.create(path, size: Disk.oddSize, options: ["preallocation=\(preallocation)", "compat=\(compat)"])
        try oracle.agrees(on: "image.qcow2")
        try QemuImg.io(path, ["write -P 9 100k 70k", "write -z 1M 200k", "discard 1280k 128k"])
        try oracle.agrees(on: "image.qcow2")
    }

    @Test(arguments: [1, 2, 8, 16, 32, 64], [false, true])
    func `every width of refcounts`(bits: Int, lazy: Bool) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: 1 << 20)
        try QemuImg.convert(
            source, to: oracle.folder.file("image.qcow2"),
            options: ["refcount_bits=\(bits)", "lazy_refcounts=\(lazy ? "on" : "off")"])
        try oracle.agrees(on: "image.qcow2")
    }

    @Test(arguments: ["4M", "1M"])
    func `an image that grew, or shrank below its L1 table`(newSize: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.qcow2")
        let source = try Disk.write("source.raw", in: oracle.folder, size: 2 << 20 | 512)
        try QemuImg.convert(source, to: path, options: ["cluster_size=512"])
        try QemuImg.run("resize", "-q", "-f", "qcow2", "--shrink", path, newSize)
        try oracle.agrees(on: "image.qcow2")
    }

    @Test func `clusters that a snapshot shares, and the disk after going back to it`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.qcow2")
        let source = try Disk.write("source.raw", in: oracle.folder, size: Disk.oddSize)
        try QemuImg.convert(source, to: path)
        try QemuImg.run("snapshot", "-c", "before", path)
        try QemuImg.io(path, ["write -P 5 0 1M", "write -z 2M 300k", "discard 1M 128k"])
        try oracle.agrees(on: "image.qcow2")
        try QemuImg.run("snapshot", "-c", "after", path)
        try QemuImg.run("snapshot", "-a", "before", path)
        try oracle.agrees(on: "image.qcow2")
    }

    @Test(arguments: ["0.10", "1.1"])
    func `zeros that are written keep the backing file from showing, with and without host clusters`(
        compat: String
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        try Disk.write("base.raw", in: oracle.folder, size: 2 << 20, seed: 8)
        let path = oracle.folder.file("image.qcow2")
        try QemuImg.create(path, size: 3 << 20, options: ["compat=\(compat)"], backing: ("base.raw", "raw"))
        try QemuImg.io(
            path,
            [
                "write -P 3 0 512k", "write -z 64k 128k", "write -z -u 256k 64k", "discard 384k 64k",
                "write -z 700k 90k", "write -P 4 1000k 1k", "write -z -u 1M 512k", "write -P 5 2047k 2k",
            ])
        try oracle.agrees(on: "image.qcow2")
    }
}
