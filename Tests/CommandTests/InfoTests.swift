import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `rblock info` {
    @Test func `tells people everything that qemu-img info tells them, in its words`() throws {
        let images = try VerbImages()
        for name in VerbImages.names {
            let path = images.folder.file(name)
            // Only the extents know what the extents of a VMDK image are like.
            let ours = try RBlock.run(["info", "--backing-chain", path])
            #expect(ours.status == 0 && ours.errors == "", "\(name): \(ours.errors)")
            let theirs = try Tool.run("qemu-img", ["info", "--backing-chain", path])
            #expect(theirs.status == 0, "\(name): \(theirs.errors)")
            // The facts of a format come in another order.
            let said = Set(ours.text.split(separator: "\n"))
            let missing = theirs.text.split(separator: "\n").filter { !said.contains($0) }
            #expect(missing == [], "\(name): \(ours.text)")
            let titles = ["image: ", "file format: ", "virtual size: ", "disk size: ", "cluster_size: "]
            let heads = ours.text.split(separator: "\n").map { line in titles.first { line.hasPrefix($0) } ?? "" }
            #expect(heads.filter { $0 != "" }.prefix(4).elementsEqual(titles.prefix(4)), "\(name)")
        }
    }

    @Test func `says the same with and without the files that an image names, but for what only these know`() throws {
        let images = try VerbImages()
        for name in VerbImages.names {
            let path = images.folder.file(name)
            let alone = try RBlock.json("info", path).leaves
            let chain = try #require(try RBlock.json("info", "--backing-chain", path).array?.first).leaves
            let differing = Set(alone.keys).union(chain.keys).filter { alone[$0] != chain[$0] }
            var expected: Set<String> = []
            if ["twoGbMaxExtentSparse.vmdk", "monolithicFlat.vmdk", "twoGbMaxExtentFlat.vmdk"].contains(name) {
                // What the files of the extents take on the host, and the size of their grains.
                expected = ["actual-size"]
                if name.hasPrefix("twoGbMaxExtentSparse") {
                    expected.formUnion(["cluster-size", "format-specific.data.extents.0.cluster-size"])
                }
            }
            #expect(differing == expected, "\(name)")
        }
    }

    @Test func `counts what all files of an image take, where it opens them`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; head -c 6M /dev/urandom >raw; split -b 2M -a 3 --numeric-suffixes=1 raw disk.
            mv raw disk.raw; ewfacquire -u -q -t case -C c -D d -E e -e x -N n -f encase6 -c none -S 2MiB disk.raw >log 2>&1
            """, folder.path)
        for (image, files) in [
            ("disk.001", ["disk.001", "disk.002", "disk.003"]),
            ("case.E01", ["case.E01", "case.E02", "case.E03", "case.E04"]),
        ] {
            let sizes = try Shell.check(
                "cd \"$1\"; shift; stat -c '%b*%B' \"$@\"", arguments: [folder.path] + files)
            let sum = sizes.split(whereSeparator: \.isWhitespace).reduce(0) { sum, blocks in
                sum + blocks.split(separator: "*").reduce(1) { $0 * (Int($1) ?? 0) }
            }
            let chain = try RBlock.json("info", "--backing-chain", image, in: folder.path)
            #expect(chain.array?.first?["actual-size"]?.number == sum && sum > 0, "\(image)")
        }
    }

    @Test func `writes an object for one image, an array for its chain, and an array of these for several`() throws {
        let images = try VerbImages([.chain])
        let one = try RBlock.json("info", "top.qcow2", in: images.path)
        #expect(one["filename"]?.text == "top.qcow2" && one["format"]?.text == "qcow2")
        #expect(one["full-backing-filename"]?.text == images.folder.file("middle.qcow2"))
        let chain = try RBlock.json("info", "--backing-chain", "top.qcow2", in: images.path)
        let names = ["top.qcow2", images.folder.file("middle.qcow2"), images.folder.file("base.raw")]
        #expect(chain.array?.map { $0["filename"]?.text } == names)
        #expect(chain.array?.first == one)
        let other = try RBlock.json("info", "base.raw", in: images.path)
        #expect(try RBlock.json("info", "top.qcow2", "base.raw", in: images.path) == .array([one, other]))
        let both = try RBlock.json("info", "--backing-chain", "top.qcow2", "base.raw", in: images.path)
        #expect(both == .array([chain, .array([other])]))
    }

    @Test func `goes on after an image that cannot be read, and says as much of it as can be said`() throws {
        let images = try VerbImages([.chain])
        try Shell.check(
            """
            cd "$1"
            printf 'QFI\\xfb\\0\\0\\0\\3' >cut.qcow2
            cp middle.qcow2 future.qcow2
            printf '\\x80' | dd of=future.qcow2 bs=1 seek=79 conv=notrunc status=none
            """, images.path)
        let names = ["gone.qcow2", "cut.qcow2", "base.raw", "future.qcow2", "top.qcow2"]
        let result = try RBlock.run(["info", "--output", "json"] + names, in: images.path)
        #expect(result.status == 1)
        let found = try #require(try JSONValue(parsing: result.output).array)
        #expect(found.map { $0["filename"]?.text } == names)
        #expect(found.map { $0["error", "code"]?.text } == ["not-found", "corrupt", nil, "unsupported", nil])
        #expect(found.map { $0["format"]?.text } == [nil, "qcow2", "raw", "qcow2", "qcow2"])
        #expect(found[3]["virtual-size"]?.number == 5 << 20)
        let lines = result.errors.split(separator: "\n")
        #expect(lines.count == 3 && lines.allSatisfy { $0.hasPrefix("rblock: ") }, "\(result.errors)")
        let human = try RBlock.run(["info"] + names, in: images.path)
        #expect(human.status == 1 && human.errors == result.errors)
        let told = human.text.split(separator: "\n").filter { $0.hasPrefix("image: ") }
        #expect(told == names.dropFirst().map { "image: \($0)" })
    }

    @Test(.enabled(if: Tool.areThere("strace")))
    func `opens no other file than the one that is named, and needs none`() throws {
        let images = try VerbImages([.chain, .locked, .split, .vmdk])
        let others = [
            ("top.qcow2", "middle.qcow2"), ("locked.qcow2", "base.raw"), ("split.qcow2", "outside.data"),
            ("twoGbMaxExtentSparse.vmdk", "twoGbMaxExtentSparse-s001.vmdk"),
            ("monolithicFlat.vmdk", "monolithicFlat-flat.vmdk"),
            ("twoGbMaxExtentFlat.vmdk", "twoGbMaxExtentFlat-f001.vmdk"),
        ]
        // By a name that says nothing of its format, too.
        try Shell.check("cp \"$1/top.qcow2\" \"$1/unnamed\"", images.path)
        for (name, other) in others + [("unnamed", "middle.qcow2")] {
            let path = images.folder.file(name)
            let log = images.folder.file("strace.log")
            let first = try Tool.run(
                "strace", ["-f", "-o", log, "-e", "trace=%file", Tool.rblock, "info", "--output", "json", path])
            #expect(first.status == 0 && first.errors == "", "\(name): \(first.errors)")
            let calls = try String(contentsOfFile: log, encoding: .utf8)
            #expect(calls.contains("\"\(name)\"") && !calls.contains(other), "\(name): \(calls)")
            try FileManager.default.moveItem(atPath: images.folder.file(other), toPath: images.folder.file("away"))
            let second = try RBlock.run(["info", "--output", "json", path])
            #expect(second.status == 0 && second.errors == "" && second.output == first.output, "\(second.errors)")
            let chain = try RBlock.run(["info", "--backing-chain", path])
            #expect(chain.status == 1 && chain.text.hasPrefix("image: \(path)\n"), "\(name): \(chain.text)")
            try FileManager.default.moveItem(atPath: images.folder.file("away"), toPath: images.folder.file(other))
        }
    }

    @Test func `follows the chain under an encrypted image without its key`() throws {
        let images = try VerbImages([.locked])
        let chain = try RBlock.run(["info", "--output", "json", "--backing-chain", "locked.qcow2"], in: images.path)
        #expect(chain.status == 0 && chain.errors == "", "\(chain.errors)")
        let found = try #require(try JSONValue(parsing: chain.output).array)
        #expect(found.count == 2 && found[0]["encrypted"] == .bool(true) && found[1]["format"]?.text == "raw")
        let counted = try RBlock.run(["info", "--allocation", "locked.qcow2"], in: images.path)
        #expect(counted.status == 1 && counted.errors.contains("--secret"), "\(counted.errors)")
        try images.folder.write(Array("abc".utf8), to: "key")
        let opened = try RBlock.json(
            "info", "--allocation", "--secret", "locked.qcow2=file:key", "locked.qcow2", in: images.path)
        #expect(opened["rblock", "allocation", "data"]?.number ?? 0 > 0)
        // A wrong key is the error of the image that it is for, and of no other.
        try images.folder.write(Array("wrong".utf8), to: "key")
        let wrong = try RBlock.run(
            ["info", "--output", "json", "--backing-chain", "--secret", "locked.qcow2=file:key", "locked.qcow2"],
            in: images.path)
        let reports = try #require(try JSONValue(parsing: wrong.output).array)
        #expect(
            wrong.status == 1 && reports.count == 1 && reports[0]["error", "code"]?.text == "denied", "\(wrong.text)")
    }

    @Test func `counts how a disk is stored when asked to, as qemu-img map does`() throws {
        let images = try VerbImages([.chain, .small, .vmdk])
        for name in ["top.qcow2", "small.qcow2", "streamOptimized.vmdk"] {
            let counted = try #require(
                try RBlock.json("info", "--allocation", images.folder.file(name))["rblock", "allocation"])
            let format = name.hasSuffix("vmdk") ? "vmdk" : "qcow2"
            let runs = try QemuImg.map(images.folder.file(name), format: format)
            func sum(_ isCounted: (QemuImg.MapEntry) -> Bool) -> Int {
                Int(runs.filter(isCounted).reduce(0) { $0 + $1.length })
            }
            #expect(counted["data"]?.number == sum { $0.data && $0.offset != nil }, "\(name)")
            #expect(counted["compressed"]?.number == sum { $0.data && $0.offset == nil }, "\(name)")
            #expect(counted["zero"]?.number == sum { $0.present && !$0.data }, "\(name)")
            #expect(counted["unallocated"]?.number == sum { !$0.present }, "\(name)")
        }
        let text = try RBlock.run(["info", "--allocation", "middle.qcow2"], in: images.path).text
        #expect(text.contains("Allocation, over the whole chain:\n    data: "), "\(text)")
        let bitmaps = try RBlock.json("info", "--allocation", "middle.qcow2", in: images.path)["rblock", "bitmaps"]
        #expect(bitmaps?.array?.first?["name"]?.text == "changes")
        #expect(bitmaps?.array?.first?["dirty-bytes"]?.number == 0)
    }

    @Test(.enabled(if: Tool.areThere("sfdisk")))
    func `tells the partition table where the disk can be read from the files that are open`() throws {
        let images = try VerbImages([])
        try Shell.check(
            """
            cd "$1"
            truncate -s 8M parted.raw
            printf 'label: gpt\\nstart=1MiB, size=2MiB, name="root"\\n' | sfdisk -q parted.raw
            qemu-img convert -O qcow2 parted.raw parted.qcow2
            qemu-img create -q -f qcow2 -b parted.raw -F raw over.qcow2
            """, images.path)
        for (arguments, isThere) in [
            (["parted.raw"], true), (["parted.qcow2"], true), (["over.qcow2"], false),
            (["--backing-chain", "over.qcow2"], true),
        ] {
            let text = try RBlock.run(["info"] + arguments, in: images.path).text
            #expect(text.contains("partition table: gpt, disk ") == isThere, "\(arguments): \(text)")
            #expect(text.contains("    1: 2 MiB at 1048576, ") == isThere, "\(arguments): \(text)")
        }
        let found = try RBlock.json("info", "parted.qcow2", in: images.path)
        #expect(found["rblock", "partition-table", "partitions"]?.array?.first?["start"]?.number == 1 << 20)
    }

    @Test func `says who uses the image`() throws {
        let images = try VerbImages([.small])
        let script = """
            import fcntl, subprocess, sys
            with open(sys.argv[2], "r+b") as image:
                fcntl.lockf(image, fcntl.LOCK_SH, 1, int(sys.argv[3]))
                print(subprocess.run([sys.argv[1], "info", sys.argv[2]], capture_output=True, text=True).stdout)
            """
        for (byte, word) in [("100", "reads"), ("101", "writes to")] {
            let text = try Tool.run(
                "python3", ["-c", script, Tool.rblock, images.folder.file("small.qcow2"), byte]
            ).text
            #expect(text.contains("in use: another program \(word) \(images.path)"), "\(text)")
        }
    }

    @Test func `is not asked with a backing file that it would not open`() throws {
        let refused = try RBlock.run(["info", "--backing", "base.raw", "top.qcow2"])
        #expect(refused.status == 64 && refused.errors.contains("--backing-chain or --allocation"), "\(refused.errors)")
    }

    @Test func `lets no name from an image do anything to the terminal`() throws {
        let images = try VerbImages([])
        var built = QCOW2Builder(size: 1 << 20)
        built.backingFile = "red\u{1b}[31m\nimage: other\u{202e}\\.raw"
        try images.folder.write(built.build().bytes, to: "evil\u{1b}.qcow2")
        let human = try RBlock.run(["info", "--backing-chain", "evil\u{1b}.qcow2"], in: images.path)
        #expect(human.status == 1)
        for text in [human.text, human.errors] {
            #expect(!text.unicodeScalars.contains { ($0.value < 0x20 && $0 != "\n") || $0.value == 0x202e }, "\(text)")
            #expect(text.contains(#"red\x1b[31m\x0aimage: other\u{202e}\\.raw"#), "\(text)")
        }
        #expect(human.errors.split(separator: "\n").count == 1)
        let document = try RBlock.json("info", "evil\u{1b}.qcow2", in: images.path)
        #expect(document["backing-filename"]?.text == built.backingFile)
    }
}
