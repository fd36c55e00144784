import Foundation
import HostTools
import Testing

@Suite(
    "The file systems of a partitioned disk", .serialized,
    .enabled(
        if: Tool.canUseLoopDevices(
            "qemu-img", "sfdisk", "mkfs.ext4", "fsck.ext4", "mkfs.xfs", "xfs_repair", "mkfs.vfat", "fsck.vfat", "mcopy",
            "python3", "blockdev", "cmp")))
struct GuestPartitionTests {
    /// A tree of files, and a GPT disk that has it in an ext4, an XFS and a FAT partition, each of which its own tools
    /// filled, as a compressed qcow2 and a streamOptimized VMDK.
    private final class Guest {
        let folder: TemporaryFolder
        let images: String
        let tree: String
        let disk: String

        init() throws {
            folder = try TemporaryFolder()
            images = try folder.makeFolder("images")
            tree = try folder.makeFolder("tree")
            disk = folder.file("disk")
            try Shell.check(
                """
                cd "$1"; mkdir -p etc usr/lib usr/share/Long-Folder-Name
                for i in {1..25}; do head -c $((i * 7111)) /dev/urandom >usr/lib/lib$i.so; done
                for i in {1..80}; do echo "line $i" >etc/file$i.conf; done
                : >etc/empty; head -c 6M /dev/urandom >usr/share/Long-Folder-Name/a-rather-long-file-name.bin
                """, tree)
            // mkfs.xfs takes what is to be in it from a prototype: each file's name, mode, owner and source.
            try Tool.check(
                "python3", "-c",
                """
                import os, sys
                def show(path):
                    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
                        if entry.is_dir():
                            print(entry.name, 'd--755 0 0'); show(entry.path); print('$')
                        else: print(entry.name, '---644 0 0', entry.path)
                sys.stdout = open(sys.argv[2], 'w')
                print('/none\\n0 0\\nd--755 0 0'); show(sys.argv[1]); print('$')
                """, tree, folder.file("prototype"))
            try Shell.check(
                """
                cd "$1"; truncate -s 64M ext4; truncate -s 300M xfs; truncate -s 40M fat; truncate -s 408M disk
                mkfs.ext4 -q -F -b 4096 -d tree ext4; mkfs.xfs -q -p prototype xfs; mkfs.vfat -F 32 fat >/dev/null
                mcopy -s -i fat tree/* ::/
                printf 'label: gpt\\nstart=1M,size=64M\\nstart=65M,size=300M\\nstart=365M,size=40M\\n' | sfdisk -q disk
                dd if=ext4 of=disk bs=1M seek=1 conv=notrunc,sparse status=none
                dd if=xfs of=disk bs=1M seek=65 conv=notrunc,sparse status=none
                dd if=fat of=disk bs=1M seek=365 conv=notrunc,sparse status=none
                qemu-img convert -f raw -O qcow2 -c disk images/disk.qcow2
                qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk images/disk.vmdk
                """, folder.path)
        }
    }

    @Test("Each partition is mounted, is found clean, and has every file as it was put in")
    func everyFileSystem() throws {
        let guest = try Guest()
        let mount = try Mount(guest.images)
        // A kernel may be built without FAT; mtools, which reads it as well, needs none.
        let kernelHasFAT = try Shell.run("grep -qw vfat /proc/filesystems || modprobe vfat").status == 0
        for name in ["disk.qcow2", "disk.vmdk"] {
            func partition(_ number: Int) -> String { mount.file("\(name)/partitions/p\(number).raw") }
            // XFS was made without being mounted: its log is clean, and it needs no norecovery.
            for (number, check) in [
                (1, ["fsck.ext4", "-n", "-f"]), (2, ["xfs_repair", "-n"]), (3, ["fsck.vfat", "-n"]),
            ] {
                let loop = try LoopDevice(partition(number))
                let result = try Tool.run(check[0], check.dropFirst() + [loop.path])
                #expect(result.status == 0, "\(name) \(check): \(result.text)\(result.errors)")
                guard number < 3 || kernelHasFAT else { continue }
                let mounted = try DeviceMount(loop)
                let difference = try Tool.run("diff", ["-r", "-x", "lost+found", guest.tree, mounted.path])
                #expect(difference.status == 0, "\(name) p\(number): \(difference.text)\(difference.errors)")
            }
            let copy = try guest.folder.makeFolder("copy-of-\(name)")
            try Shell.check(
                "mcopy -s -n -i \"$1\" '::/*' \"$2\" && diff -r \"$3\" \"$2\"", partition(3), copy, guest.tree)
        }
        try mount.unmount()
    }

    @Test("losetup -P cuts out what partitions/ has, and --sector-size 4096 makes a device of such sectors")
    func loopDevices() throws {
        let guest = try Guest()
        let mount = try Mount(guest.images)
        for (name, direct) in [("disk.qcow2", "on"), ("disk.vmdk", "off")] {
            let loop = try LoopDevice(mount.disk(name), options: ["--direct-io=\(direct)"])
            #expect(
                try Shell.check("losetup -n -O DIO,RO \"$1\" | tr -d ' '", loop.path) == (direct == "on" ? "11" : "01"))
            for (number, source) in [(1, "ext4"), (2, "xfs"), (3, "fat")] {
                let (device, part) = ("\(loop.path)p\(number)", mount.file("\(name)/partitions/p\(number).raw"))
                #expect(wait(seconds: 60) { access(device, R_OK) == 0 })
                #expect(try Shell.check("blockdev --getsize64 \"$1\"", device) == "\(try Status(part).size)")
                guard number != 2 else { continue }
                for path in [device, part] { try Tool.check("cmp", guest.folder.file(source), path) }
            }
            let options = ["--sector-size", "4096", "--direct-io=\(direct)"]
            let large = try LoopDevice(mount.file("\(name)/partitions/p1.raw"), options: options)
            #expect(
                try Shell.check("blockdev --getss --getro --getsize64 \"$1\"", large.path) == "4096\n1\n\(64 << 20)")
            try Tool.check("cmp", guest.folder.file("ext4"), large.path)
            let mounted = try DeviceMount(large)
            #expect(try Tool.run("diff", ["-r", "-x", "lost+found", guest.tree, mounted.path]).status == 0)
        }
    }
}
