import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "sha256sum", "bash")))
struct `rblock hash` {
    private func hash(_ arguments: String...) throws -> ToolResult {
        try RBlock.run(["hash"] + arguments)
    }

    /// What sha256sum says of the disk that qemu-img finds in the image.
    private func reference(_ path: String, options: [String]) throws -> String {
        let raw = try TemporaryFolder()
        let result = try Tool.run("qemu-img", ["convert"] + options + ["-O", "raw", path, raw.file("raw")])
        guard result.status == 0 else { throw ToolFailure(description: result.errors) }
        return try Shell.check("sha256sum <\"$1\" | cut -c 1-64", raw.file("raw"))
    }

    @Test func `is what sha256sum says of the flat disk, over every fixture`() throws {
        let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Fixtures").path
        let rows = try String(contentsOfFile: "\(fixtures)/MANIFEST.tsv", encoding: .utf8).split(separator: "\n")
        var count = 0
        for row in rows.dropFirst() {
            let fields = row.split(separator: "\t", omittingEmptySubsequences: false)
            let path = "\(fixtures)/\(fields[0])"
            // A disk inside an OVA is no file.
            guard fields[4].count == 64, FileManager.default.fileExists(atPath: path) else { continue }
            let result = try hash(path)
            #expect(result.status == 0 && result.errors == "" && result.text == "\(fields[4])  \(path)\n")
            count += 1
        }
        #expect(count > 10)
    }

    @Test(arguments: [1, 2] as [UInt64])
    func `is the same for every format, and what qemu-img's raw disk has`(seed: UInt64) throws {
        let gallery = try Gallery(seed: seed)
        let expected = try reference(gallery.disk, options: ["-f", "raw"])
        let paths = Gallery.kinds.map { gallery.file($0.name) }
        let result = try RBlock.run(["hash"] + paths)
        #expect(result.status == 0 && result.errors == "")
        #expect(result.text == paths.map { "\(expected)  \($0)\n" }.joined())
        // As sha256sum's own check reads it.
        for (name, tool) in [("md5", "md5sum"), ("sha1", "sha1sum"), ("sha256", "sha256sum"), ("sha512", "sha512sum")] {
            let check = try Shell.run(
                "\"$1\" hash --algorithm $2 \"$3\" | sed \"s|$3|$4|\" | $5 -c --status", Tool.rblock, name,
                gallery.file("stream.vmdk"), gallery.disk, tool)
            #expect(check.status == 0, "\(name): \(check.errors)")
        }
    }

    @Test func `is that of a snapshot where one is meant`() throws {
        let folder = try TemporaryFolder()
        let image = folder.file("s.qcow2")
        try QemuImg.create(image, size: 3 << 20)
        try QemuImg.io(image, ["write -P 1 0 1M", "write -c -P 2 2M 64k"])
        try QemuImg.run("snapshot", "-c", "one", image)
        try QemuImg.io(image, ["write -P 3 64k 512", "write -z 2M 64k"])
        for (ours, theirs) in [
            ([], []), (["--snapshot", "one"], ["-l", "one"]), (["--snapshot", "1"], ["-l", "one"]),
        ] as [([String], [String])] {
            let result = try RBlock.run(["hash"] + ours + [image])
            #expect(result.text == "\(try reference(image, options: theirs))  \(image)\n", "\(result.errors)")
        }
        let missing = try hash("--snapshot", "two", image)
        #expect(missing.status == 1 && missing.errors.contains("no snapshot \"two\""), "\(missing.errors)")
    }

    @Test func `prints JSON, and goes on behind an image that it cannot read`() throws {
        let folder = try TemporaryFolder()
        let paths = try ["a.raw", "b.raw"].map { try folder.write(Array("abc".utf8), to: $0) }
        let result = try hash("--output", "json", paths[0], folder.file("gone.raw"), paths[1])
        #expect(result.status == 1)
        #expect(result.errors == "rblock: \(folder.file("gone.raw")): No such file or directory\n")
        let documents = try #require(try JSONValue(parsing: result.output).array)
        #expect(documents.map { $0["filename"]?.text } == [paths[0], folder.file("gone.raw"), paths[1]])
        #expect(documents[1]["error", "code"]?.text == "not-found" && documents[1]["hash"] == nil)
        for document in [documents[0], documents[2]] {
            #expect(document["path"] == document["filename"])
            #expect(
                document["hash"]?.text == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
            #expect(document["algorithm"]?.text == "sha256" && document["size"]?.number == 3)
        }
        let text = try hash(paths[0], folder.file("gone.raw"), paths[1])
        #expect(text.status == 1 && text.text.split(separator: "\n").count == 2)
    }

    @Test func `computes several at once, and checks lists of them as sha256sum does`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; head -c 300000 /dev/urandom >a.raw; truncate -s 3M a.raw; truncate -s 2M 'b c.raw'; qemu-img convert -O qcow2 a.raw a.qcow2
            for sum in md5sum sha1sum sha512sum; do $sum --tag a.raw 'b c.raw'; done >tags; sha256sum *.raw >sums; sha1sum a.raw >>sums
            """, folder.path)
        let names = ["a.raw", "b c.raw"]
        let algorithms = ["md5", "sha1", "sha512"]
        let several = try RBlock.run(
            ["hash"] + algorithms.flatMap { ["--algorithm", $0] } + names, in: folder.path)
        let expected = try String(contentsOfFile: folder.file("tags"), encoding: .utf8).split(separator: "\n").sorted()
        #expect(several.status == 0 && several.text.split(separator: "\n").sorted() == expected, "\(several)")
        let document = try JSONValue(
            parsing: RBlock.run(
                ["hash", "--output", "json", "--algorithm", "md5", "--algorithm", "sha1", "a.qcow2"], in: folder.path
            ).output)
        let sha1 = try Shell.check("sha1sum <\"$1\" | cut -c 1-40", folder.file("a.raw"))
        #expect(document.array?.first?["hashes", "sha1"]?.text == sha1)
        #expect(document.array?.first?["hash"] == document.array?.first?["hashes", "md5"])
        for list in ["tags", "sums"] {
            let checked = try RBlock.run(["hash", "--check", list], in: folder.path)
            #expect(checked.status == 0 && checked.errors == "", "\(checked.errors)")
            #expect(checked.text.split(separator: "\n").allSatisfy { $0.hasSuffix(": OK") }, "\(checked.text)")
        }
        try Shell.check(
            "cd \"$1\"; sed -i 's/a.raw/a.qcow2/' sums; head -c 300000 /dev/urandom >a.raw; truncate -s 3M a.raw; qemu-img convert -O qcow2 a.raw a.qcow2; rm b*",
            folder.path)
        let changed = try Shell.run("cd \"$2\"; \"$1\" hash --check - <sums", Tool.rblock, folder.path)
        #expect(
            changed.status == 1 && changed.text == "a.qcow2: FAILED\nb c.raw: FAILED open or read\na.qcow2: FAILED\n"
        )
        #expect(changed.errors == "rblock: b c.raw: No such file or directory\n")
        let documents = try JSONValue(
            parsing: RBlock.run(["hash", "--output", "json", "--check", "sums"], in: folder.path).output
        ).array
        #expect(
            documents?.map { $0["matches"] } == [.bool(false), .bool(false), .bool(false)]
                && documents?[1]["error"] != nil)
        for (text, word) in [("", "no line"), ("1234  a.raw\n", "line 1"), ("#\n\nSHA256 (a.raw) = 12\n", "line 3")] {
            try folder.write(Array(text.utf8), to: "list")
            let wrong = try RBlock.run(["hash", "-c", "list"], in: folder.path)
            #expect(wrong.status == 1 && wrong.errors.contains(word), "\(text): \(wrong.errors)")
        }
        #expect(try hash("--check", "sums", "a.raw").status == 64)
    }

    @Test func `goes on behind lines of a list that are malformed, and counts them`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; for name in a b; do echo $name >$name.raw; truncate -s 4k $name.raw; done; sha256sum *.raw >good
            { echo junk; head -1 good; echo '1234  a.raw'; tail -1 good; } >sums; { yes junk | head -50; cat good; } >many
            """, folder.path)
        let theirs = try Tool.run("sha256sum", ["--check", "--strict", "sums"], in: folder.path)
        let ours = try RBlock.run(["hash", "--check", "sums"], in: folder.path)
        #expect(ours.text == theirs.text && ours.text == "a.raw: OK\nb.raw: OK\n" && ours.status == theirs.status)
        let lines = ours.errors.split(separator: "\n")
        #expect(
            lines.count == 3
                && lines.last == "rblock: sums: 2 malformed lines of 4: what they are about was not compared")
        for (line, number) in zip(lines, [1, 3]) {
            #expect(line.hasPrefix("rblock: sums: line \(number): must be HASH"))
        }
        let json = try RBlock.run(["hash", "--output", "json", "--check", "sums"], in: folder.path)
        let documents = try JSONValue(parsing: json.output).array ?? []
        #expect(json.status == 1 && documents.map { $0["matches"] } == [.bool(true), .bool(true), nil, nil, nil])
        #expect(documents.last?["error", "code"]?.text == "corrupt" && documents.last?["filename"]?.text == "sums")
        // Any number of them is a few messages.
        let many = try RBlock.run(["hash", "--check", "many"], in: folder.path)
        #expect(many.status == 1 && many.text == ours.text && many.errors.split(separator: "\n").count == 11)
        #expect(many.errors.contains("50 malformed lines of 52"), "\(many.errors)")
    }

    @Test func `reads again what it wrote of any name, as sha256sum does`() throws {
        let folder = try TemporaryFolder()
        for name in ["a (1) = b.raw", "c\nd.raw", "\\e.raw", "f\r.raw", "SHA1 (\u{301}g).raw", "*h.raw", "i\\n.raw"] {
            try folder.write(Array(name.utf8), to: name)
        }
        let script = """
            cd "$2"; "$1" hash *.raw >ours; sha256sum *.raw >theirs; cmp ours theirs; sha256sum --tag *.raw >tagged
            for list in ours tagged; do "$1" hash --check $list | grep -c ': OK$'; done
            sed 's/$/\\r/' tagged | "$1" hash --check - | grep -c OK
            """
        let result = try Shell.run(script, Tool.rblock, folder.path)
        #expect(result.text == "7\n7\n7\n", "\(result)")
    }

    @Test func `does not call a disk OK of which parts are lost without saying so`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 a.qcow2 1M; qemu-io -c 'write 0 1M' a.qcow2 >/dev/null; truncate -s 400k a.qcow2
            """, folder.path)
        let list = try RBlock.run(["hash", "--ignore-read-errors", "a.qcow2"], in: folder.path)
        try folder.write(Array(list.output), to: "sums")
        let checked = try RBlock.run(["hash", "--ignore-read-errors", "--check", "sums"], in: folder.path)
        #expect(list.status == 2 && checked.status == 2 && checked.text == "a.qcow2: OK\n")
        #expect(checked.errors.contains("could not be read, and are zeros in the hash"), "\(checked.errors)")
        let json = try RBlock.run(
            ["hash", "--ignore-read-errors", "--check", "sums", "--output", "json"], in: folder.path)
        #expect(try JSONValue(parsing: json.output).array?.first?["lost"]?.array?.isEmpty == false && json.status == 2)
    }

    @Test func `of several images is in their order, whichever is done first`() throws {
        let folder = try TemporaryFolder()
        let names = (0..<12).map { "\($0).raw" }
        // Every third is large, the others are done long before it; one is not there.
        for (index, name) in names.enumerated() {
            try Shell.check(
                "head -c \"$2\" </dev/urandom >\"$1\"", folder.file(name), index % 3 == 0 ? "40M" : "\(index)k")
        }
        let named = names[..<7] + ["gone.raw"] + names[7...]
        let result = try RBlock.run(["hash"] + named, in: folder.path)
        #expect(result.status == 1 && result.errors == "rblock: gone.raw: No such file or directory\n")
        #expect(result.text == (try Tool.run("sha256sum", names, in: folder.path).text))
        let json = try JSONValue(
            parsing: RBlock.run(["hash", "--output", "json"] + named, in: folder.path).output)
        #expect(json.array?.map { $0["filename"]?.text } == Array(named))
        // How far all of them are.
        let lines = try RBlock.run(["hash", "--progress"] + named, in: folder.path).errors.split(separator: "\n")
        #expect(lines.allSatisfy { $0.hasPrefix("13 images  ") || $0.contains("gone.raw") }, "\(lines)")
    }

    @Test func `of many empty disks hashes zeros once`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; for size in 1M 3G; do for i in 1 2 3; do qemu-img create -q -f qcow2 $size-$i.qcow2 $size; done; done
            qemu-img create -q -f qcow2 -b 3G-1.qcow2 -F qcow2 over.qcow2; qemu-io -c 'write -P 1 2G 512' 3G-3.qcow2 >/dev/null
            """, folder.path)
        let names = ["1M-1", "1M-2", "3G-1", "3G-2", "over", "3G-3"].map { "\($0).qcow2" }
        let result = try RBlock.run(["hash"] + names, in: folder.path)
        let hashes = result.text.split(separator: "\n").map { String($0.prefix(64)) }
        try #require(result.status == 0 && hashes.count == 6, "\(result.errors)")
        #expect(hashes[0] == hashes[1] && Set(hashes[2...4]).count == 1 && Set(hashes).count == 3)
        #expect(try hashes[0] == Shell.check("head -c 1M /dev/zero | sha256sum | cut -c 1-64"))
        #expect(try hashes[2] == Shell.check("head -c 3G /dev/zero | sha256sum | cut -c 1-64"))
        #expect(try hashes[5] == reference(folder.file("3G-3.qcow2"), options: []))
    }

    @Test func `refuses wrong usage with 64, and shows its statuses with --help`() throws {
        for (arguments, word) in [([], "IMAGE"), (["--algorithm", "crc32", "a"], "sha256")] as [([String], String)] {
            let result = try RBlock.run(["hash"] + arguments)
            #expect(result.status == 64 && result.errors.contains(word), "\(arguments): \(result.errors)")
        }
        let help = try hash("--help")
        for word in ["EXAMPLES", "EXIT STATUS", "--snapshot", "--algorithm", "sha512"] {
            #expect(help.status == 0 && help.text.contains(word), "\(word)")
        }
    }
}

@Suite(.enabled(if: Tool.canUseLoopDevices("sha256sum")))
struct `A block device that a person names` {
    @Test func `is a raw disk for every verb, read-only`() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 6)
        // Whole sectors, as a device has them.
        let loop = try LoopDevice(gallery.disk)
        let size = try Data(contentsOf: URL(fileURLWithPath: gallery.disk)).count
        let expected = try Shell.check("sha256sum <\"$1\" | cut -c 1-64", gallery.disk)
        #expect(try RBlock.run(["hash", loop.path]).text == "\(expected)  \(loop.path)\n")
        let diff = try RBlock.run(["diff", loop.path, gallery.file("plain.qcow2")])
        #expect(diff.status == 0 && diff.text == "the disks are the same\n", "\(diff.errors)")
        let read = try RBlock.run(["read", "--offset", "1000", "--length", "3000", loop.path])
        #expect(read.output == (try Data(contentsOf: URL(fileURLWithPath: gallery.disk)))[1000..<4000])
        let info = try RBlock.json("info", loop.path)
        #expect(info["format"]?.text == "raw" && info["virtual-size"]?.number == size)
        #expect(try RBlock.map(loop.path).reduce(0) { $0 + $1.length } == UInt64(size))
        #expect(try RBlock.json("inspect", loop.path)["file-size"]?.number == size)
        #expect(try RBlock.run(["check", "--data", loop.path]).status == 0)
        // Through a link, as /dev/mapper and /dev/disk have them.
        let link = "\(gallery.images)/link"
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: loop.path)
        #expect(try RBlock.run(["hash", link]).text == "\(expected)  \(link)\n")
    }

    @Test func `is the image that it holds, with a warning, and never what an image names`() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 7)
        let folder = try TemporaryFolder()
        let padded = folder.file("padded")
        try Shell.check("cp \"$1\" \"$2\" && truncate -s %512 \"$2\"", gallery.file("plain.qcow2"), padded)
        let loop = try LoopDevice(padded)
        let result = try RBlock.run(["diff", "--format-a", "qcow2", loop.path, gallery.disk])
        #expect(result.status == 0 && result.errors.isEmpty, "\(result.errors)")
        let found = try RBlock.run(["diff", "--summary", loop.path, gallery.disk])
        #expect(
            found.status == 0 && found.errors.contains("holds a QCOW2 image, and is read as that"), "\(found.errors)")
        #expect(try RBlock.run(["diff", "--summary", "--format-a", "raw", loop.path, gallery.disk]).status == 1)
        let info = try RBlock.json("info", loop.path)
        #expect(info["format"]?.text == "qcow2" && info["rblock", "probed"] != nil)
        #expect(info["rblock", "notes"]?.array?.count == 1)
        try QemuImg.create(folder.file("over.qcow2"), size: 1 << 20, backing: (loop.path, "raw"))
        let refused = try RBlock.run(["hash", "--allow-path", "/dev", folder.file("over.qcow2")])
        #expect(
            refused.status == 1 && refused.errors.contains("is a block device, and only regular files"),
            "\(refused.errors)")
    }

    @Test func `may name no file where only its content says what it is, and is refused where that is no disk`() throws
    {
        let folder = try TemporaryFolder()
        try folder.write([UInt8](repeating: 7, count: 65536), to: "base.raw")
        try QemuImg.create(folder.file("over.qcow2"), size: 1 << 20, backing: ("base.raw", "raw"))
        // A device ends with a whole sector, which a new image does not.
        try Shell.check("truncate -s %512 \"$1\"", folder.file("over.qcow2"))
        let overlay = try LoopDevice(folder.file("over.qcow2"))
        let denied = try RBlock.run(["hash", overlay.path])
        #expect(
            denied.status == 1 && denied.errors.contains("base.raw") && denied.errors.contains("--format qcow2"),
            "\(denied.errors)")
        let luks = Array("LUKS".utf8) + [0xba, 0xbe, 0, 2] + [UInt8](repeating: 7, count: 65528)
        let volume = try LoopDevice(try folder.write(luks, to: "luks"))
        let hash = try RBlock.run(["hash", volume.path])
        #expect(
            hash.status == 0 && hash.errors.contains("a LUKS volume, which is read as it is stored"), "\(hash.errors)")
        let archive = Array("MSWIM\0\0\0".utf8) + [UInt8](repeating: 7, count: 65528)
        let other = try LoopDevice(try folder.write(archive, to: "wim"))
        let refused = try RBlock.run(["hash", other.path])
        #expect(refused.status == 1 && refused.errors.contains("a WIM archive"), "\(refused.errors)")
        #expect(try RBlock.run(["hash", "--format", "raw", other.path]).status == 0)
    }

    @Test func `is mounted as what it holds`() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 8)
        let folder = try TemporaryFolder()
        let padded = folder.file("padded")
        try Shell.check("cp \"$1\" \"$2\" && truncate -s %512 \"$2\"", gallery.file("plain.qcow2"), padded)
        let loop = try LoopDevice(padded)
        let name = URL(fileURLWithPath: loop.path).lastPathComponent
        do {
            let mount = try Mount(loop.path)
            #expect(try Shell.run("cmp -n 1048576 \"$1\" \"$2\"", gallery.disk, mount.disk(name)).status == 0)
            #expect(try mount.document(name)["rblockfs", "notes"]?.array?.count == 1)
        }
        let raw = try Mount(loop.path, options: ["--format", "raw"])
        try Tool.check("cmp", padded, raw.disk(name))
        #expect(try raw.document(name)["rblockfs", "notes"] == nil)
        let refused = try Tool.run(
            Tool.rblockfs, ["--format", "raw", folder.path, try folder.makeFolder("mountpoint")])
        #expect(refused.status == 66 && refused.errors.contains("is a folder"), "\(refused.errors)")
    }
}
