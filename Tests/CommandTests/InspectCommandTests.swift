import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "python3")))
struct `rblock inspect` {
    private func run(_ arguments: String...) throws -> ToolResult { try RBlock.run(arguments) }

    /// An image with two L2 tables' worth of data.
    private func image(_ folder: TemporaryFolder, _ name: String = "a.qcow2") throws -> String {
        try QemuImg.create(folder.file(name), size: 1 << 30)
        try QemuImg.io(folder.file(name), ["write 0 1M", "write 600M 300k"])
        return folder.file(name)
    }

    @Test func `has help with examples and every exit status`() throws {
        let help = try run("inspect", "--help")
        #expect(help.status == 0)
        for word in [
            "EXAMPLES", "EXIT STATUS", "--l2", "--gte", "--graph", "--svg", "--html", "--limit", "--output", "  2 ",
        ] {
            #expect(help.text.contains(word), "\(word)")
        }
        #expect(try run("inspect").status == 64)
        #expect(try run("inspect", "--limit", "many", "x").status == 64)
    }

    @Test func `is the same as an option`() throws {
        let folder = try TemporaryFolder()
        let path = try image(folder)
        let verb = try run("inspect", "--l2", path)
        #expect(verb.status == 0 && verb.text.contains("cluster_bits"))
        for arguments in [[path, "--inspect", "--l2"], ["--inspect", path, "--l2"], ["--l2", path, "--inspect"]] {
            let option = try RBlock.run(arguments)
            #expect(option.text == verb.text && option.status == 0, "\(arguments): \(option.errors)")
        }
        withExtendedLifetime(folder) {}
    }

    @Test func `ends with 1 where there is no image, and with 2 where something is wrong in it`() throws {
        let folder = try TemporaryFolder()
        let missing = try run("inspect", folder.file("gone.qcow2"))
        #expect(missing.status == 1 && missing.errors.hasPrefix("rblock: ") && missing.output.isEmpty)
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: try image(folder))))
        bytes[23] = 40
        let damaged = try run("inspect", try folder.write(bytes, to: "damaged.qcow2"))
        #expect(damaged.status == 2 && damaged.text.contains("!! cluster_bits is 40, but must be 9 to 21"))
        #expect(damaged.text.contains("header_length"))
        let raw = try run("inspect", try folder.write(Array("Bochs Virtual HD Image\0".utf8), to: "a.raw"))
        #expect(raw.status == 0 && raw.text.contains("Bochs"))
        let unwritable = try run("inspect", "--svg", folder.file("gone/a.svg"), folder.file("a.qcow2"))
        #expect(unwritable.status == 1 && unwritable.errors.contains("No such file"))
        let unread = try run("inspect", "--html", folder.file("a.html"), folder.file("gone.qcow2"))
        #expect(unread.status == 1 && unread.errors.contains("a.html: no page is written: "), "\(unread.errors)")
        let itself = try run("inspect", "--svg", folder.file("a.qcow2"), folder.file("a.qcow2"))
        #expect(itself.status == 1 && itself.errors.contains("a file that the new picture is made of"))
        #expect(try run("inspect", folder.file("a.qcow2")).status == 0)
        let device = try run("inspect", "--svg", "/dev/null", folder.file("a.qcow2"))
        #expect(device.status == 1 && device.errors.contains("is a character device"))
    }

    @Test func `replaces no file with a picture unless that is wanted, and never one of the chain`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 base.qcow2 1M; mkdir outside
            qemu-img create -q -f qcow2 -o data_file=data.raw data.qcow2 1M
            qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
            qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentFlat split.vmdk 1M
            ln base.qcow2 hard.svg; ln -s base.qcow2 soft.svg; echo mine >notes.svg; echo mine >outside/notes.svg
            ln -s outside/notes.svg link.svg; chmod 640 notes.svg
            qemu-img create -q -f qcow2 -b "$PWD/top.qcow2" -F qcow2 outside/far.qcow2
            find . -type f -exec sha256sum {} + | sort >"$1.sums"
            """, folder.path)
        defer { try? FileManager.default.removeItem(atPath: folder.path + ".sums") }
        for (image, picture) in [
            ("top.qcow2", "base.qcow2"), ("top.qcow2", "hard.svg"), ("top.qcow2", "soft.svg"),
            ("top.qcow2", "top.qcow2"),
            ("data.qcow2", "data.raw"), ("split.vmdk", "split-f001.vmdk"), ("outside/far.qcow2", "base.qcow2"),
        ] {
            for force in [[], ["--force"]] {
                let result = try RBlock.run(["inspect", "--svg", picture] + force + [image], in: folder.path)
                #expect(result.status == 1 && result.output.isEmpty, "\(image) \(picture)")
                #expect(!result.errors.contains("--force"), "\(result.errors)")
            }
        }
        let kept = try RBlock.run(["inspect", "--svg", "notes.svg", "top.qcow2"], in: folder.path)
        #expect(kept.status == 1 && kept.errors.contains("notes.svg: exists already; --force"), "\(kept.errors)")
        try Shell.check("cd \"$1\"; sha256sum --quiet -c \"$1.sums\"", folder.path)
        for picture in ["notes.svg", "link.svg"] {
            let result = try RBlock.run(["inspect", "--svg", picture, "--force", "top.qcow2"], in: folder.path)
            #expect(result.status == 0, "\(result.errors)")
        }
        let text = try Shell.check(
            "cd \"$1\"; head -c 5 notes.svg; head -c 5 outside/notes.svg; readlink link.svg; stat -c %a notes.svg",
            folder.path)
        #expect(text == "<?xml<?xmloutside/notes.svg\n640")
        // A picture of an image whose files are not all found replaces a picture, and nothing else.
        let again = try RBlock.run(["inspect", "--svg", "notes.svg", "--force", "outside/far.qcow2"], in: folder.path)
        #expect(again.status == 0, "\(again.errors)")
    }

    @Test(arguments: [[], ["--l2"], ["--l2", "--limit", "3", "--graph"]])
    func `writes JSON that says what the text says`(options: [String]) throws {
        let folder = try TemporaryFolder()
        let result = try RBlock.run(["inspect", "--output", "json"] + options + [try image(folder)])
        #expect(result.status == 0)
        let document = try JSONValue(parsing: result.output)
        let structures = try #require(document["structures"]?.array)
        let header = try #require(structures.first { $0["name"]?.text == "header" })
        let bits = header["fields"]?.array?.first { $0["name"]?.text == "cluster_bits" }
        #expect(bits?["number"]?.number == 16 && bits?["offset"]?.number == 20 && bits?["raw"]?.text == "00 00 00 10")
        let table = try #require(structures.first { $0["name"]?.text == "L1 table" })
        #expect(table["entries"]?.array?.count == 2)
        let tables = table["structures"]?.array ?? []
        #expect(tables.count == (options.isEmpty ? 0 : options.count == 1 ? 2 : 1))
        if options == ["--l2"] {
            #expect(tables.map { $0["entries"]?.array?.count } == [16, 5])
            #expect(tables[1]["entries"]?.array?.first?["guest"]?.number == 600 << 20)
        }
        if options.count > 2 {
            #expect(tables[0]["omitted"]?.array?.first?["count"]?.number == 8192 - 3)
            #expect(document["use", "uses"]?.array?.contains { $0["use"]?.text == "data" } == true)
        }
        withExtendedLifetime(folder) {}
    }

    @Test func `draws a picture that is well-formed, and leaves nothing else behind`() throws {
        let folder = try TemporaryFolder()
        let path = try image(folder, "<&\u{1b}>.qcow2")
        let pictures = try folder.makeFolder("pictures")
        #expect(try run("inspect", "--svg", "\(pictures)/a.svg", path).status == 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: pictures) == ["a.svg"])
        let count = try Shell.check(
            "python3 -c 'import sys, xml.etree.ElementTree as t; print(sum(1 for e in t.parse(sys.argv[1]).iter() if e.tag.endswith(\"title\")))' \"$1\"",
            "\(pictures)/a.svg")
        #expect((Int(count) ?? 0) > 20)
    }

    @Test func `shows colours on a terminal only, and only where they are wanted`() throws {
        let folder = try TemporaryFolder()
        let path = try image(folder, "\u{1b}[31mred.qcow2")
        #expect(try !run("inspect", "--graph", path).text.utf8.contains(0x1b))
        // Runs the rest of its arguments on a terminal, and prints what they print there.
        let terminal = """
            python3 - "$@" <<'END'
            import os, pty, subprocess, sys
            ours, theirs = pty.openpty()
            subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=theirs)
            os.close(theirs)
            while True:
                try: part = os.read(ours, 65536)
                except OSError: break
                if not part: break
                sys.stdout.buffer.write(part)
            END
            """
        let shown = try Shell.check("unset NO_COLOR\n\(terminal)", Tool.rblock, "inspect", "--graph", path)
        #expect(
            shown.utf8.contains(0x1b) && shown.contains("[48;5;75;30m") && !shown.contains("\u{1b}[31mred"), "\(shown)")
        let plain = try Shell.check("export NO_COLOR=1\n\(terminal)", Tool.rblock, "inspect", "--graph", path)
        #expect(!plain.utf8.contains(0x1b))
        let never = try Shell.check(
            "unset NO_COLOR\n\(terminal)", Tool.rblock, "inspect", "--color", "never", "--graph", path)
        #expect(!never.utf8.contains(0x1b))
        // Elsewhere too where that is said, and nothing but the colours is other text.
        for arguments in [["inspect", "--graph", path], ["check", path], ["diff", path, path]] {
            let text = try RBlock.run(arguments).text
            let coloured = try RBlock.run(arguments + ["--color", "always"]).text
            #expect(coloured.utf8.contains(0x1b) && !text.utf8.contains(0x1b), "\(arguments)")
            guard arguments[0] != "inspect" else { continue }
            #expect(coloured.replacing(/\u{1b}\[[0-9;]*m/, with: "") == text, "\(arguments)")
        }
        withExtendedLifetime(folder) {}
    }

    @Test func `is bounded in memory whatever the image's size`() throws {
        let folder = try TemporaryFolder()
        let large = folder.file("large.qcow2")
        try QemuImg.create(large, size: 64 << 40)
        // A hostile one: a quarter of a million L1 entries name the same L2 table.
        let hostile = folder.file("hostile.qcow2")
        try QemuImg.create(hostile, size: 1 << 30)
        try Shell.check(
            """
            python3 - "$1" <<'END'
            import struct, sys
            file = open(sys.argv[1], 'r+b')
            file.seek(36); file.write(struct.pack('>IQ', 1 << 18, 1 << 20))
            file.seek(1 << 20); file.write(struct.pack('>Q', 64 << 20) * (1 << 18))
            file.seek(64 << 20); file.write(struct.pack('>Q', 1 << 63 | 65 << 20) * 8192)
            file.truncate(66 << 20)
            END
            """, hostile)
        for (path, status) in [(large, 0), (hostile, 2)] as [(String, Int32)] {
            let result = try Shell.run(
                "ulimit -v 1000000; timeout 60 \"$1\" inspect --l2 --graph --limit 50 \"$2\"", Tool.rblock, path)
            #expect(result.status == status, "\(result.errors)")
            #expect(result.output.count < 200_000)
        }
    }
}
