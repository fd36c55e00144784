import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "cmp", "bash")))
struct `rblock diff` {
    private func diff(_ arguments: String...) throws -> ToolResult {
        try RBlock.run(["diff"] + arguments)
    }

    /// The numbers of the sectors in which two raw files of one size differ, as cmp finds them.
    private func reference(_ left: String, _ right: String, sectorSize: Int = 512) throws -> [Int] {
        let text = try Shell.check(
            "cmp -l \"$1\" \"$2\" | awk -v size=\"$3\" '{ print int(($1 - 1) / size) }' | uniq", left, right,
            "\(sectorSize)")
        return text.split(separator: "\n").compactMap { Int($0) }
    }

    /// Two disks that differ here and there, and `right` as every kind of image.
    private func makePair(seed: UInt64) throws -> (gallery: Gallery, left: String) {
        let gallery = try Gallery(seed: seed)
        let left = "\(gallery.images)/../left.raw"
        try Tool.check("cp", gallery.disk, left)
        let file = try #require(FileHandle(forUpdatingAtPath: left))
        defer { try? file.close() }
        let size = Int(try file.seekToEnd())
        var random = SeededRandom(seed: seed)
        for _ in 0..<60 {
            let start = Int.random(in: 0..<size, using: &random)
            let count = min(size - start, Int.random(in: 1...3000, using: &random))
            try file.seek(toOffset: UInt64(start))
            try file.write(contentsOf: Data(repeating: UInt8.random(in: 0...255, using: &random), count: count))
        }
        return (gallery, left)
    }

    @Test func `finds in every format what cmp finds between the flat disks`() throws {
        let (gallery, left) = try makePair(seed: 1)
        for sectorSize in [512, 4096] {
            let expected = try reference(left, gallery.disk, sectorSize: sectorSize)
            #expect(expected.count > 10)
            for (name, _) in Gallery.kinds {
                let arguments = ["--sector-size", "\(sectorSize)", left, gallery.file(name)]
                let sectors = try RBlock.run(["diff", "--sectors"] + arguments)
                #expect(sectors.status == 1 && sectors.errors == "", "\(sectors.errors)")
                #expect(sectors.text.split(separator: "\n").compactMap { Int($0) } == expected, "\(name)")
                // The lines of ranges say the same.
                let ranges = try RBlock.run(["diff"] + arguments).text.split(separator: "\n")
                var found: [Int] = []
                for line in ranges.dropLast() {
                    let numbers = line.split { !$0.isNumber }.compactMap { Int($0) }
                    try #require(numbers.count == 3 && numbers[1] - numbers[0] + 1 == numbers[2], "\(line)")
                    found += numbers[0]...numbers[1]
                }
                #expect(found == expected, "\(name)")
                let sum = try RBlock.run(["diff", "--summary"] + arguments)
                #expect(sum.status == 1 && sum.text == "\(ranges.last ?? "")\n")
                #expect(sum.text.hasPrefix("\(expected.count) sectors of \(sectorSize) bytes changed, "), "\(sum.text)")
                #expect(sum.text.hasSuffix(" in \(ranges.count - 1) ranges\n"), "\(sum.text)")
            }
        }
    }

    @Test func `agrees with qemu-img compare on pairs of all formats`() throws {
        let (gallery, left) = try makePair(seed: 3)
        let other = try Gallery(["plain.qcow2", "zstd.qcow2", "stream.vmdk"], seed: 3)
        for (name, _) in Gallery.kinds {
            let format = String(name.split(separator: ".").last ?? "")
            for (path, otherFormat) in [
                (other.file("plain.qcow2"), "qcow2"), (other.file("zstd.qcow2"), "qcow2"),
                (other.file("stream.vmdk"), "vmdk"), (left, "raw"),
            ] {
                let theirs = try Tool.run(
                    "qemu-img", ["compare", "-q", "-f", format, "-F", otherFormat, gallery.file(name), path])
                #expect(theirs.status == (path == left ? 1 : 0), "\(theirs.errors)")
                let ours = try diff(gallery.file(name), path)
                #expect(ours.status == theirs.status, "\(name) \(path): \(ours.errors)")
                if ours.status == 0 { #expect(ours.text == "the disks are the same\n") }
            }
        }
    }

    @Test func `compares snapshots of one image with each other and with the disk`() throws {
        let folder = try TemporaryFolder()
        let image = folder.file("s.qcow2")
        try QemuImg.create(image, size: 4 << 20)
        try QemuImg.io(image, ["write -P 1 0 1M", "write -c -P 2 2M 64k"])
        try QemuImg.run("snapshot", "-c", "one", image)
        try QemuImg.io(image, ["write -P 3 64k 512", "write -P 2 2M 512"])
        try QemuImg.run("snapshot", "-c", "two", image)
        try QemuImg.io(image, ["write -P 4 3M 4k"])
        let written = ([128] + Array(6144..<6152)).map { "\($0)\n" }.joined()
        for (options, expected) in [
            (
                ["--snapshot-a", "one", "--snapshot-b", "two"],
                "128-128  1\n1 sector of 512 bytes changed, 512 bytes in 1 range\n"
            ),
            (["--snapshot-a", "2", "--summary"], "8 sectors of 512 bytes changed, 4096 bytes in 1 range\n"),
            (["--snapshot-b", "one", "--sectors"], written),
            (["--snapshot-a", "two", "--snapshot-b", "two"], "the disks are the same\n"),
            ([], "the disks are the same\n"),
        ] as [([String], String)] {
            let result = try RBlock.run(["diff"] + options + [image, image])
            #expect(result.text == expected && result.errors == "", "\(options): \(result.errors)")
        }
        let missing = try diff("--snapshot-a", "three", image, image)
        #expect(missing.status == 2 && missing.errors.contains("three"), "\(missing.errors)")
        withExtendedLifetime(folder) {}
    }

    @Test func `takes what one disk has more for a comparison with zeros, and says so`() throws {
        let folder = try TemporaryFolder()
        let short = try folder.write(Array(repeating: 1, count: 1000), to: "short.raw")
        let long = try folder.write(Array(repeating: 1, count: 1000) + Array(repeating: 0, count: 5000), to: "long.raw")
        let same = try diff(short, long)
        #expect(same.status == 0 && same.text == "the disks are the same\n")
        for words in ["sizes differ", "1000 bytes", "6000", "last 5000 bytes of \(long)"] {
            #expect(same.errors.contains(words), "\(same.errors)")
        }
        let other = try folder.write(Array(repeating: 1, count: 6000), to: "other.raw")
        let result = try diff("--output", "json", other, short)
        let document = try JSONValue(parsing: result.output)
        #expect(result.status == 1 && result.errors.contains("last 5000 bytes of \(other)"))
        #expect(document["summary", "sizes"]?.array?.map(\.number) == [6000, 1000])
        #expect(document["summary", "changed-sectors"]?.number == 11)
        #expect(document["summary", "changed-bytes"]?.number == 6000 - 512)
    }

    @Test func `prints JSON that says the same`() throws {
        let (gallery, left) = try makePair(seed: 4)
        let expected = try reference(left, gallery.disk)
        func document(_ options: String...) throws -> JSONValue {
            let result = try RBlock.run(
                ["diff", "--output", "json"] + options + [left, gallery.file("zlib.qcow2")])
            #expect(result.status == 1 && result.errors == "")
            return try JSONValue(parsing: result.output)
        }
        let sectors = try document("--sectors")
        #expect(sectors["sectors"]?.array?.map(\.number) == expected)
        let ranges = try document()
        var found: [Int] = []
        for range in ranges["ranges"]?.array ?? [] {
            let start = try #require(range["start"]?.number)
            found += start..<start + (try #require(range["count"]?.number))
        }
        #expect(found == expected)
        let summary = try document("--summary")
        #expect(summary["ranges"] == nil && summary["sectors"] == nil)
        for one in [sectors, ranges, summary] {
            #expect(one["summary"] == summary["summary"] && one["identical"] == .bool(false))
            #expect(one["a", "path"]?.text == left)
        }
        #expect(summary["summary", "changed-sectors"]?.number == expected.count)
        #expect(summary["summary", "sector-size"]?.number == 512)
        let same = try JSONValue(parsing: try diff("--output", "json", left, left).output)
        #expect(same["ranges"]?.array == [] && same["identical"] == .bool(true))
    }

    @Test func `ends with 2 for all trouble, and names the file and the place`() throws {
        let folder = try TemporaryFolder()
        var built = QCOW2Builder(size: 1 << 20, clusters: Array(repeating: .data, count: 16)).build()
        let good = try folder.write(built.bytes, to: "good.qcow2")
        built.poke((1 << 63 | 1 << 40) as UInt64, at: built.entryOffset(of: 9))
        built.bytes[Int(built.hostOffsets[3] ?? 0)] ^= 1
        let bad = try folder.write(built.bytes, to: "bad.qcow2")
        let damaged = try diff(good, bad)
        #expect(damaged.status == 2 && damaged.text == "384-384  1\n", "\(damaged.text)")
        #expect(damaged.errors.hasPrefix("rblock: \(bad): at 0x10000000000: "), "\(damaged.errors)")
        let json = try diff("--output", "json", bad, good)
        let document = try JSONValue(parsing: json.output)
        #expect(json.status == 2 && json.errors == damaged.errors)
        #expect(document["error", "message"]?.text.map { "rblock: \($0)\n" } == damaged.errors)
        #expect(document["ranges"]?.array?.count == 1 && document["summary"] == nil)
        #expect(mkfifo(folder.file("fifo"), 0o600) == 0)
        for (path, word) in [
            (folder.file("gone"), "No such file"), ("/dev/zero", "character device"), (folder.path, "folder"),
            (folder.file("fifo"), "FIFO"), (try folder.write([1, 2], to: "x.qcow2"), "at 0x0: header"),
        ] {
            for pair in [[good, path], [path, good]] {
                let result = try RBlock.run(["diff"] + pair)
                #expect(result.status == 2 && result.output.isEmpty, "\(path)")
                #expect(result.errors.contains(word) && result.errors.contains(path), "\(result.errors)")
                #expect(result.errors.split(separator: "\n").count == 1)
            }
        }
        let full = try Shell.run(
            "\"$1\" diff --sectors \"$2\" \"$3\" >/dev/full", Tool.rblock, bad, try folder.write([1], to: "y.raw"))
        #expect(full.status == 2 && full.errors.contains("No space left"), "\(full.errors)")
    }

    @Test func `reads the formats that it is given, for each disk`() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        // A header of another format in the raw disk, which is taken at its word only where no option says better.
        let copy = "\(gallery.images)/copy.img"
        try Tool.check("cp", gallery.file("plain.qcow2"), copy)
        #expect(try diff(copy, gallery.disk).status == 0)
        #expect(try diff("--format-a", "raw", "--format-b", "raw", copy, gallery.file("plain.qcow2")).status == 0)
        #expect(try diff("--format-a", "raw", copy, gallery.disk).status == 1)
        #expect(try diff("--format", "qcow2", "--format-b", "raw", copy, gallery.disk).status == 0)
    }

    @Test func `refuses wrong usage with 64, and shows its statuses with --help`() throws {
        for (arguments, word) in [
            (["a"], "B"), (["--sector-size", "1024", "a", "b"], "4096"),
            (["--sectors", "--summary", "a", "b"], "choose"),
            (["--output", "xml", "a", "b"], "xml"), (["a", "b", "c"], "c"),
        ] as [([String], String)] {
            let result = try RBlock.run(["diff"] + arguments)
            #expect(result.status == 64 && result.errors.contains(word), "\(arguments): \(result.errors)")
        }
        let help = try diff("--help")
        for word in ["EXAMPLES", "EXIT STATUS", "--snapshot-a", "--sectors", "  2 ", "zeros"] {
            #expect(help.status == 0 && help.text.contains(word), "\(word)")
        }
    }
}
