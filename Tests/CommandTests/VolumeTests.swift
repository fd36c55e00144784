import Foundation
import HostTools
import TestImages
import Testing

/// Volumes of LVM on the images of Fixtures/lvm, which LVM's own tools made; its MANIFEST.tsv has the digests of what these say
/// that the volumes are, which GRUB's reader agrees with.
struct `A volume of LVM` {
    private static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Fixtures/lvm").standardized.path

    private struct Row {
        var image: String
        var volume: String
        var size: Int
        var digest: String
    }

    /// Each volume, by the first of its images.
    private static func rows() throws -> [Row] {
        let text = try String(contentsOfFile: fixtures + "/MANIFEST.tsv", encoding: .utf8)
        return try text.split(separator: "\n").dropFirst().map { line in
            let fields = line.split(separator: "\t").map(String.init)
            let image = try #require(fields[0].split(separator: " ").first)
            return Row(image: String(image), volume: fields[1], size: try #require(Int(fields[2])), digest: fields[3])
        }
    }

    private static func copy() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check("cp \"$1\"/*.qcow2 \"$2\"", fixtures, folder.path)
        return folder
    }

    private func digest(_ path: String) throws -> String {
        try Shell.check("sha256sum <\"$1\" | cut -c 1-64", path).filter { $0 != "\n" }
    }

    @Test func `has the same name and the same bytes for verbs, NBD, JSON-RPC and the mount`() throws {
        let folder = try Self.copy()
        let server = try ImageServer([folder.path])
        let mount = try Mount(folder.path)
        let list = try JSONValue(parsing: try RBlock.run(["rpc", server.rpcSocket, "list"]).output)
        let listed = list.array?.compactMap { $0["name"]?.text } ?? []
        let copies = try TemporaryFolder()
        let copy = copies.file("copy.raw")
        for row in try Self.rows() {
            let name = "\(row.image)/\(row.volume)"
            let hash = try RBlock.run(["hash", name], in: folder.path)
            #expect(hash.text == "\(row.digest)  \(name)\n", "\(hash.errors)")
            #expect(try RBlock.run(["read", name], in: folder.path).output.count == row.size)
            #expect(try RBlock.run(["convert", "--force", name, copy], in: folder.path).status == 0)
            #expect(try digest(copy) == row.digest, "\(name)")
            #expect(try RBlock.run(["diff", name, copy], in: folder.path).status == 0)
            let map = try RBlock.json("map", "--output", "json", name, in: folder.path)
            #expect(map.array?.compactMap { $0["length"]?.number }.reduce(0, +) == row.size, "\(name)")
            let info = try RBlock.json("info", "--output", "json", name, in: folder.path)
            #expect(info["virtual-size"]?.number == row.size && info["filename"]?.text == name)
            #expect(listed.contains(name), "\(listed)")
            try Tool.check(
                "qemu-img", "convert", "-O", "raw", "--image-opts",
                "driver=raw,file.driver=nbd,file.path=\(server.socket),file.export=\(name)", copy)
            #expect(try digest(copy) == row.digest, "\(name)")
            let rpc = try RBlock.run(["rpc", server.rpcSocket, "info", "image=\(name)"])
            #expect(try JSONValue(parsing: rpc.output)["virtual-size"]?.number == row.size, "\(rpc.errors)")
            #expect(try digest(mount.file("\(row.image)/volumes/\(row.volume).raw")) == row.digest, "\(name)")
        }
        // Each image of a group has its volumes.
        #expect(listed.contains("two.qcow2/rack--a-striped") && listed.contains("three.qcow2/rack--a-striped"))
        let row = try #require(try Self.rows().first { $0.volume == "rack--a-striped" })
        #expect(try digest(mount.file("three.qcow2/volumes/rack--a-striped.raw")) == row.digest)
    }

    @Test func `is listed with its group by info and stats_json`() throws {
        let folder = try Self.copy()
        let mount = try Mount(folder.path)
        let stats = try JSONValue(
            parsing: try Data(contentsOf: URL(fileURLWithPath: mount.file("one.qcow2/stats.json"))))
        let group = try #require(stats["rblock"]?["volume-groups"]?.array?.first)
        #expect(group["name"]?.text == "rack-a" && group["volumes"]?.array?.count == 4)
        #expect(group["volumes"]?.array?.allSatisfy { $0["error"] == nil } == true)
        #expect(
            group["volumes"]?.array?.compactMap { $0["file"]?.text }.sorted().first == "volumes/rack--a-home--1.raw")
        #expect(group["physical-volumes"]?.array?.map { $0["image"]?.text } == [nil, "two.qcow2", "three.qcow2"])
        #expect(stats["rblock"]?["content"]?.text == "LVM2_member")
        // Without a look at other images.
        let info = try RBlock.json("info", folder.file("one.qcow2"))
        let volumes = info["rblock"]?["volume-groups"]?.array?.first?["volumes"]?.array ?? []
        #expect(volumes.filter { $0["error"] == nil }.map { $0["name"]?.text } == ["root"], "\(volumes)")
        let guest = try RBlock.run(["info", folder.file("guest.qcow2")])
        #expect(guest.text.contains("Linux LVM, physical volume of LVM\n"), "\(guest.text)")
        #expect(guest.text.contains("    guest-root: 1.62 MiB"), "\(guest.text)")
    }

    @Test func `on images of which one is missing, or is there twice, is refused, and others are read`() throws {
        let folder = try Self.copy()
        let root = ["hash", "one.qcow2/rack--a-root"]
        let home = ["hash", "one.qcow2/rack--a-home--1"]
        func refused(_ arguments: [String], _ message: String, _ location: SourceLocation = #_sourceLocation) throws {
            let result = try RBlock.run(arguments, in: folder.path)
            #expect(result.status == 1 && result.errors.contains(message), "\(result.errors)", sourceLocation: location)
        }
        #expect(try RBlock.run(home, in: folder.path).status == 0)
        try Shell.check("cd \"$1\"; cp three.qcow2 clone.qcow2", folder.path)
        try refused(
            home, "is on several images of the folder (clone.qcow2, three.qcow2), so that nothing tells which is meant")
        // An overlay is no clone of what it lies over.
        try Shell.check(
            "cd \"$1\"; rm clone.qcow2; qemu-img create -q -f qcow2 -b three.qcow2 -F qcow2 clone.qcow2", folder.path)
        #expect(try RBlock.run(home, in: folder.path).status == 0)
        try Shell.check("cd \"$1\"; rm clone.qcow2; cp one.qcow2 clone.qcow2", folder.path)
        try refused(home, "but clone.qcow2 has the same physical volume as this one")
        try Shell.check(
            "cd \"$1\"; rm clone.qcow2; qemu-img create -q -f qcow2 -b one.qcow2 -F qcow2 clone.qcow2", folder.path)
        try refused(home, "and this image lies under clone.qcow2: that has the newer state of this disk")
        #expect(try RBlock.run(["hash", "clone.qcow2/rack--a-home--1"], in: folder.path).status == 0)
        #expect(try RBlock.run(root, in: folder.path).status == 0)
        try Shell.check("cd \"$1\"; rm clone.qcow2 three.qcow2", folder.path)
        try refused(home, "which is neither on this disk nor on another image of the folder")
        try refused(["hash", "one.qcow2/rack--a-none"], "has no volume \"rack--a-none\"; it has rack--a-root, ")
        #expect(try RBlock.run(root, in: folder.path).status == 0)
    }

    @Test func `of a snapshot lies on that alone, and changes of another image are seen`() throws {
        let folder = try Self.copy()
        try Shell.check(
            """
            cd "$1"; qemu-img snapshot -c old guest.qcow2
            qemu-io -c 'write -P 9 1M 2M' guest.qcow2 >/dev/null
            """, folder.path)
        let row = try #require(try Self.rows().first { $0.volume == "guest-root" })
        let name = "guest.qcow2@old/guest-root"
        #expect(try RBlock.run(["hash", name], in: folder.path).text == "\(row.digest)  \(name)\n")
        #expect(try !RBlock.run(["hash", "guest.qcow2/guest-root"], in: folder.path).text.contains(row.digest))
        let mount = try Mount(folder.path)
        #expect(try digest(mount.file("guest.qcow2/snapshots/old/volumes/guest-root.raw")) == row.digest)
        let path = mount.file("one.qcow2/volumes/rack--a-home--1.raw")
        let before = try digest(path)
        try Shell.check("cd \"$1\"; qemu-io -c 'write -P 9 0x40000 64k' three.qcow2 >/dev/null", folder.path)
        #expect(try digest(path) != before)
    }

    @Test(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "blkid")))
    func `is attached and mounted as any disk`() throws {
        let folder = try AttachmentFolder(
            """
            mkdir mnt files; echo before >files/kept; truncate -s 2000K fs.raw; mkfs.ext4 -q -d files fs.raw
            """)
        let id = String(repeating: "a", count: 32)
        var group = BuiltGroup("vg", String(repeating: "g", count: 32), members: [id])
        group.add("data", BuiltGroup.segment(0, 200, [("pv0", 0)]), BuiltGroup.segment(200, 300, [("pv0", 400)]))
        group.add("flat", BuiltGroup.segment(0, 10, [("pv0", 300)]))
        var disk = BuiltLVM(id, size: 8 << 20)
        disk.setText(group.text)
        try Data(disk.bytes).write(to: URL(fileURLWithPath: folder.folder.file("disk.raw")))
        try folder.shell(
            """
            dd if=fs.raw of=disk.raw bs=4096 seek=16 count=200 conv=notrunc status=none
            dd if=fs.raw of=disk.raw bs=4096 seek=416 skip=200 count=300 conv=notrunc status=none
            """)
        try folder.check("mount", "disk.raw/vg-data", "mnt")
        #expect(try folder.shell("cat mnt/kept") == "before")
        try folder.check("unmount", "mnt")
        let device = try folder.check("attach", "--as", "flat", "disk.raw/vg-flat")
        #expect(
            try folder.shell("blockdev --getsize64 $1", device.split(separator: " ").first.map(String.init) ?? "")
                == "40960")
        try folder.check("detach", "flat")
        #expect(try folder.left() == "")
        let whole = try folder.run("mount", "disk.raw", "mnt")
        #expect(whole.status == 3 && whole.errors.contains("disk.raw/vg-data  volume of LVM"), "\(whole.errors)")
    }
}
