import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `rblock create` {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    private func create(_ arguments: String...) throws -> ToolResult {
        try RBlock.run(["create"] + arguments, in: folder.path)
    }

    @Test(
        arguments: [
            ("a.qcow2", "qcow2", []), ("a.raw", "raw", []), ("a.vmdk", "vmdk", []), ("a", "raw", ["-f", "raw"]),
            ("a.img", "qcow2", ["-f", "qcow2"]), ("b.qcow2", "qcow2", ["-o", "compat=0.10,cluster_size=4k"]),
            ("c.qcow2", "qcow2", ["-o", "preallocation=metadata"]), ("d.raw", "raw", ["-o", "preallocation=full"]),
            ("e.vmdk", "vmdk", ["-o", "subformat=monolithicFlat"]),
            ("f.vmdk", "vmdk", ["-o", "subformat=twoGbMaxExtentSparse,adapter_type=lsilogic"]),
        ] as [(String, String, [String])])
    func `makes an empty disk of the size that was said`(name: String, format: String, options: [String]) throws {
        let result = try RBlock.run(["create"] + options + [name, "5M"], in: folder.path)
        #expect(result.status == 0 && result.text.hasPrefix("\(name): \(format), 5 MiB; takes "), "\(result.errors)")
        let info = try QemuImg.info(folder.file(name), format: format)
        #expect(info["virtual-size"] as? Int == 5 << 20)
        try Shell.check("truncate -s 5M \"$1\"", folder.file("zeros"))
        let compared = try Tool.run(
            "qemu-img", ["compare", "-f", "raw", "-F", format, folder.file("zeros"), folder.file(name)])
        #expect(compared.status == 0, "\(compared.text)\(compared.errors)")
        if format == "qcow2" { #expect(try QemuImg.check(folder.file(name), format: format).status == 0) }
        let again = try RBlock.run(["create"] + options + [name, "5M"], in: folder.path)
        #expect(again.status == 1 && again.errors.contains("--force"), "\(again.errors)")
    }

    @Test(arguments: [("a.qcow2", "qcow2", 1024), ("a.vmdk", "vmdk", 1024), ("a.raw", "raw", 1000)])
    func `tells the size that it made, in whole sectors where the format counts in them`(
        name: String, format: String, size: Int
    ) throws {
        let json = try RBlock.json("create", name, "1000", in: folder.path)
        #expect(json["virtual-size"]?.number == size)
        #expect(try RBlock.json("info", name, in: folder.path)["virtual-size"]?.number == size)
        let again = try create("--force", name, "1000")
        #expect(
            again.text.hasPrefix("\(name): \(format), \(size == 1000 ? "0.977" : "1") KiB; takes "), "\(again.text)")
        // What another verb makes of it has that size, too.
        let copy = try RBlock.json("convert", "-O", format, "--force", name, "copy", in: folder.path)
        #expect(copy["virtual-size"]?.number == size)
    }

    @Test func `makes an image over another one, of its size`() throws {
        try Pattern.writeDisk(folder.file("base.raw"), size: 3 << 20, seed: 2)
        let json = try RBlock.json("create", "-b", "base.raw", "top.qcow2", in: folder.path)
        #expect(json["virtual-size"]?.number == 3 << 20 && json["backing"]?.text == "base.raw")
        #expect(json["backing-format"]?.text == "raw")
        let info = try QemuImg.info(folder.file("top.qcow2"), format: "qcow2")
        #expect(info["backing-filename"] as? String == "base.raw")
        #expect(info["backing-filename-format"] as? String == "raw")
        #expect(try create("-b", "top.qcow2", "-F", "qcow2", "higher.qcow2", "5M").status == 0)
        #expect(try create("-o", "backing_file=top.qcow2,backing_fmt=qcow2", "other.qcow2").status == 0)
        for name in ["top.qcow2", "other.qcow2"] {
            #expect(try RBlock.run(["diff", "base.raw", name], in: folder.path).status == 0, "\(name)")
        }
        try Shell.check("cd \"$1\"; qemu-img compare base.raw higher.qcow2; qemu-img check higher.qcow2", folder.path)
    }

    @Test func `makes a VMDK over another one`() throws {
        try Shell.check(
            "cd \"$1\"; seq 100000 > a.raw; truncate -s 1M a.raw; \"$2\" convert a.raw base.vmdk", folder.path,
            Tool.rblock)
        let result = try create("-b", "base.vmdk", "top.vmdk")
        #expect(result.status == 0, "\(result.errors)")
        #expect(try RBlock.run(["diff", "a.raw", "top.vmdk"], in: folder.path).status == 0)
        #expect(try Shell.run("cd \"$1\"; qemu-img compare -f raw -F vmdk a.raw top.vmdk", folder.path).status == 0)
        let raw = try create("-b", "a.raw", "wrong.vmdk")
        #expect(raw.status == 64 && raw.errors.contains("VMDK"), "\(raw.errors)")
    }

    @Test func `makes and reads a disk of more files than a process may have open by default`() throws {
        try Shell.check(
            """
            cd "$1"; ulimit -Sn 64
            "$2" create -o subformat=twoGbMaxExtentSparse split.vmdk 200G
            [ "$(ls split-s*.vmdk | wc -l)" = 101 ]
            "$2" info --backing-chain split.vmdk
            """, folder.path, Tool.rblock)
    }

    @Test func `looks for the backing image where the new one will`() throws {
        _ = try folder.makeFolder("sub")
        try folder.write(Array(repeating: 1, count: 1 << 20), to: "sub/base.raw")
        let wrong = try create("-b", "sub/base.raw", "sub/top.qcow2")
        #expect(wrong.status == 1 && wrong.errors.contains("sub/sub/base.raw"), "\(wrong.errors)")
        #expect(try create("-b", "base.raw", "sub/top.qcow2").status == 0)
        #expect(try create("-b", folder.file("sub/base.raw"), "absolute.qcow2").status == 0)
        let itself = try create("--force", "-b", "base.raw", "-f", "qcow2", "sub/base.raw")
        #expect(itself.status == 1 && itself.errors.contains("is made of"), "\(itself.errors)")
    }

    @Test(
        arguments: [
            (["a.qcow2"], 64, "size"), (["a", "1M"], 64, "-f"), (["a.qcow2", "1X"], 64, "1X"), ([], 64, "FILE"),
            (["-b", "base", "a.qcow2"], 64, "-F"), (["-b", "no.raw", "a.qcow2"], 1, "no.raw"),
            (["-b", "base.raw", "a.raw"], 64, "cannot have"), (["-o", "foo=1", "a.qcow2", "1M"], 64, "cluster_size"),
            (["-o", "backing_file=base,backing_fmt=bochs", "a.qcow2"], 64, "bochs"),
        ] as [([String], Int32, String)])
    func `names what is wrong with its arguments`(arguments: [String], status: Int32, hint: String) throws {
        for name in ["base", "base.raw"] { try folder.write(Array(repeating: 0, count: 4096), to: name) }
        let result = try RBlock.run(["create"] + arguments, in: folder.path)
        #expect(result.status == status && result.output.isEmpty && result.errors.contains(hint), "\(result.errors)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == ["base", "base.raw"])
    }
}
