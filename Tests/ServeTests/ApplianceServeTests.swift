import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("nbdinfo", "nbdcopy", "qemu-img", "sfdisk", "tar", "cmp", "sha256sum", "python3")))
struct `Appliances that are served` {
    /// A folder `images` with `sub/two.ova`, of a disk with a partition and one with a snapshot; and both disks.
    private static func makeImages() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("one"), size: 6 << 20, seed: 31)
        try Pattern.writeDisk(folder.file("two"), size: 4 << 20, seed: 32)
        try Shell.check(
            """
            cd "$1"; mkdir -p images/sub
            printf 'label: gpt\\nsize=2M\\n' | sfdisk -q --no-reread one >/dev/null
            qemu-img convert -O vmdk -o subformat=streamOptimized one disk1.vmdk
            qemu-img convert -O qcow2 two disk2.qcow2
            qemu-img snapshot -c daily disk2.qcow2
            for name in disk1.vmdk disk2.qcow2; do echo "SHA256($name)= $(sha256sum < $name | cut -c 1-64)"; done > a.mf
            tar -cf images/sub/two.ova disk1.vmdk disk2.qcow2 a.mf
            tar -cf one.ova disk1.vmdk a.mf
            echo no > images/broken.ova
            """, folder.path)
        return folder
    }

    private func names(_ server: ImageServer) throws -> [String] {
        let document = try JSONValue(parsing: try Tool.check("nbdinfo", "--list", "--json", server.uri()))
        return (document["exports"]?.array?.compactMap { $0["export-name"]?.text } ?? []).sorted()
    }

    @Test func `offer each of their disks, by the name that a mount has for it`() throws {
        let folder = try Self.makeImages()
        let server = try ImageServer([folder.file("images")])
        #expect(
            try names(server) == [
                "sub/two.ova/disk1.vmdk", "sub/two.ova/disk1.vmdk/p1", "sub/two.ova/disk2.qcow2",
                "sub/two.ova/disk2.qcow2@daily",
            ])
        for (name, disk) in [("disk1.vmdk", "one"), ("disk2.qcow2", "two"), ("disk2.qcow2@daily", "two")] {
            try Tool.check("nbdcopy", server.uri("sub/two.ova/\(name)"), folder.file("copy"))
            try Tool.check("cmp", folder.file("copy"), folder.file(disk))
        }
        try Tool.check("nbdcopy", server.uri("sub/two.ova/disk1.vmdk/p1"), folder.file("copy"))
        try Tool.check("cmp", "-i", "0:1048576", "-n", "2097152", folder.file("copy"), folder.file("one"))
        // One disk has one name.
        for name in ["sub/two.ova", "sub/two.ova/", "sub/two.ova/disk3.vmdk", "sub/two.ova/a.mf", ""] {
            let result = try Tool.run("nbdinfo", [server.uri(name)])
            #expect(result.status != 0, "\(name): \(result)")
        }
    }

    @Test func `need no name for the only disk where nothing else is served`() throws {
        let folder = try Self.makeImages()
        for name in ["one.ova", "one.ova/disk1.vmdk"] {
            let server = try ImageServer([folder.file(name)])
            #expect(try names(server) == ["one.ova/disk1.vmdk", "one.ova/disk1.vmdk/p1"])
            for export in ["", "one.ova/disk1.vmdk"] {
                try Tool.check("nbdcopy", server.uri(export), folder.file("copy"))
                try Tool.check("cmp", folder.file("copy"), folder.file("one"))
            }
        }
        let two = try ImageServer([folder.file("images/sub/two.ova")])
        #expect(try Tool.run("nbdinfo", [two.uri()]).status != 0)
        #expect(try names(two).count == 4)
    }

    @Test func `answer over JSON-RPC what the verbs print`() throws {
        let folder = try Self.makeImages()
        let archive = folder.file("images/sub/two.ova")
        let server = try ImageServer([folder.file("images")])
        let client = try server.connect()
        // Clients get names below the served folder.
        let root = folder.file("images/")
        for name in ["", "/disk1.vmdk", "/disk2.qcow2"] {
            let answer = try client.call("info", "[\"sub/two.ova\(name)\"]")
            #expect(try answer["result"] == RBlock.json("info", archive + name).removing(root), "\(answer)")
        }
        for name in ["/disk1.vmdk", "/disk2.qcow2"] {
            let image = "[\"sub/two.ova\(name)\"]"
            #expect(try client.call("map", image)["result"] == RBlock.json("map", archive + name).removing(root))
            #expect(
                try client.call("inspect", image)["result"] == RBlock.json("inspect", archive + name).removing(root))
        }
        let listed = try #require(try client.call("list")["result"]?.array)
        #expect(listed.compactMap { $0["error"] == nil ? nil : $0["name"]?.text } == ["broken.ova"])
        #expect(try client.call("open", "[\"sub/two.ova\"]").code == -32010)
        #expect(try client.call("open", "[\"sub/two.ova/none\"]").code == -32010)
    }

    @Test func `note what a check of the manifest found, wherever the disk is described then`() throws {
        let folder = try Self.makeImages()
        try Shell.check(
            """
            cd "$1"; printf x | dd of=disk2.qcow2 bs=1 seek=70000 conv=notrunc status=none
            tar -cf images/bad.ova disk1.vmdk disk2.qcow2 a.mf
            """, folder.path)
        let server = try ImageServer([folder.file("images")])
        let client = try server.connect()
        func notes(_ name: String) throws -> String {
            let info = try client.call("info", "[\"bad.ova\(name)\"]")
            return info["result", "rblock", "notes"]?.array?.compactMap(\.text).joined() ?? ""
        }
        #expect(try !notes("/disk2.qcow2").contains("SHA256"))
        let check = try client.call("check", "[\"bad.ova\"]")
        #expect(check["result", "corruptions"]?.number ?? 0 > 0, "\(check)")
        #expect(try notes("/disk2.qcow2").contains("\"disk2.qcow2\": its SHA256 is"))
        #expect(try notes("").contains("\"disk2.qcow2\": its SHA256 is"))
        let opened = try client.call("open", "[\"bad.ova/disk2.qcow2\"]")
        #expect(opened["result", "notes"]?.array?.count == 1, "\(opened)")
        #expect(try client.call("open", "[\"bad.ova/disk1.vmdk\"]")["result", "notes"] == nil)
        #expect(try !notes("/disk1.vmdk").contains("SHA256"))
        // Another archive takes its name.
        try Shell.check("cd \"$1\"; cp images/sub/two.ova new; mv new images/bad.ova", folder.path)
        #expect(try !notes("/disk2.qcow2").contains("SHA256"))
    }
}
