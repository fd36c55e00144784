import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `What is said of an image agrees, key by key, with qemu-img info` {
    /// The differences for the image that `make` makes at the path that it is given.
    private func differences(
        as format: ImageFormat = .qcow2, _ make: (TemporaryFolder, String) throws -> Void
    ) throws -> [String] {
        let oracle = try Oracle(try TemporaryFolder())
        let name = "image.\(format.rawValue)"
        try make(oracle.folder, oracle.folder.file(name))
        return try oracle.differencesOfInfo(oracle.open(name, as: format), format)
    }

    @Test(
        arguments: [
            ["compat=0.10"], ["compat=1.1"], ["compression_type=zstd"], ["lazy_refcounts=on"], ["refcount_bits=1"],
            ["refcount_bits=64", "cluster_size=2M"], ["cluster_size=512"], ["preallocation=full"],
            ["extended_l2=on"],
        ])
    func `every option of create, also of images that are refused`(options: [String]) throws {
        #expect(try differences { _, path in try QemuImg.create(path, size: 3 << 20, options: options) } == [])
    }

    @Test(arguments: [false, true])
    func `an external data file, which is refused`(isRaw: Bool) throws {
        let found = try differences { folder, path in
            try QemuImg.create(
                path, size: 3 << 20,
                options: ["data_file=\(folder.file("data"))", "data_file_raw=\(isRaw ? "on" : "off")"])
        }
        #expect(found == [])
    }

    @Test func `several internal snapshots`() throws {
        let found = try differences { _, path in
            try QemuImg.create(path, size: 3 << 20)
            for name in ["first", "second one", "dritter Ü"] {
                try QemuImg.run("snapshot", "-c", name, path)
                try QemuImg.io(path, ["write -P 1 0 64k"])
            }
        }
        #expect(found == [])
    }

    @Test func `a snapshot of a machine that had run for a while, counting its instructions`() throws {
        let found = try differences { _, path in
            try QemuImg.create(path, size: 3 << 20)
            try QemuImg.run("snapshot", "-c", "snapshot", path)
            let header = try Data(contentsOf: URL(fileURLWithPath: path)).prefix(72)
            // The table's offset is the header's last field; below 2^32 here.
            let table = header.suffix(4).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
            try poke(path, [0, 0, 1, 0x1f, 0x71, 0xfb, 0x04, 0xcb], at: table + 24)
            try poke(path, [0, 0, 0, 3, 0, 0, 2, 1], at: table + 40)
            try poke(path, [0, 0, 0, 0, 0, 1, 0, 77], at: table + 56)
        }
        #expect(found == [])
    }

    @Test func `bitmaps that are enabled, disabled, coarse, and left in use`() throws {
        let found = try differences { _, path in
            try QemuImg.create(path, size: 3 << 20)
            try QemuImg.run("bitmap", "--add", "-g", "512", path, "fine")
            try QemuImg.run("bitmap", "--add", "-g", "2M", "--disable", path, "coarse and off")
            try QemuImg.run("bitmap", "--add", path, "plain")
        }
        #expect(found == [])
        let inUse = try differences { _, path in
            try QemuImg.create(path, size: 3 << 20)
            try QemuImg.run("bitmap", "--add", path, "left behind")
            var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
            let name = try #require(Data(bytes).range(of: Data("left behind".utf8)))
            bytes[name.lowerBound - 24 + 15] |= 1
            try Data(bytes).write(to: URL(fileURLWithPath: path))
        }
        #expect(inUse == [])
    }

    @Test(arguments: [UInt8(0), 1, 2, 3])
    func `the dirty bit and the corrupt bit`(bits: UInt8) throws {
        let found = try differences { _, path in
            try QemuImg.create(path, size: 3 << 20)
            try poke(path, [bits], at: 79)
        }
        #expect(found == [])
    }

    @Test(arguments: [
        "base.raw", "./base.raw", "sub/base.raw", "sub/../base.raw", "/nowhere/base.raw", "a:b.raw", "./a:b.raw",
        "file:base.raw", "nbd://host/export", #"json:{"file.filename":"base.raw"}"#, "ümlaut \"quoted\".raw",
    ])
    func `every way to name a backing file, with and without its format, there or not`(name: String) throws {
        for format in ["raw", "qcow2", "", "raw\0\0", nil] {
            let found = try differences { _, path in
                try QemuImg.create(path, size: 3 << 20)
                try rename(path, backing: name, format: format)
            }
            #expect(found == [], "\(format ?? "no format")")
        }
    }

    /// Has the image name a backing file, without which qemu-img would not do it.
    private func rename(_ path: String, backing: String, format: String?) throws {
        var built = QCOW2Builder(size: 3 << 20)
        built.backingFile = backing
        if let format { built.extensions = [(0xe279_2aca, Array(format.utf8))] }
        try Data(built.build().bytes).write(to: URL(fileURLWithPath: path))
    }

    @Test(arguments: ["monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat", "twoGbMaxExtentFlat", "delta"])
    func `every kind of VMDK`(kind: String) throws {
        let found = try differences(as: .vmdk) { folder, path in
            guard kind == "delta" else {
                return try QemuImg.create(path, format: "vmdk", size: 3 << 30, options: ["subformat=\(kind)"])
            }
            try QemuImg.create(folder.file("base.vmdk"), format: "vmdk", size: 3 << 20)
            try QemuImg.create(path, format: "vmdk", size: nil, backing: (folder.file("base.vmdk"), "vmdk"))
            try QemuImg.io(path, format: "vmdk", ["write 0 64k"])
        }
        #expect(found == [])
    }

    @Test(arguments: [0, 512, 3 << 20])
    func `raw disks, with holes and without`(size: UInt64) throws {
        let found = try differences(as: .raw) { folder, path in
            try Disk.write("image.raw", in: folder, size: size)
            #expect(path.hasSuffix("image.raw"))
        }
        #expect(found == [])
    }

    @Test func `a raw disk's last bytes count with us, while qemu-img rounds the size up to whole sectors`() throws {
        let found = try differences(as: .raw) { folder, _ in
            try folder.write(Array(repeating: 1, count: 1000), to: "image.raw")
        }
        #expect(found == [".virtual-size: qemu-img says 1024, we say 1000"])
    }
}

/// Writes `bytes` at `offset` of the file.
func poke(_ path: String, _ bytes: [UInt8], at offset: UInt64) throws {
    let file = try #require(FileHandle(forUpdatingAtPath: path))
    defer { try? file.close() }
    try file.seek(toOffset: offset)
    try file.write(contentsOf: Data(bytes))
}
