import BlockImage
import HostTools
import Synchronization
import TestImages
import Testing

@testable import OVA

struct `A tar archive` {
    /// A folder of files with the names that formats have trouble with.
    private static func makeFiles(in folder: TemporaryFolder, longest: Int) throws -> [String: [UInt8]] {
        var files: [String: [UInt8]] = ["a.ovf": Array("<Envelope/>".utf8), "empty.img": [], "block.img": []]
        files["block.img"] = (0..<512).map { UInt8(truncatingIfNeeded: $0) }
        files["disk1.vmdk"] = (0..<70_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        files[String(repeating: "n", count: 100)] = [1]
        if longest > 100 { files[String(repeating: "m", count: longest - 5) + ".vmdk"] = [2, 3] }
        var paths: [String: [UInt8]] = [:]
        for (name, bytes) in files {
            try folder.write(bytes, to: name)
            paths[name] = bytes
        }
        if longest > 100 {
            // Splits into a prefix and a name in ustar, and is a long name in the others.
            let deep = "one-\(String(repeating: "d", count: 60))/two-\(String(repeating: "e", count: 70))"
            _ = try folder.makeFolder(deep)
            try folder.write([9, 8, 7], to: "\(deep)/disk.img")
            paths["\(deep)/disk.img"] = [9, 8, 7]
        }
        return paths
    }

    @Test(
        .enabled(if: Tool.areThere("tar")),
        arguments: [("v7", 99), ("ustar", 100), ("ustar", 101), ("gnu", 250), ("pax", 250), ("oldgnu", 250)])
    func `made by GNU tar is read in place`(format: String, longest: Int) throws {
        let folder = try TemporaryFolder()
        // ustar has space for a name of 100 bytes at the end of a path only.
        let files = try Self.makeFiles(in: folder, longest: format == "ustar" && longest == 101 ? 100 : longest)
            .filter { format != "v7" || $0.key.utf8.count < 100 }
        if format == "v7" { try Tool.check("rm", String(repeating: "n", count: 100), in: folder.path) }
        let archives = try TemporaryFolder()
        try Tool.check(
            "tar", "--format=\(format)", "-cf", archives.file("x.ova"), "-C", folder.path, ".", in: folder.path)
        let file = try archives.open("x.ova")
        let found = try TarArchive(reading: file)
        #expect(found.fault == nil)
        #expect(found.notes == [])
        var seen: [String: [UInt8]] = [:]
        for member in found.members where member.kind == .regular {
            let slice = try FileSlice(of: file, offset: member.dataOffset, size: member.size, path: member.text)
            seen[withoutDot(member.name).text] = try slice.wholeFile()
            #expect(member.modified.seconds > 1_600_000_000)
            #expect(!member.isCut)
        }
        #expect(seen == files)
        #expect(found.members.first?.text == "./")
        #expect(found.members.allSatisfy { $0.kind == .regular || $0.kind == .folder })
        #expect(found.members.contains { $0.kind == .folder })
    }

    @Test(.enabled(if: Tool.areThere("tar"))) func `made by GNU tar has links and FIFOs that are no files`() throws {
        let folder = try TemporaryFolder()
        try folder.write([1, 2, 3], to: "disk.img")
        try Shell.check("cd \"$1\"; ln disk.img hard.img; ln -s disk.img soft.img; mkfifo pipe.img", folder.path)
        let target = String(repeating: "t", count: 150)
        try Shell.check("cd \"$1\"; ln -s \"$2\" far.img", folder.path, target)
        try Tool.check(
            "tar", "--format=gnu", "-cf", "x.ova", "disk.img", "hard.img", "far.img", "soft.img", "pipe.img",
            in: folder.path)
        let found = try TarArchive(reading: try folder.open("x.ova"))
        #expect(found.members.map(\.text) == ["disk.img", "hard.img", "far.img", "soft.img", "pipe.img"])
        #expect(found.members.map(\.kind) == [.regular, .other, .other, .other, .other])
        #expect(found.members.map(\.size) == [3, 0, 0, 0, 0])
        #expect(found.fault == nil)
    }

    @Test(
        .enabled(if: Tool.areThere("tar")),
        arguments: [
            ["--format=gnu"], ["--format=pax"],
            ["--format=pax", "--sparse-version=0.0"], ["--format=pax", "--sparse-version=0.1"],
        ])
    func `made with sparse files says so, and goes on behind them`(options: [String]) throws {
        let folder = try TemporaryFolder()
        // Enough pieces that the map of GNU tar's own format goes on behind the header.
        try Shell.check(
            """
            cd "$1"; truncate -s 40M hole.img
            for i in $(seq 0 35); do printf x | dd of=hole.img bs=1 seek=$((i * 1048576)) conv=notrunc status=none; done
            printf behind > z.img
            tar --sparse \(options.joined(separator: " ")) -cf x.ova hole.img z.img
            """, folder.path)
        let file = try folder.open("x.ova")
        let found = try TarArchive(reading: file)
        #expect(found.members.map(\.text) == ["hole.img", "z.img"])
        #expect(found.members.map(\.kind) == [.sparse, .regular])
        #expect(found.fault == nil)
        let last = try #require(found.members.last)
        #expect(try file.bytes(6, at: last.dataOffset, of: "z").text == "behind")
    }

    @Test(.enabled(if: Tool.areThere("python3")), arguments: ["USTAR", "GNU", "PAX"])
    func `made by Python's tarfile is read`(format: String) throws {
        let folder = try TemporaryFolder()
        try Tool.check(
            "python3", "-c",
            """
            import io, tarfile
            with tarfile.open("x.ova", "w", format=tarfile.\(format)_FORMAT) as archive:
                for name, data in [("a.ovf", b"x" * 513), ("d/" + "n" * 90 + ".vmdk", b"disk"), ("last", b"")]:
                    info = tarfile.TarInfo(name)
                    info.size, info.mtime = len(data), 1700000000.5
                    archive.addfile(info, io.BytesIO(data))
            """, in: folder.path)
        let found = try TarArchive(reading: try folder.open("x.ova"))
        #expect(found.members.map(\.text) == ["a.ovf", "d/" + String(repeating: "n", count: 90) + ".vmdk", "last"])
        #expect(found.members.map(\.size) == [513, 4, 0])
        #expect(found.members.allSatisfy { $0.modified.seconds == 1_700_000_000 })
        #expect(found.members.allSatisfy { $0.modified.nanoseconds == (format == "PAX" ? 500_000_000 : 0) })
        #expect(found.fault == nil)
        #expect(found.notes == [])
    }

    @Test func `has members of more than 8 GiB, which are stepped over`() throws {
        let folder = try TemporaryFolder()
        let size = UInt64(9) << 30
        for (name, header) in [
            ("gnu", TarBuilder.header(Array("big.img".utf8), size: TarBuilder.base256(size), type: 0x30, format: .gnu)),
            (
                "pax",
                {
                    var builder = TarBuilder()
                    builder.addRecords([("size", String(size)), ("mtime", "-1.25")])
                    builder.append(TarBuilder.header(Array("big.img".utf8), size: TarBuilder.octal(0), type: 0x30))
                    return builder.bytes
                }()
            ),
        ] {
            var end = TarBuilder()
            end.add("end", [7])
            try folder.write(header, to: "head")
            try folder.write(end.finished, to: "tail")
            try Shell.check(
                "cd \"$1\"; cp head \"$2\"; truncate -s +\(size) \"$2\"; cat tail >>\"$2\"", folder.path, name)
            let file = try folder.open(name)
            let found = try TarArchive(reading: file)
            #expect(found.members.map(\.size) == [size, 1])
            #expect(found.members[1].dataOffset.rawValue == UInt64(header.count) + size + 512)
            #expect(
                found.members[0].modified
                    == FileTime(seconds: name == "pax" ? -2 : 0, nanoseconds: name == "pax" ? 750_000_000 : 0))
            #expect(found.fault == nil)
            let slice = try FileSlice(of: file, offset: found.members[0].dataOffset, size: size, path: "big")
            #expect(slice.allocatedSize < 1 << 20)
            #expect(try slice.bytes(4, at: HostOffset(size - 4), of: "end") == [0, 0, 0, 0])
        }
    }

    @Test func `reads the headers only`() throws {
        var builder = TarBuilder()
        for index in 0..<10 { builder.add("disk\(index).img", [UInt8](repeating: 1, count: 100_000)) }
        let file = MemoryFile(builder.finished)
        let found = try TarArchive(reading: file)
        #expect(found.members.count == 10)
        // The first block is looked at twice, and two blocks are the end.
        #expect(file.reads.load(ordering: .relaxed) == 13)
    }

    @Test func `joins the prefix of POSIX to the name, but takes that of GNU for what it is`() throws {
        var builder = TarBuilder()
        builder.append(
            TarBuilder.header(Array("n".utf8), size: TarBuilder.octal(0), type: 0, prefix: Array("a/b".utf8)))
        builder.append(
            TarBuilder.header(
                Array("n".utf8), size: TarBuilder.octal(0), type: 0, format: .gnu, prefix: Array("14000000000".utf8)))
        builder.append(
            TarBuilder.header(
                Array("n".utf8), size: TarBuilder.octal(0), type: 0, format: .v7, prefix: Array("junk".utf8)))
        #expect(try archive(builder.finished).members.map(\.text) == ["a/b/n", "n", "n"])
    }

    @Test func `has the names of fields that are full`() throws {
        let name = Array(repeating: UInt8(ascii: "n"), count: 100)
        let prefix = Array(repeating: UInt8(ascii: "p"), count: 155)
        var builder = TarBuilder()
        builder.append(TarBuilder.header(name, size: TarBuilder.octal(0), type: 0x30, prefix: prefix))
        #expect(try archive(builder.finished).members.map(\.name) == [prefix + [UInt8(ascii: "/")] + name])
    }

    @Test func `takes from pax records what they say, for one member, or for all that follow`() throws {
        var builder = TarBuilder()
        builder.addRecords([("path", "global"), ("comment", "x=y\nz")], type: UInt8(ascii: "g"))
        builder.add("one", [1])
        builder.addRecords([("path", "own name"), ("mtime", "12.000000345"), ("unknown", "")])
        builder.add("two", [1, 2])
        builder.add("three", [])
        builder.addRecords([("path", "")])
        builder.add("four", [])
        builder.addRecords([("path", "")], type: UInt8(ascii: "g"))
        builder.add("five", [])
        builder.addRecords([("path", "folder/"), ("mtime", "soon"), ("mtime", "later")])
        builder.add("six", [])
        let found = try archive(builder.finished)
        #expect(found.members.map(\.text) == ["global", "own name", "global", "four", "five", "folder/"])
        #expect(found.members[1].modified == FileTime(seconds: 12, nanoseconds: 345))
        #expect(found.members[5].modified == FileTime(seconds: 0, nanoseconds: 0))
        #expect(found.members[5].kind == .folder)
        #expect(found.fault == nil)
    }

    @Test func `has old long names, folders and kinds of members`() throws {
        var builder = TarBuilder(.gnu)
        builder.add("././@LongLink", Array("target\0".utf8), type: UInt8(ascii: "K"))
        builder.add("././@LongLink", Array("a long name\0junk".utf8), type: UInt8(ascii: "L"))
        builder.add("short", [1])
        builder.add("short", [1])
        builder.add("old folder/", [], type: 0)
        builder.add("dump", [1, 2, 3], type: UInt8(ascii: "D"))
        builder.add("contiguous", [1], type: UInt8(ascii: "7"))
        builder.add("label", [], type: UInt8(ascii: "V"))
        let found = try archive(builder.finished)
        #expect(found.members.map(\.text) == ["a long name", "short", "old folder/", "dump", "contiguous", "label"])
        #expect(found.members.map(\.kind) == [.regular, .regular, .folder, .other, .regular, .other])
    }

    @Test func `has no data behind links and folders, whatever they say`() throws {
        var builder = TarBuilder()
        for type in "123456".utf8 {
            builder.append(TarBuilder.header(Array("n".utf8), size: TarBuilder.octal(77), type: type))
        }
        builder.add("end", [1])
        let found = try archive(builder.finished)
        #expect(found.members.map(\.size) == [0, 0, 0, 0, 0, 0, 1])
        #expect(found.fault == nil)
    }

    @Test(arguments: [
        ("00000000012\0", 10), ("         12 ", 10), ("12\0         ", 10), ("            ", 0),
        ("777777777777", 0o777777777777),
        ("\0\0\0\0\0\0\0\0\0\0\0\0", 0),
    ])
    func `has sizes in octal digits, however they are padded`(field: String, size: Int64) throws {
        #expect(tarNumber(Array(field.utf8)[...]) == size)
    }

    @Test func `has numbers in base 256`() {
        let ones = [UInt8](repeating: 0xff, count: 12)
        #expect(tarNumber(ones[...]) == -1)
        #expect(tarNumber(TarBuilder.base256(5)[...]) == 5)
        #expect(tarNumber(TarBuilder.base256(UInt64(Int64.max))[...]) == .max)
        #expect(tarNumber(TarBuilder.base256(1 << 63)[...]) == nil)
        #expect(tarNumber(([0x80, 0, 0, 1] + [UInt8](repeating: 0, count: 8))[...]) == nil)
        #expect(tarNumber(([0xff, 0xff, 0xff, 0xff, 0x80] + [UInt8](repeating: 0, count: 7))[...]) == .min)
        #expect(tarNumber(([0xff, 0xff, 0xff, 0xff, 0x7f] + ones.prefix(7))[...]) == nil)
        #expect(tarNumber(([0xc0] + [UInt8](repeating: 0, count: 11))[...]) == nil)
        #expect(tarNumber([]) == nil)
        #expect(tarNumber(Array("12a".utf8)[...]) == nil)
        #expect(tarNumber(Array("8".utf8)[...]) == nil)
        #expect(tarNumber(Array("-1".utf8)[...]) == nil)
    }

    @Test func `has headers whose sum was made of signed bytes`() throws {
        let block = TarBuilder.header(Array("caf\u{e9}".utf8), size: TarBuilder.octal(0), type: 0x30)
        let signed = TarBuilder.withChecksum(block, signed: true)
        #expect(signed != block)
        #expect(try archive(signed + [UInt8](repeating: 0, count: 1024)).members.count == 1)
    }

    @Test func `may end without its end mark, which is noted`() throws {
        var builder = TarBuilder()
        builder.add("one", [1])
        let none = try archive(builder.bytes)
        #expect(none.members.count == 1)
        #expect(none.fault == nil)
        #expect(none.notes == ["the archive has no end mark, which is two blocks of zeros: it may have been cut"])
        let unpadded = try archive(Array(builder.bytes.prefix(513)))
        #expect(unpadded.members.count == 1)
        #expect(unpadded.fault == nil)
        #expect(unpadded.notes.count == 1)
        let zeros = [UInt8](repeating: 0, count: 512)
        #expect(
            try archive(builder.bytes + zeros).notes == [
                "the archive ends in one block of zeros, but two are its end mark: it may have been cut"
            ])
        #expect(
            try archive(builder.bytes + zeros + builder.bytes).notes == [
                "a single block of zeros at 0x400: what comes after it is passed over, because it may be an end mark"
            ])
        let more = try archive(builder.finished + builder.bytes)
        #expect(more.members.count == 1)
        #expect(more.notes == [])
    }
}
