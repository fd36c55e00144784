import Foundation
import HostTools
import TestImages
import Testing

@Suite("What a folder holds and is not shown", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp")))
struct SkippedFilesTests {
    /// A chain of snapshots as libvirt names them, an instance as Nova keeps it, notes, a part of a VMDK, a link to nowhere.
    private func images() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"
            qemu-img create -q -f qcow2 web.qcow2 4M; qemu-io -c 'write -P 1 0 1M' web.qcow2 >/dev/null
            qemu-img create -q -f qcow2 -b web.qcow2 -F qcow2 web.snap1; qemu-io -c 'write -P 2 1M 1M' web.snap1 >/dev/null
            qemu-img create -q -f qcow2 -b web.snap1 -F qcow2 web.snap2
            qemu-img create -q -f qcow2 disk 4M; qemu-io -c 'write -P 3 0 1M' disk >/dev/null
            qemu-img create -q -f qcow2 base 4M; qemu-io -c 'write -P 4 0 1M' base >/dev/null
            qemu-img create -q -f qcow2 -b base -F qcow2 middle
            qemu-img create -q -f qcow2 -b middle -F qcow2 top.qcow2
            qemu-img create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 1M
            mkdir sub; echo hello >sub/notes.txt; ln -s nowhere gone; ln -s . loop
            """, folder.path)
        return folder
    }

    /// The names that are skipped for `reason`, by the mount's `stats.json`.
    private func skipped(_ mount: Mount, _ reason: String) throws -> [String] {
        let document = try JSONValue(parsing: FileManager.default.contents(atPath: mount.file("stats.json")) ?? Data())
        let group = document["rblockfs", "skipped", reason]
        let names = group?["names"]?.array?.compactMap(\.text) ?? []
        #expect(group?["count"]?.number ?? 0 == names.count)
        return names
    }

    @Test("is counted and named in stats.json of the mount, also when it comes and goes")
    func counted() throws {
        let folder = try images()
        let mount = try Mount(folder.path)
        let unknown = ["base", "disk", "middle", "sub/notes.txt", "web.snap1", "web.snap2"]
        // Reading stats.json waits half a second for what is there now.
        #expect(try wait(seconds: 60) { try skipped(mount, "no-known-extension") == unknown })
        #expect(try skipped(mount, "part-of-an-image") == ["flat-flat.vmdk"])
        #expect(try skipped(mount, "unreadable") == ["gone"])
        try FileManager.default.removeItem(atPath: folder.file("disk"))
        #expect(try wait(seconds: 60) { try skipped(mount, "no-known-extension").count == 5 })
        try mount.unmount()
        let other = try TemporaryFolder()
        let mountpoint = try other.makeFolder("mnt")
        try Mount.register(mountpoint)
        let log = try Shell.check(
            """
            timeout 60 "$1" -f "$2" "$3" 2>"$4" &
            for i in {1..300}; do grep -q 'not shown' "$4" && break; sleep 0.1; done
            fusermount3 -u "$3"; wait; cat "$4"
            """, Tool.rblockfs, folder.path, mountpoint, other.file("log"))
        #expect(log.contains("not shown: 5 without a known extension (base, middle,"), "\(log)")
    }

    @Test("is shown by its content with --probe, and names files only where a chain says what it is")
    func probed() throws {
        let folder = try images()
        let mount = try Mount(folder.path, options: ["--probe"])
        // A folder whose files take long to look at is listed without what only their content says, until they were.
        let shown =
            "base\ndisk\nflat.vmdk\nmiddle\nstats.json\nsub\ntop.qcow2\nweb.qcow2\nweb.snap1\nweb.snap2"
        #expect(try wait(seconds: 60) { try Shell.check("ls \"$1\"", mount.path) == shown })
        #expect(try OpenedFile(mount.disk("disk")).read(65536, at: 0) == Array(repeating: 3, count: 65536))
        // top.qcow2 names it, with a format.
        #expect(try OpenedFile(mount.disk("middle")).read(65536, at: 0) == Array(repeating: 4, count: 65536))
        for name in ["web.snap1", "web.snap2"] {
            #expect(try mount.document(name)["error", "code"]?.text == "denied", "\(name)")
        }
        #expect(try wait(seconds: 60) { try skipped(mount, "no-known-extension") == ["sub/notes.txt"] })
        try mount.unmount()
        let single = try Mount(folder.file("web.snap2"), options: ["--format", "qcow2"])
        #expect(try OpenedFile(single.disk("web.snap2")).read(65536, at: 1 << 20) == Array(repeating: 2, count: 65536))
    }

    @Test("is logged when a server starts, which has --probe as well")
    func served() throws {
        let folder = try images()
        do {
            let server = try ImageServer([folder.path])
            #expect(
                wait(seconds: 60) { server.errors.contains("not served: 6 without a known extension (base, disk,") })
            #expect(server.errors.contains("1 that are parts of other images (flat-flat.vmdk)"))
        }
        let server = try ImageServer([folder.path], options: ["--probe"])
        for (name, byte) in [("disk", UInt8(3)), ("middle", 4), ("top.qcow2", 4)] {
            #expect(
                try wait(seconds: 60) {
                    let bytes = try RBlock.run([
                        "rpc", "--raw", server.rpcSocket, "read", "image=\(name)", "offset=0", "length=512",
                    ])
                    return bytes.output == Data(repeating: byte, count: 512)
                }, "\(name)")
        }
        let denied = try RBlock.run(["rpc", server.rpcSocket, "read", "image=web.snap2", "offset=0", "length=512"])
        #expect(denied.status != 0 && denied.errors.contains("only the content"), "\(denied.errors)")
    }
}
