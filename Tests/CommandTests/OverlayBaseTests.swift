import Foundation
import HostTools
import TestImages
import Testing

/// What overlays may lie over, and that what lies under one is what it was made over.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "python3", "fallocate")))
struct `An overlay, over what it was made` {
    @Test func `over a disk of an appliance is read, and it keeps no other from being committed`() throws {
        let images = try OverlayImages(
            """
            qemu-img create -q -f qcow2 base.qcow2 32M; qemu-img create -q -f qcow2 gone.qcow2 32M
            head -c 32M /dev/urandom >raw; qemu-img convert -f raw -O vmdk -o subformat=streamOptimized raw disk1.vmdk
            mkdir sub; cp gone.qcow2 sub/base.qcow2
            cat >vm.ovf <<'END'
            <Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
            <References><File ovf:id="f" ovf:href="disk1.vmdk"/></References>
            <DiskSection><Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="33554432"/></DiskSection></Envelope>
            END
            tar -cf shop.ova vm.ovf disk1.vmdk; rm vm.ovf disk1.vmdk raw
            """)
        let mount = try images.mount()
        let disks = ["base.qcow2", "gone.qcow2", "sub/base.qcow2", "shop.ova/disk1.vmdk"]
        for disk in disks { try Shell.check(OverlayImages.changes, mount.disk(disk)) }
        let want = try Shell.check("sha256sum <\"$1\" | cut -c 1-64", mount.disk(disks[3]))
        try mount.unmount()
        let (overlay, allowed) = (images.overlay(disks[3]), images.folder.file("images"))
        #expect(try RBlock.run(["hash", "--allow-path", allowed, overlay], in: images.path).text.hasPrefix(want))
        let denied = try RBlock.run(["hash", overlay], in: images.path)
        #expect(denied.status == 1 && denied.errors.contains("--allow-path \(allowed) would allow it"), "\(denied)")
        #expect(try images.base(of: disks[3])?["state"]?.text == "unchanged")
        try images.refused(disks[3], "only QCOW2 and raw images in one file are written to")
        // One whose image is not there builds on none, unless that has the same name.
        try Shell.check("rm \"$1/gone.qcow2\" \"$1/sub/base.qcow2\"", allowed)
        try images.refused("base.qcow2", "other images may build on it")
        try Shell.check("rm \"$1\"", images.overlay("sub/base.qcow2"))
        let said = try images.run("commit", "base.qcow2", "--yes", "--allow-path", allowed)
        #expect(said.status == 0 && said.errors == "", "\(said)")
        // What only its content says to be an overlay names no files, in archives as elsewhere.
        let probed = try Shell.run(
            "cp \"$1\" \"$2/changes/shop.ova/guest.img\"; \"$3\" hash --allow-path \"$2/images\" \"$2/changes/shop.ova/guest.img\"",
            overlay,
            images.path, Tool.rblock)
        #expect(probed.status == 1 && probed.errors.contains("only the content of this file says"), "\(probed)")
        // A copy of the appliance has another time.
        try Shell.check("touch \"$1/shop.ova\"", allowed)
        let touched = try RBlock.run(["hash", "--allow-path", allowed, overlay], in: images.path)
        let command = touched.errors.firstMatch(of: /'(touch -d [^']*)'/)?.output.1
        try Shell.check(String(command ?? "false"))
        #expect(try RBlock.run(["hash", "--allow-path", allowed, overlay], in: images.path).text.hasPrefix(want))
        // The disk must be there under its name.
        try Shell.check(
            "cd \"$1\"; tar -xf shop.ova; mv disk1.vmdk disk2.vmdk; sed -i s/disk1/disk2/ vm.ovf; tar -cf shop.ova vm.ovf disk2.vmdk",
            allowed)
        let missing = try RBlock.run(["hash", "--allow-path", allowed, overlay], in: images.path)
        #expect(missing.status == 1 && missing.errors.contains("the appliance has no such disk"), "\(missing)")
    }

    @Test func `over an image of a folder that is called as an appliance is one like others`() throws {
        let images = try OverlayImages(
            "mkdir dir.ova; qemu-img create -q -f qcow2 dir.ova/d.qcow2 32M; qemu-img create -q -f qcow2 base.qcow2 32M"
        )
        for image in ["dir.ova/d.qcow2", "base.qcow2"] { try images.write(image) }
        for image in ["base.qcow2", "dir.ova/d.qcow2"] {
            let said = try images.run("commit", image, "--yes", "--allow-path", images.folder.file("images"))
            #expect(said.status == 0 && said.errors == "", "\(said)")
        }
        let folder = try RBlock.run(["commit", "--yes", images.folder.file("images")], in: images.path)
        #expect(folder.status == 1 && !folder.errors.contains("is a link"), "\(folder)")
    }

    @Test(.enabled(if: Tool.canUseLoopDevices()))
    func `over a block device is found again`() throws {
        let folder = try TemporaryFolder()
        for name in ["changes", "mnt"] { _ = try folder.makeFolder(name) }
        try Shell.check("head -c 8M /dev/urandom >\"$1\"", folder.file("disk"))
        let device = try LoopDevice(folder.file("disk"), isWritable: true)
        for turn in 1...2 {
            let mount = try Mount(
                device.path, options: ["--overlay", folder.file("changes")], at: folder.file("mnt"), in: folder)
            let name = try Shell.check("ls \"$1\" | grep -v stats", mount.path).trimmingCharacters(
                in: .whitespacesAndNewlines)
            let said = try Shell.run(
                "[ \"$(tail -c +4097 \"$1\" | head -c 1)\" = x ] && echo again; printf x | dd of=\"$1\" bs=4096 seek=1 conv=notrunc,nocreat status=none",
                mount.disk(name))
            #expect(said.status == 0 && said.text == (turn == 1 ? "" : "again\n"), "\(turn): \(said)")
            try mount.unmount()
        }
        // What is written to the device makes it another, wherever that is.
        try Shell.check("printf x | dd of=\"$1\" bs=1 seek=3M conv=notrunc,fsync status=none", device.path)
        let mount = try Mount(
            device.path, options: ["--overlay", folder.file("changes")], at: folder.file("mnt"), in: folder)
        #expect(try Shell.check("find \"$1\" -name disk.raw", mount.path) == "")
        try mount.unmount()
    }

    @Test func `is not begun over an image that was replaced`() throws {
        let images = try OverlayImages("truncate -s 4M a.raw; truncate -s 4M b.raw")
        let mount = try images.mount()
        let said = try Shell.run(
            """
            exec 5<>"$1"; mv "$2/images/b.raw" "$2/images/a.raw"; printf x >&5
            """, mount.disk("a.raw"), images.path)
        #expect(said.status != 0 && said.errors.contains("Input/output error"), "\(said)")
        try mount.unmount()
        #expect(!FileManager.default.fileExists(atPath: images.overlay("a.raw")))
    }

    @Test func `is not read over an image that was changed since`() throws {
        let images = try OverlayImages(OverlayImages.made)
        try images.write("base.qcow2")
        let (overlay, allowed) = (images.overlay("base.qcow2"), images.folder.file("images"))
        let want = try RBlock.run(["hash", "--allow-path", allowed, overlay], in: images.path).text
        try Shell.check("touch \"$1/images/base.qcow2\"", images.path)
        let fault = "the image under it was written to after it was made: both together are no disk"
        for verb in [["hash"], ["map"], ["read"], ["measure"], ["convert"], ["diff"], ["delta"]] {
            let others = [
                "convert": ["out.raw"], "diff": ["images/other.qcow2"], "delta": ["images/other.qcow2", "out"],
            ]
            let said = try RBlock.run(
                verb + ["--allow-path", allowed, overlay] + (others[verb[0]] ?? []), in: images.path)
            #expect(said.status == (verb == ["diff"] ? 2 : 1) && said.errors.contains(fault), "\(verb) \(said)")
            #expect(said.errors.contains("--ignore-parent-id reads it all the same"), "\(said)")
        }
        #expect(!FileManager.default.fileExists(atPath: images.folder.file("out.raw")))
        let check = try RBlock.run(["check", "--allow-path", allowed, overlay], in: images.path)
        #expect(check.status == 2 && check.text.contains("corruption: \(fault)"), "\(check)")
        let served = try Shell.run(
            "echo '{\"method\": \"list\", \"id\": 1}' | \"$1\" serve --rpc stdio --allow-path \"$2\" \"$3\"",
            Tool.rblock,
            allowed, overlay)
        #expect(served.text.contains("\"corrupt\"") && served.text.contains(fault), "\(served)")
        let mount = try Mount(images.folder.file("changes"), options: ["--allow-path", allowed])
        let error = try JSONValue(
            parsing: FileManager.default.contents(atPath: mount.stats("base.qcow2.overlay.qcow2")) ?? Data())["error"]
        #expect(error?["message"]?.text?.contains(fault) == true)
        #expect(!FileManager.default.fileExists(atPath: mount.disk("base.qcow2.overlay.qcow2")))
        try mount.unmount()
        let all = try RBlock.run(["hash", "--ignore-parent-id", "--allow-path", allowed, overlay], in: images.path)
        #expect(all.text == want, "\(all)")
        // The command that is named makes it the image again, also for a commit.
        let refused = try images.run("commit", "base.qcow2", "--yes", "--allow-path", allowed)
        let command = refused.errors.firstMatch(of: /'(touch -d [^']*)'/)?.output.1
        #expect(refused.status == 1 && command != nil, "\(refused)")
        try Shell.check(String(command ?? "false"))
        #expect(try RBlock.run(["hash", "--allow-path", allowed, overlay], in: images.path).text == want)
        #expect(try images.run("commit", "base.qcow2", "--yes", "--allow-path", allowed).status == 0)
        // Where more than the time is another, there is no such command.
        try images.write("base.qcow2")
        try Shell.check("cd \"$1/images\"; qemu-io -c 'write -P 9 0 4k' base.qcow2 >/dev/null", images.path)
        let other = try RBlock.run(["hash", "--allow-path", allowed, overlay], in: images.path)
        #expect(other.status == 1 && !other.errors.contains("touch"), "\(other)")
    }
}
