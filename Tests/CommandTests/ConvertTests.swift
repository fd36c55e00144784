import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `rblock convert` {
    /// Ways to store a disk, by the name of the new image, its format, and the options of `rblock convert` for it.
    static let targets: [(name: String, format: String, options: [String])] = [
        ("new.raw", "raw", []),
        ("new.qcow2", "qcow2", []),
        ("old.qcow2", "qcow2", ["-o", "compat=0.10"]),
        ("tiny.qcow2", "qcow2", ["-o", "cluster_size=512"]),
        ("extended.qcow2", "qcow2", ["-o", "cluster_size=128k,extended_l2=on"]),
        ("zlib.qcow2", "qcow2", ["--compress", "zlib"]),
        ("zstd.qcow2", "qcow2", ["--compress", "zstd", "--level", "1"]),
        ("sparse.vmdk", "vmdk", []),
        ("flat.vmdk", "vmdk", ["-o", "subformat=monolithicFlat"]),
        ("split.vmdk", "vmdk", ["-o", "subformat=twoGbMaxExtentSparse"]),
        ("stream.vmdk", "vmdk", ["-o", "subformat=streamOptimized"]),
    ]

    private func convert(_ arguments: String..., in folder: String? = nil) throws -> ToolResult {
        try RBlock.run(["convert"] + arguments, in: folder)
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `makes any image of any image, and qemu-img finds the same disk`(seed: UInt64) throws {
        let gallery = try Gallery(seed: seed)
        let folder = try TemporaryFolder()
        var random = SeededRandom(seed: seed)
        for (index, kind) in Gallery.kinds.enumerated() {
            // Every source once, every target once, and some more.
            let others = [
                Self.targets[(index + Int(seed)) % Self.targets.count], Self.targets.randomElement(using: &random),
            ]
            for target in others.compactMap({ $0 }) {
                let path = folder.file(target.name)
                let result = try RBlock.run(
                    ["convert", "--force", "--no-sync"] + target.options + [gallery.file(kind.name), path])
                let name = "seed \(seed): \(kind.name) to \(target.name)"
                #expect(result.status == 0 && result.errors == "", "\(name): \(result.errors)")
                let compared = try Tool.run(
                    "qemu-img", ["compare", "-f", "raw", "-F", target.format, gallery.disk, path])
                #expect(compared.status == 0, "\(name): \(compared.text)\(compared.errors)")
                if target.format == "qcow2" {
                    #expect(try QemuImg.check(path, format: "qcow2").status == 0, "\(name)")
                }
                #expect(try RBlock.run(["diff", gallery.disk, path]).status == 0, "\(name)")
            }
        }
    }

    @Test func `makes the disk of a snapshot, of a chain, and of a device`() throws {
        let images = try VerbImages([.chain])
        try Shell.check(
            """
            cd "$1"
            "$2" convert --snapshot 'before the update' middle.qcow2 snapshot.raw
            qemu-img convert -l 'snapshot.name=before the update' -O raw middle.qcow2 snapshot.expected
            cmp snapshot.raw snapshot.expected
            "$2" convert top.qcow2 top.raw
            qemu-img compare top.qcow2 top.raw
            """, images.path, Tool.rblock)
        guard Tool.canUseLoopDevices() else { return }
        let loop = try LoopDevice(images.folder.file("top.raw"))
        try Shell.check(
            "\"$2\" convert \"$3\" \"$1/device.qcow2\"; qemu-img compare -f raw -F qcow2 \"$3\" \"$1/device.qcow2\"",
            images.path, Tool.rblock, loop.path)
    }

    @Test func `leaves holes where there are zeros`() throws {
        let folder = try TemporaryFolder()
        let source = folder.file("a.raw")
        try Shell.check("truncate -s 1T \"$1\"; printf x | dd of=\"$1\" bs=1 seek=5G conv=notrunc status=none", source)
        let zeros = try folder.write(Array(repeating: 0, count: 8 << 20), to: "zeros.raw")
        #expect(try convert(source, folder.file("b.raw")).status == 0)
        #expect(try convert(zeros, folder.file("z.raw")).status == 0)
        for (name, limit) in [("b.raw", 64), ("z.raw", 0)] {
            let size = try Shell.check("du -k \"$1\" | cut -f 1", folder.file(name))
            #expect(Int(size) ?? .max <= limit, "\(name)")
        }
        #expect(try RBlock.run(["diff", source, folder.file("b.raw")]).status == 0)
    }

    @Test func `makes the same bytes of the same disk`() throws {
        let gallery = try Gallery(["disk.raw", "zlib.qcow2"], seed: 5)
        let folder = try TemporaryFolder()
        for (name, _, options) in Self.targets {
            for (source, sub) in [("disk.raw", "a"), ("zlib.qcow2", "b"), ("disk.raw", "c")] {
                let path = try folder.makeFolder(sub) + "/" + name
                let result = try RBlock.run(["convert", "--no-sync"] + options + [gallery.file(source), path])
                #expect(result.status == 0, "\(name): \(result.errors)")
            }
        }
        #expect(try Shell.run("cd \"$1\"; diff -r a b && diff -r a c", folder.path).status == 0)
    }

    @Test func `says in JSON what was made`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("disk.raw")
        try Shell.check(
            "truncate -s 3M \"$1\"; printf x | dd of=\"$1\" bs=1 seek=1M conv=notrunc status=none", path)
        let json = try RBlock.json("convert", path, folder.file("new.raw"))
        #expect(json["path"]?.text == folder.file("new.raw") && json["format"]?.text == "raw")
        #expect(json["virtual-size"]?.number == 3 << 20 && json["bytes-written"]?.number == 4096)
        #expect(json["bytes-zero"]?.number == 3 << 20 - 4096 && json["lost"]?.array?.isEmpty == true)
        let human = try convert(path, folder.file("other.raw"))
        #expect(
            human.text == "\(folder.file("other.raw")): raw, 3 MiB, of which 4 KiB hold data; takes 4 KiB on the host\n"
        )
    }

    @Test func `copies the sectors that differ, and no others`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"
            head -c 1M /dev/zero | tr '\\0' a > a.raw
            cp a.raw b.raw
            printf changed | dd of=b.raw bs=1 seek=700 conv=notrunc status=none
            printf changed | dd of=b.raw bs=1 seek=500000 conv=notrunc status=none
            "$2" diff --sectors a.raw b.raw > list || test $? = 1
            "$2" convert --from-sectors list b.raw c.raw
            "$2" convert --from-sectors - b.raw c.qcow2 < list
            "$2" diff a.raw b.raw | head -n -1 | "$2" convert --from-sectors - b.raw d.raw
            truncate -s 1M expected
            for sector in $(cat list); do dd if=b.raw of=expected bs=512 skip=$sector seek=$sector count=1 conv=notrunc status=none; done
            cmp c.raw expected
            cmp d.raw expected
            qemu-img compare -F raw c.qcow2 expected
            """, folder.path, Tool.rblock)
        let wrong = try Shell.run("echo x | \"$1\" convert --from-sectors - a.raw e.raw", Tool.rblock)
        #expect(wrong.status == 1)
        let bad = try Shell.run(
            "cd \"$1\"; echo 2048 | \"$2\" convert --from-sectors - a.raw e.raw", folder.path, Tool.rblock)
        #expect(bad.status == 1 && bad.errors.contains("sector 2048"), "\(bad.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder.file("e.raw")))
    }

    @Test(.enabled(if: Tool.canUseLoopDevices()))
    func `writes to a device, if that is forced`() throws {
        let gallery = try Gallery(["zlib.qcow2"], seed: 9)
        let folder = try TemporaryFolder()
        let file = try folder.write(Array(repeating: 0xee, count: 16 << 20), to: "device")
        let loop = try LoopDevice(file, isWritable: true)
        let refused = try convert(gallery.file("zlib.qcow2"), loop.path)
        #expect(refused.status == 1 && refused.errors.contains("--force"), "\(refused.errors)")
        let wrong = try convert("--force", "-O", "qcow2", gallery.file("zlib.qcow2"), loop.path)
        #expect(wrong.status == 64 && wrong.errors.contains("raw"), "\(wrong.errors)")
        #expect(try Shell.check("head -c 4 \"$1\" | od -An -tx1", loop.path) == " ee ee ee ee")
        #expect(try convert("--force", gallery.file("zlib.qcow2"), loop.path).status == 0)
        #expect(try Shell.run("cmp -n $(stat -c %s \"$1\") \"$1\" \"$2\"", gallery.disk, loop.path).status == 0)
        // A device of zeros needs none written: it has the disk as well.
        try Shell.check("truncate -s 0 \"$1\"; truncate -s 16M \"$1\"; losetup -c \"$2\"", file, loop.path)
        #expect(try convert("--force", "--target-is-zero", gallery.file("zlib.qcow2"), loop.path).status == 0)
        #expect(try Shell.run("cmp -n $(stat -c %s \"$1\") \"$1\" \"$2\"", gallery.disk, loop.path).status == 0)
        let itself = try convert("--force", loop.path, loop.path)
        #expect(itself.status == 1)
        try Shell.check("truncate -s 20M \"$1\"", folder.file("large.raw"))
        let small = try convert("--force", folder.file("large.raw"), loop.path)
        #expect(small.status == 1 && small.errors.contains("needs 20971520"), "\(small.errors)")
    }

    @Test(.enabled(if: Tool.canUseLoopDevices("mkfs.xfs", "filefrag")))
    func `shares space where the file system can`() throws {
        let system = try HostFileSystem("xfs", size: 400 << 20)
        try Pattern.writeDisk(system.file("disk.raw"), size: 20 << 20, seed: 4)
        try Shell.check(
            """
            cd "$1"
            "$2" convert disk.raw new.qcow2
            "$2" convert new.qcow2 new.raw
            cmp disk.raw new.raw
            qemu-img check new.qcow2
            for file in new.qcow2 new.raw; do filefrag -v $file | grep -q shared; done
            """, system.path, Tool.rblock)
        withExtendedLifetime(system) {}
    }

    @Test(
        arguments: [
            (["a.raw", "new"], "-O"), (["a.raw", "new.img"], "-O"),
            (["-o", "x", "a.raw", "new.raw"], "none of this name"),
            (["-o", "x=1", "a.raw", "new.raw"], "preallocation"), (["-o", "compat=3", "a.raw", "new.qcow2"], "1.1"),
            (["-o", "backing_file=a.raw", "a.raw", "new.qcow2"], "delta"),
            (["--compress", "zlib", "a.raw", "new.raw"], "compressed"),
            (["--compress", "zlib", "a.raw", "new.vmdk"], "streamOptimized"),
            (["--compress", "zstd", "--level", "20", "a.raw", "new.qcow2"], "19"),
            (["--level", "2", "a.raw", "new.qcow2"], "--compress"),
            (["--compress", "gzip", "a.raw", "new.qcow2"], "zstd"),
            (["--sector-size", "1000", "a.raw", "new.raw"], "4096"), (["a.raw"], "DST"),
        ] as [([String], String)])
    func `names what is wrong with its arguments`(arguments: [String], hint: String) throws {
        let folder = try TemporaryFolder()
        try folder.write(Array(repeating: 1, count: 4096), to: "a.raw")
        let result = try RBlock.run(["convert"] + arguments, in: folder.path)
        #expect(result.status == 64 && result.output.isEmpty && result.errors.contains(hint), "\(result.errors)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["a.raw"])
    }

    @Test(arguments: [
        "compat=0.10,refcount_bits=8", "compat=0.10,extended_l2=on", "cluster_size=1000", "cluster_size=4M",
        "refcount_bits=3", "refcount_bits=128", "extended_l2=on,cluster_size=8k", "compat=0.10,lazy_refcounts=on",
    ])
    func `refuses what qemu-img refuses`(options: String) throws {
        let folder = try TemporaryFolder()
        try folder.write(Array(repeating: 1, count: 4096), to: "a.raw")
        let result = try RBlock.run(["convert", "-o", options, "a.raw", "new.qcow2"], in: folder.path)
        #expect(result.status == 64 && result.output.isEmpty, "\(result.text)\(result.errors)")
        let theirs = try Tool.run(
            "qemu-img", ["convert", "-f", "raw", "-O", "qcow2", "-o", options, "a.raw", "theirs.qcow2"], in: folder.path
        )
        #expect(theirs.status != 0)
        #expect(!FileManager.default.fileExists(atPath: folder.file("new.qcow2")))
    }

    @Test func `lists the options of a format`() throws {
        for (format, name) in [("raw", "preallocation"), ("qcow2", "cluster_size"), ("vmdk", "subformat")] {
            let result = try RBlock.run(["create", "-f", format, "-o", "help"])
            #expect(result.status == 0 && result.text.contains("\n\(name) ") || result.text.hasPrefix("\(name) "))
        }
    }
}
