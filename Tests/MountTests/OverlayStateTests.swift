import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "python3")))
struct `What is written over images` {
    private static let image = "head -c 12M /dev/urandom >a; qemu-img convert -f raw -O qcow2 a a.qcow2; rm a"

    @Test func `is in the overlay within a second, also without an fsync`() throws {
        let folder = try OverlaidFolder(Self.image)
        let mount = try folder.mount()
        let said = try Python.run(
            """
            f = os.open(sys.argv[1], os.O_RDWR); os.pwrite(f, b'kept' * 1000, 5 << 20)
            for turn in range(100):
                time.sleep(0.2)
                if '"dirty": false' in open(sys.argv[3]).read(): break
            os.kill(int(sys.argv[2]), 9)
            """, mount.disk("a.qcow2"), "\(mount.server)", mount.stats("a.qcow2"))
        #expect(said == "" && mount.waitForEnd())
        _ = try Tool.run("umount", ["-l", mount.path])
        try folder.checkOverlays(mayLeak: true)
        let again = try folder.mount()
        #expect(try Shell.check("tail -c +$((1 + (5 << 20))) \"$1\" | head -c 8", again.disk("a.qcow2")) == "keptkept")
        try folder.end(again)
    }

    @Test func `is not shown over an image that was changed, nor is the image without it`() throws {
        let folder = try OverlaidFolder(Self.image)
        let path = "\(folder.images)/a.qcow2"
        var mount = try folder.mount()
        try Shell.check("printf changed | dd of=\"$1\" conv=notrunc status=none", mount.disk("a.qcow2"))
        try folder.end(mount)
        // One that was restored is the same.
        try Shell.check("cp -p \"$1\" \"$1.new\"; mv \"$1.new\" \"$1\"", path)
        mount = try folder.mount()
        #expect(try Shell.check("head -c 7 \"$1\"", mount.disk("a.qcow2")) == "changed")
        try mount.unmount(patience: 200)
        for change in ["qemu-io -c 'write -P 1 8M 512' \"$1\"", "touch \"$1\"", "qemu-img resize -q \"$1\" 16M"] {
            try Shell.check("cp -p \"$1\" \"$2\"; \(change) >/dev/null", path, folder.folder.file("kept"))
            mount = try folder.mount()
            let error = try mount.document("a.qcow2")["error"]
            #expect(error?["code"]?.text == "corrupt" && error?["file"]?.text == folder.overlay("a.qcow2"), "\(change)")
            #expect(access(mount.disk("a.qcow2"), F_OK) != 0)
            try mount.unmount(patience: 200)
            if change.hasPrefix("touch") {
                mount = try folder.mount("--ignore-parent-id")
                #expect(try Shell.check("head -c 7 \"$1\"", mount.disk("a.qcow2")) == "changed")
                try mount.unmount(patience: 200)
            }
            try Shell.check("mv \"$2\" \"$1\"", path, folder.folder.file("kept"))
        }
        // Any other file in its place is none.
        try Shell.check("rm \"$1\"; qemu-img create -q -f qcow2 \"$1\" 12M", folder.overlay("a.qcow2"))
        mount = try folder.mount()
        #expect(try mount.document("a.qcow2")["error", "message"]?.text?.contains("no overlay of this program") == true)
        try mount.unmount(patience: 200)
    }

    @Test(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4")))
    func `meets a full disk with ENOSPC, harms nothing else, and goes on when there is space again`() throws {
        let folder = try OverlaidFolder(Self.image + "; cp a.qcow2 b.qcow2")
        let place = folder.folder.file("place")
        try Shell.check("PATH=$PATH:/usr/sbin; truncate -s 16M \"$1\"; mkfs.ext4 -q -m 0 \"$1\"", place)
        let device = try LoopDevice(place, isWritable: true)
        let small = try DeviceMount(device, options: "rw")
        try Shell.check("mkdir \"$1/o\"; head -c 4M /dev/urandom >\"$1/filler\"", small.path)
        let mount = try Mount(folder.images, options: ["--overlay", "\(small.path)/o"])
        let said = try Python.run(
            """
            a, b = [os.open(sys.argv[1] + '/' + name + '.qcow2/disk.raw', os.O_RDWR | os.O_DIRECT) for name in 'ab']
            page = mmap.mmap(-1, 65536)
            def put(f, byte, at): page[:] = byte * 65536; return os.pwritev(f, [page], at)
            def get(f):
                whole = mmap.mmap(-1, 12 << 20); os.preadv(f, [whole], 0); return whole[:]
            model, other = bytearray(get(a)), bytearray(get(b))
            put(b, b'b', 0); other[:65536] = b'b' * 65536
            at, said = 0, None
            while at < 12 << 20:
                said = says(put, a, b'a', at)
                if said: break
                model[at:at + 65536] = b'a' * 65536; at += 65536
            is_('a full disk', said, 'ENOSPC')
            got = get(a)
            is_('what was acknowledged', got[:at] == model[:at] and got[at + 65536:] == model[at + 65536:], True)
            is_('the other disk', get(b) == other, True)
            os.unlink(sys.argv[2]); os.sync()
            is_('with space', says(put, a, b'A', at), None); model[at:at + 65536] = b'A' * 65536
            is_('fsync with space', says(os.fsync, a), None)
            is_('all', get(a) == model, True)
            """, mount.path, "\(small.path)/filler")
        #expect(said == "", "\(said)")
        try mount.unmount(patience: 200)
        try Shell.check("for name in \"$1\"/o/*; do qemu-img check -q -f qcow2 $name; done", small.path)
    }

    @Test func `is missed when its overlay is moved or removed, and can be saved from the mount`() throws {
        let folder = try OverlaidFolder(Self.image + "; cp a.qcow2 b.qcow2")
        let mount = try folder.mount()
        for image in ["a.qcow2", "b.qcow2"] {
            try Shell.check("printf changed | dd of=\"$1\" conv=notrunc,fsync status=none", mount.disk(image))
        }
        try Shell.check("mv \"$1\" \"$1.kept\"", folder.overlay("a.qcow2"))
        for synced in [mount.disk("a.qcow2"), mount.path] {
            let said = try Tool.run("sync", [synced])
            #expect(said.status != 0 && said.errors.contains("Input/output error"), "\(said.errors)")
        }
        #expect(try Tool.run("sync", [mount.disk("b.qcow2")]).status == 0)
        #expect(try Shell.check("head -c 7 \"$1\"", mount.disk("a.qcow2")) == "changed")
        try Shell.check("mv \"$1.kept\" \"$1\"", folder.overlay("a.qcow2"))
        #expect(try Tool.run("sync", [mount.path]).status == 0)
        try folder.end(mount)
    }

    @Test func `says that QEMU does not find what the image under it names, where this program does`() throws {
        let folder = try OverlaidFolder(
            Self.image + "; qemu-img create -q -f qcow2 -u -b /nowhere/a.qcow2 -F qcow2 over.qcow2 12M")
        let mount = try folder.mount()
        try Shell.check("printf x | dd of=\"$1\" conv=notrunc status=none", mount.disk("over.qcow2"))
        let reason = try mount.document("over.qcow2")["rblock", "overlay", "qemu-error"]?.text
        #expect(reason?.contains("/nowhere/a.qcow2") == true, "\(reason ?? "none")")
        #expect(try Tool.run("qemu-img", ["map", "-f", "qcow2", folder.overlay("over.qcow2")]).status != 0)
        try mount.unmount(patience: 200)
    }

    @Test func `keeps other programs out, and is refused where they are in`() throws {
        let folder = try OverlaidFolder(Self.image + "; cp a.qcow2 b.qcow2")
        let mount = try folder.mount()
        try Shell.check("printf x | dd of=\"$1\" conv=notrunc status=none", mount.disk("a.qcow2"))
        for path in [folder.overlay("a.qcow2"), "\(folder.images)/a.qcow2"] {
            let result = try Tool.run("qemu-io", ["-f", "qcow2", "-c", "write 0 512", path])
            #expect(result.errors.contains("lock"), "\(result.errors)")
        }
        let said = try Python.run(
            """
            import subprocess
            user = subprocess.Popen(['qemu-io', '-f', 'qcow2', sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            user.stdin.write(b'read 0 512\\n'); user.stdin.flush(); user.stdout.readline()
            f = os.open(sys.argv[2], os.O_RDWR | os.O_SYNC)
            is_('in use', says(os.pwrite, f, b'x', 0), 'EBUSY')
            user.stdin.close(); user.wait()
            """, "\(folder.images)/b.qcow2", mount.disk("b.qcow2"))
        #expect(said == "", "\(said)")
        for (arguments, message) in [
            (["--overlay", folder.overlays, folder.images], "another program has these overlays"),
            (["--overlay", "\(folder.images)/new", folder.images], "must be in folders apart"),
            (["--overlay", folder.folder.path, folder.images], "must be in folders apart"),
            (["--overlay", folder.images, folder.images], "must be in folders apart"),
            (["-o", "ro", "--overlay", folder.folder.file("new"), folder.images], "there is no such folder"),
            (["--overlay", "/nowhere/at/all", folder.images], "No such file or directory"),
            (["--overlay", folder.overlays, "--kernel-path", "map", folder.images], "--kernel-path map"),
        ] {
            let other = try TemporaryFolder()
            let mountpoint = try other.makeFolder("mnt")
            let result = try Tool.run(Tool.rblockfs, arguments + [mountpoint])
            #expect(result.status != 0 && result.errors.contains(message), "\(arguments): \(result.errors)")
        }
        #expect(access("\(folder.images)/new", F_OK) != 0)
        try mount.unmount(patience: 200)
    }

    @Test func `is over disks of appliances, and of formats that QEMU does not read, and QEMU does not open it then`()
        throws
    {
        let folder = try OverlaidFolder(
            """
            head -c 3M /dev/urandom >raw; split -b 1M -a 3 --numeric-suffixes=1 raw disk.
            qemu-img convert -f raw -O vmdk -o subformat=streamOptimized raw disk1.vmdk
            { echo '<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
              echo "<File ovf:id='f' ovf:href='disk1.vmdk'/></References><DiskSection>"
              echo "<Disk ovf:diskId='d' ovf:fileRef='f' ovf:capacity='3145728'/></DiskSection>"
              echo '<VirtualSystem ovf:id="vm"><Name>A machine</Name></VirtualSystem></Envelope>'; } >vm.ovf
            tar -cf shop.ova vm.ovf disk1.vmdk; rm vm.ovf disk1.vmdk raw
            qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
              secret.qcow2 3M
            """)
        let key = try folder.folder.write([UInt8(ascii: "x")], to: "key")
        var mount = try folder.mount("--secret", "secret.qcow2=file:\(key)")
        for image in ["disk.001", "shop.ova/disk1.vmdk"] {
            try Shell.check(
                "printf changed | dd of=\"$1\" bs=1 seek=700000 conv=notrunc status=none", mount.disk(image))
            #expect(try mount.document(image)["rblock", "overlay", "qemu-error"]?.text != nil, "\(image)")
            let chain = ["info", "-f", "qcow2", "--backing-chain", folder.overlay(image)]
            #expect(try Tool.run("qemu-img", chain).status != 0)
        }
        let refused = try Tool.run(
            "dd", ["if=/dev/zero", "of=\(mount.disk("secret.qcow2"))", "conv=notrunc,fsync", "count=1"])
        #expect(refused.status != 0 && refused.errors.contains("Read-only file system"), "\(refused.errors)")
        try mount.unmount(patience: 200)
        mount = try folder.mount()
        for image in ["disk.001", "shop.ova/disk1.vmdk"] {
            #expect(try Shell.check("tail -c +700001 \"$1\" | head -c 7", mount.disk(image)) == "changed", "\(image)")
        }
        try mount.unmount(patience: 200)
    }
}
