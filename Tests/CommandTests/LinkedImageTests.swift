import Foundation
import HostTools
import TestImages
import Testing

/// An image that is reached through a link names its backing file from the link's folder, as QEMU has it.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "sha256sum", "bash")))
struct `An image behind a link` {
    /// The folder of a machine as OpenNebula keeps it: `disk.0` leads to the topmost of `disk.0.snap`.
    private func snapshotFolder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1" && mkdir -p 7/disk.0.snap && cd 7 && ln -s . disk.0.snap/disk.0.snap
            qemu-img create -q -f qcow2 disk.0.snap/0 8M
            qemu-io -f qcow2 -c 'write -P 1 0 1M' disk.0.snap/0 >/dev/null
            for n in 1 2; do
              qemu-img create -q -f qcow2 -b disk.0.snap/$((n - 1)) -F qcow2 disk.0.snap/$n
              qemu-io -f qcow2 -c "write -P 5 ${n}M 1M" disk.0.snap/$n >/dev/null
            done
            ln -s disk.0.snap/2 disk.0 && ln -s disk.0.snap/2 disk.qcow2
            qemu-img convert -f qcow2 -O raw disk.0 ../truth.raw
            """, folder.path)
        return folder
    }

    private func hash(_ path: String) throws -> Substring {
        try #require(String(data: try Tool.check("sha256sum", path), encoding: .utf8)).prefix(64)
    }

    @Test func `names what lies beside the link, and every link to a link`() throws {
        let folder = try snapshotFolder()
        let truth = try hash(folder.file("truth.raw"))
        for arguments in [
            ["-f", "qcow2", "7/disk.0"], ["7/disk.qcow2"], ["-f", "qcow2", "7/disk.0.snap/2"],
            ["-f", "qcow2", "7/disk.0.snap/disk.0.snap/2"],
        ] {
            let result = try RBlock.run(["hash"] + arguments, in: folder.path)
            #expect(result.status == 0 && result.text.prefix(64) == truth, "\(arguments) \(result.errors)")
            #expect(result.errors == "", "\(arguments)")
        }
        // Also from the link's own folder, and through the servers.
        #expect(try RBlock.run(["hash", "disk.qcow2"], in: folder.file("7")).text.prefix(64) == truth)
    }

    /// `farm/top.qcow2` leads to `store/top.qcow2`, which names `base.raw`.
    private func farm(_ script: String) throws -> (folder: TemporaryFolder, result: ToolResult) {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1" && mkdir farm store && cd store
            qemu-img create -q -f qcow2 -u -b base.raw -F raw top.qcow2 1M && cd ..
            ln -s ../store/top.qcow2 farm/top.qcow2
            make() { head -c 1M /dev/zero | tr '\\0' "$2" > "$1"; }

            """ + script, folder.path)
        return (folder, try RBlock.run(["read", "--length", "1", "farm/top.qcow2"], in: folder.path))
    }

    @Test func `is read over the file beside the link, and then over that beside itself, which is said`() throws {
        let beside = try farm("make farm/base.raw a")
        #expect(beside.result.status == 0 && beside.result.text == "a" && beside.result.errors == "")
        let itself = try farm("make store/base.raw b")
        #expect(itself.result.status == 0 && itself.result.text == "b")
        #expect(itself.result.errors.contains("it is not beside the link"), "\(itself.result.errors)")
        let both = try farm("make farm/base.raw a; make store/base.raw b")
        #expect(both.result.status == 0 && both.result.text == "a")
        #expect(both.result.errors.contains("and not the other one beside its file"), "\(both.result.errors)")
        let same = try farm("make store/base.raw b; ln -s ../store/base.raw farm/base.raw")
        #expect(same.result.status == 0 && same.result.text == "b" && same.result.errors == "")
        // Neither folder lets out.
        let out = try farm("make base.raw c; ln -s ../base.raw farm/base.raw")
        #expect(
            out.result.status == 1 && out.result.errors.contains("out of the images folder"), "\(out.result.errors)")
        let name = try RBlock.run(["hash", "store/top.qcow2"], in: both.folder.path)
        #expect(name.status == 0 && name.errors == "")
    }

    @Test(.enabled(if: Tool.canMount()))
    func `is so in a mount of a folder and of the link alone, and over NBD`() throws {
        let folder = try snapshotFolder()
        let truth = try hash(folder.file("truth.raw"))
        let whole = try Mount(folder.file("7"))
        #expect(try hash(whole.disk("disk.qcow2")) == truth)
        let alone = try Mount(folder.file("7/disk.qcow2"))
        #expect(try hash(alone.disk("disk.qcow2")) == truth)
        let both = try farm("make farm/base.raw a; make store/base.raw b")
        let mount = try Mount(both.folder.file("farm/top.qcow2"))
        #expect(try Tool.check("head", "-c", "1", mount.disk("top.qcow2")) == Data("a".utf8))
        #expect(try mount.document("top.qcow2")["rblockfs", "notes"]?.array?.count == 1)
    }

    @Test(.enabled(if: Tool.canMount()))
    func `is another one when the link leads elsewhere`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            "cd \"$1\" && printf one > one.raw && printf two > two.raw && ln -s one.raw now.raw", folder.path)
        let mount = try Mount(folder.path)
        #expect(try Tool.check("cat", mount.disk("now.raw")) == Data("one".utf8))
        try Shell.check("cd \"$1\" && ln -sf two.raw new && mv -T new now.raw", folder.path)
        #expect(try wait(seconds: 60) { try Tool.check("cat", mount.disk("now.raw")) == Data("two".utf8) })
    }
}
