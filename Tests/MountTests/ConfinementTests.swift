import Foundation
import HostTools
import TestImages
import Testing

@Suite("Files that an image may not name", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp", "jq")))
struct ConfinementTests {
    /// A folder with an image folder `images` and a raw disk `outside.raw` beside it.
    private func makeFolder() throws -> (folder: TemporaryFolder, images: String) {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk(folder.file("outside.raw"), size: 1 << 20, seed: 7)
        try Pattern.writeDisk("\(images)/inside.raw", size: 1 << 20, seed: 8)
        return (folder, images)
    }

    @Test(
        "A backing file outside the folder, a device, a FIFO or a protocol is refused clearly, and nothing hangs",
        .timeLimit(.minutes(10)),
        arguments: [
            "/etc/shadow", "../outside.raw", "../../../../../etc/passwd", "/dev/zero", "/dev/fuse", "pipe", "subfolder",
            "json:{\"file.filename\":\"/etc/shadow\"}", "nbd:localhost:10809", "nbd+unix:///x?socket=/tmp/x",
            "link-out", "link-folder/outside.raw", "file:/etc/shadow", "/proc/self/mem", "subfolder/../../outside.raw",
            "http://localhost/x", "fat:.",
        ])
    func refused(name: String) throws {
        let (folder, images) = try makeFolder()
        try Shell.check(
            """
            cd "$1"; mkfifo pipe; mkdir subfolder
            ln -s ../outside.raw link-out; ln -s .. link-folder
            qemu-img create -q -u -f qcow2 -b "$2" -F raw evil.qcow2 1M
            """, images, name)
        let mount = try Mount(images)
        let result = try Tool.run("cat", [mount.disk("evil.qcow2")], timeout: 300)
        #expect(result.status != 0 && result.output.isEmpty)
        let error = try #require(try mount.document("evil.qcow2")["error"])
        #expect(error["code"]?.text == "denied", "\(error)")
        // The file's name stands there as it does in the image.
        #expect(error["message"]?.text?.contains(name) == true, "\(error)")
        try Shell.check("timeout 10 cmp \"$1\" \"$2\"", "\(images)/inside.raw", mount.disk("inside.raw"))
        try mount.unmount()
        withExtendedLifetime(folder) {}
    }

    @Test("The extents of a VMDK descriptor are held in the same way", .timeLimit(.minutes(10)))
    func extents() throws {
        let (folder, images) = try makeFolder()
        for (name, extent) in [("a", "/etc/passwd"), ("b", "../outside.raw"), ("c", "/dev/zero"), ("d", "pipe")] {
            let text = """
                # Disk DescriptorFile
                version=1
                CID=12345678
                parentCID=ffffffff
                createType="monolithicFlat"

                RW 8 FLAT "\(extent)" 0

                """
            try Data(text.utf8).write(to: URL(fileURLWithPath: "\(images)/\(name).vmdk"))
        }
        try Shell.check("mkfifo \"$1/pipe\"", images)
        let mount = try Mount(images)
        // A device is a kind of extent of its own, which is not supported wherever it lies.
        for (name, code) in [("a", "denied"), ("b", "denied"), ("c", "unsupported"), ("d", "denied")] {
            let name = "\(name).vmdk"
            #expect(try Tool.run("cat", [mount.disk(name)], timeout: 300).status != 0)
            let error = try #require(try mount.document(name)["error"])
            #expect(error["code"]?.text == code, "\(name): \(error)")
        }
        withExtendedLifetime(folder) {}
    }

    @Test("An image that names a file of the mount itself is refused, and the mount goes on", .timeLimit(.minutes(10)))
    func namesTheMount() throws {
        let (folder, images) = try makeFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Shell.check(
            """
            cd "$1"
            qemu-img create -q -u -f qcow2 -b "$2/self.qcow2/disk.raw" -F raw self.qcow2 1M
            qemu-img create -q -u -f qcow2 -b "$2/inside.raw/disk.raw" -F raw other.qcow2 1M
            qemu-img create -q -u -f qcow2 -b ../mnt/relative.qcow2/disk.raw -F raw relative.qcow2 1M
            qemu-img create -q -u -f qcow2 -b way/through.qcow2/disk.raw -F raw through.qcow2 1M
            ln -s "$2/link.qcow2/disk.raw" link.qcow2; ln -s ../mnt/near.raw/disk.raw near.raw; ln -s ../mnt way
            """, images, mountpoint)
        let mount = try Mount(images, at: mountpoint, in: folder)
        for name in ["self", "other", "relative", "through", "link"].map({ $0 + ".qcow2" }) + ["near.raw"] {
            let result = try Shell.run(
                "timeout -s KILL 10 cat \"$1\"; timeout -s KILL 10 cat \"$2\" | jq -r .error.code", mount.disk(name),
                mount.stats(name))
            try #require(result.text == "denied\n", "\(name): \(result.text)\(result.errors)")
        }
        try Shell.check("timeout 10 cmp \"$1\" \"$2\"", "\(images)/inside.raw", mount.disk("inside.raw"))
        try mount.unmount()
    }

    @Test("A mountpoint in the folder of images is no image, and no image gets into it", .timeLimit(.minutes(10)))
    func mountInside() throws {
        let (folder, images) = try makeFolder()
        let mountpoint = try folder.makeFolder("images/mnt.raw")
        try Shell.check(
            """
            cd "$1"; ln -s mnt.raw/link.raw/disk.raw link.raw; ln -s mnt.raw way
            qemu-img create -q -u -f qcow2 -b mnt.raw/self.qcow2/disk.raw -F raw self.qcow2 1M
            qemu-img create -q -u -f qcow2 -b way/through.qcow2/disk.raw -F raw through.qcow2 1M
            """, images)
        let mount = try Mount(images, at: mountpoint, in: folder)
        #expect(
            try Shell.check("ls -I stats.json \"$1\"", mount.path) == "inside.raw\nlink.raw\nself.qcow2\nthrough.qcow2")
        for name in ["link.raw", "self.qcow2", "through.qcow2"] {
            let result = try Shell.run("timeout -s KILL 10 cat \"$1\" | jq -r .error.code", mount.stats(name))
            try #require(result.text == "denied\n", "\(name): \(result.text)\(result.errors)")
        }
        try Shell.check("timeout 10 cmp \"$1\" \"$2\"", "\(images)/inside.raw", mount.disk("inside.raw"))
        try mount.unmount()
    }

    @Test("--allow-path opens what lies in it, and nothing else")
    func allowed() throws {
        let (folder, images) = try makeFolder()
        let bases = try folder.makeFolder("bases")
        try Shell.check(
            """
            cd "$1"; cp ../outside.raw "$2/base.raw"
            qemu-img create -q -f qcow2 -b "$2/base.raw" -F raw absolute.qcow2
            qemu-img create -q -f qcow2 -b ../bases/base.raw -F raw relative.qcow2
            qemu-img create -q -u -f qcow2 -b ../outside.raw -F raw refused.qcow2 1M
            ln -s "$2/base.raw" link.raw
            """, images, bases)
        for options in [["--allow-path", bases], ["-o", "allow_path=\(bases)"], ["-o", "ro,allow_path=\(bases)"]] {
            let mount = try Mount(images, options: options)
            for name in ["absolute.qcow2", "relative.qcow2", "link.raw"] {
                try Tool.check("cmp", folder.file("outside.raw"), mount.disk(name))
            }
            #expect(try mount.document("refused.qcow2")["error", "code"]?.text == "denied")
        }
        // Without it, the refusal tells what would help.
        let mount = try Mount(images)
        for name in ["absolute.qcow2", "relative.qcow2", "link.raw"] {
            let message = try mount.document(name)["error", "message"]?.text ?? ""
            #expect(message.contains("--allow-path \(bases)"), "\(message)")
        }
    }

    @Test("A link within the folder is followed")
    func links() throws {
        let (folder, images) = try makeFolder()
        try Shell.check(
            "cd \"$1\" && mkdir sub && mv inside.raw sub/real && ln -s sub/real relative.raw"
                + " && ln -s \"$1/sub/real\" absolute.raw && ln -s ../images/./sub/../sub/real winding.raw", images)
        let mount = try Mount(images)
        for name in ["relative.raw", "absolute.raw", "winding.raw"] {
            try Tool.check("cmp", "\(images)/sub/real", mount.disk(name))
        }
        withExtendedLifetime(folder) {}
    }

    @Test("A header that a guest wrote to a raw .img opens no file; --raw-img does not even look at it")
    func planted() throws {
        let (folder, images) = try makeFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -u -f qcow2 -b inside.raw -F raw planted.img 1M
            qemu-img convert -O qcow2 inside.raw honest.img; cp inside.raw plain.img
            """, images)
        do {
            let mount = try Mount(images)
            let document = try mount.document("planted.img")
            #expect(document["error", "code"]?.text == "denied")
            #expect(document["rblockfs", "probed"] == .bool(true))
            try Tool.check("cmp", "\(images)/inside.raw", mount.disk("honest.img"))
            try Tool.check("cmp", "\(images)/plain.img", mount.disk("plain.img"))
        }
        for options in [["--raw-img"], ["-o", "raw_img"]] {
            let mount = try Mount(images, options: options)
            for name in ["planted.img", "honest.img", "plain.img"] {
                try Tool.check("cmp", "\(images)/\(name)", mount.disk(name))
            }
        }
        withExtendedLifetime(folder) {}
    }
}
