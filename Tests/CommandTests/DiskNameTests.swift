import Foundation
import HostTools
import TestImages
import Testing

/// What each surface offers of an image: the same disks, under the same names.
struct `A disk that an image holds` {
    /// `top.qcow2` over `base.img`, which has two partitions; the snapshot `one/two` keeps what was there before the last
    /// write, and a saved state; and for each name the bytes that it must have, in a file of `expected`.
    private static func images() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; mkdir disks expected; cd disks
            head -c 8M /dev/urandom >base.img
            printf '2048,4096\\n8192,2048\\n' | sfdisk -q --label dos base.img
            qemu-img create -q -f qcow2 -b base.img -F raw top.qcow2
            qemu-io -c 'write -P 1 2M 64k' -c 'write -b -P 7 0 100k' top.qcow2 >/dev/null
            qemu-img snapshot -c one/two top.qcow2
            python3 - <<END
            disk = bytearray(open('top.qcow2', 'rb').read())
            entry = int.from_bytes(disk[64:72], 'big')
            disk[entry + 32:entry + 36] = (100000).to_bytes(4, 'big')
            disk[entry + 40:entry + 48] = (100000).to_bytes(8, 'big')
            open('top.qcow2', 'wb').write(disk)
            END
            qemu-io -c 'write -P 2 2M 64k' -c 'write -P 3 5M 4k' top.qcow2 >/dev/null
            cp base.img ../expected/base; cp base.img ../expected/layer1
            qemu-img convert -O raw top.qcow2 ../expected/top
            qemu-img convert -l one/two -O raw top.qcow2 ../expected/snapshot
            head -c 100000 /dev/zero | tr '\\0' '\\7' >../expected/state
            cd ../expected
            part() { dd if=$1 of=$2 bs=512 skip=$3 count=$4 status=none; }
            part top top-p1 2048 4096; part top top-p2 8192 2048; part base base-p1 2048 4096
            part snapshot snapshot-p1 2048 4096
            """, folder.path)
        return folder
    }

    /// A name, the file of the expected bytes, and where a mount has it.
    private static let rows =
        [
            ("top.qcow2", "top", "top.qcow2/disk.raw"),
            ("top.qcow2/p1", "top-p1", "top.qcow2/partitions/p1.raw"),
            ("top.qcow2/p2", "top-p2", "top.qcow2/partitions/p2.raw"),
            ("top.qcow2@one%2Ftwo", "snapshot", "top.qcow2/snapshots/one%2Ftwo/disk.raw"),
            ("top.qcow2@one%2Ftwo/p1", "snapshot-p1", "top.qcow2/snapshots/one%2Ftwo/partitions/p1.raw"),
            ("top.qcow2@one%2Ftwo/vmstate", "state", "top.qcow2/snapshots/one%2Ftwo/vmstate"),
            ("top.qcow2/layers/0", "top", "top.qcow2/layers/0.raw"),
            ("top.qcow2/layers/1", "layer1", "top.qcow2/layers/1.raw"),
            ("base.img", "base", "base.img/disk.raw"),
            ("base.img/p1", "base-p1", "base.img/partitions/p1.raw"),
        ] as [(name: String, expected: String, mounted: String)]

    @Test func `has the same name and the same bytes for verbs, NBD, JSON-RPC and the mount`() throws {
        let folder = try Self.images()
        let disks = folder.file("disks")
        let server = try ImageServer([disks])
        let mount = try Mount(disks)
        let list = try JSONValue(parsing: try RBlock.run(["rpc", server.rpcSocket, "list"]).output)
        let listed = list.array?.compactMap { $0["name"]?.text } ?? []
        for row in Self.rows {
            let expected = try Data(contentsOf: URL(fileURLWithPath: folder.file("expected/\(row.expected)")))
            let whole = "0..<\(expected.count) of \(row.name)"
            let sum = try Shell.check("sha256sum <\"$1\" | cut -c 1-64", folder.file("expected/\(row.expected)"))

            let hash = try RBlock.run(["hash", row.name], in: disks)
            #expect(hash.text == "\(sum)  \(row.name)\n", "\(hash.errors)")
            #expect(try RBlock.run(["read", row.name], in: disks).output == expected, "\(whole)")
            let copy = folder.file("copy.raw")
            #expect(try RBlock.run(["convert", "--force", row.name, copy], in: disks).status == 0)
            #expect(try Data(contentsOf: URL(fileURLWithPath: copy)) == expected, "\(whole)")
            #expect(try RBlock.run(["diff", row.name, copy], in: disks).status == 0)
            let map = try RBlock.json("map", "--output", "json", row.name, in: disks)
            #expect(map.array?.compactMap { $0["length"]?.number }.reduce(0, +) == expected.count, "\(whole)")
            let info = try RBlock.json("info", "--output", "json", row.name, in: disks)
            #expect(info["virtual-size"]?.number == expected.count && info["filename"]?.text == row.name)

            #expect(listed.contains(row.name), "\(listed)")
            try Tool.check(
                "qemu-img", "convert", "-O", "raw", "--image-opts",
                "driver=raw,file.driver=nbd,file.path=\(server.socket),file.export=\(row.name)", copy)
            #expect(try Data(contentsOf: URL(fileURLWithPath: copy)).prefix(expected.count) == expected, "\(whole)")
            func rpc(_ method: String, _ arguments: String...) throws -> JSONValue {
                let result = try RBlock.run(["rpc", server.rpcSocket, method, "image=\(row.name)"] + arguments)
                #expect(result.status == 0, "\(row.name): \(result.errors)")
                return try JSONValue(parsing: result.output)
            }
            let data = try rpc("read", "offset=4096", "length=512")["data"]?.text.flatMap { Data(base64Encoded: $0) }
            #expect(data == expected[4096..<4608], "\(whole)")
            #expect(try rpc("info")["virtual-size"]?.number == expected.count)
            #expect(try rpc("map").array?.compactMap { $0["length"]?.number }.reduce(0, +) == expected.count)

            #expect(try Data(contentsOf: URL(fileURLWithPath: mount.file(row.mounted))) == expected, "\(whole)")
        }
    }

    @Test func `may be a partition of what --snapshot says`() throws {
        let folder = try Self.images()
        let result = try RBlock.run(["read", "--snapshot", "one/two", "top.qcow2/p1"], in: folder.file("disks"))
        let expected = try Data(contentsOf: URL(fileURLWithPath: folder.file("expected/snapshot-p1")))
        #expect(result.output == expected, "\(result.errors)")
    }

    @Test func `can be served alone`() throws {
        let folder = try Self.images()
        let server = try ImageServer([folder.file("disks/top.qcow2@one%2Ftwo/p1")])
        let list = try JSONValue(parsing: try RBlock.run(["rpc", server.rpcSocket, "list"]).output)
        #expect(list.array?.compactMap { $0["name"]?.text } == ["top.qcow2@one%2Ftwo/p1"])
        let copy = folder.file("copy.raw")
        try Tool.check("qemu-img", "convert", "-f", "raw", "-O", "raw", "nbd+unix:///?socket=\(server.socket)", copy)
        let expected = try Data(contentsOf: URL(fileURLWithPath: folder.file("expected/snapshot-p1")))
        #expect(try Data(contentsOf: URL(fileURLWithPath: copy)) == expected)
    }

    @Test func `that is not there, and what is done with whole images only, are errors that say so`() throws {
        let folder = try Self.images()
        let disks = folder.file("disks")
        for (arguments, message) in [
            (["hash", "top.qcow2/p3"], "top.qcow2: has no partition 3; it has 1, 2"),
            (["hash", "top.qcow2/layers/2"], "has no image 2 in its chain; the last one is 1"),
            (["hash", "top.qcow2@none"], "has no snapshot \"none\""),
            (["hash", "top.qcow2/p01"], "top.qcow2/p01"),
            (["hash", "--snapshot", "one/two", "top.qcow2@one%2Ftwo"], "says already which disk is meant"),
            (["hash", "--snapshot", "one/two", "top.qcow2/layers/1"], "/layers/1: says already which disk is meant"),
            (["check", "top.qcow2/p1"], "top.qcow2/p1: is a disk that an image holds, and no image by itself; "),
            (["delta", "top.qcow2/layers/1", "top.qcow2", "out.qcow2"], "is a disk that an image holds"),
        ] {
            let result = try RBlock.run(arguments, in: disks)
            #expect(result.status == 1 && result.errors.contains(message), "\(arguments): \(result.errors)")
        }
        // A file of that name comes first.
        try folder.write([1, 2, 3], to: "disks/a.raw@b")
        try folder.write([4], to: "disks/a.raw")
        #expect(try RBlock.run(["read", "--format", "raw", "a.raw@b"], in: disks).output == Data([1, 2, 3]))
    }
}
