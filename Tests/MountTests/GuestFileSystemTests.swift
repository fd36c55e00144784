import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "A file system inside an image", .serialized,
    .enabled(if: Tool.canUseLoopDevices("qemu-img", "mkfs.ext4", "fsck.ext4", "blkid")))
struct GuestFileSystemTests {
    /// A tree of files, an ext4 file system with it, and images of that: bare, and behind a partition table.
    private final class Guest {
        let folder: TemporaryFolder
        let images: String
        let sums: String

        init() throws {
            folder = try TemporaryFolder()
            images = try folder.makeFolder("images")
            let tree = try folder.makeFolder("tree")
            try Shell.check(
                """
                cd "$1"; mkdir -p etc usr/{bin,lib} 'a b'
                for i in {1..60}; do head -c $((i * 3111)) /dev/urandom > usr/lib/lib$i; done
                for i in {1..300}; do echo "line $i" > etc/file$i; done
                head -c 5M /dev/urandom > usr/bin/large; truncate -s 20M usr/bin/sparse; echo x >> usr/bin/sparse
                ln -s ../usr/bin/large etc/link; echo blanks > 'a b/c d'
                """, tree)
            sums = try Self.sums(tree)
            try Shell.check(
                """
                cd "$1"
                mkfs.ext4 -q -F -d tree ext4 64M
                truncate -s 66M partitioned
                # An MBR with one Linux partition: 131,072 sectors (64 MiB) from sector 2,048 on.
                printf '\\0\\0\\0\\0\\203\\0\\0\\0\\0\\010\\0\\0\\0\\0\\2\\0' | dd of=partitioned bs=1 seek=446 conv=notrunc status=none
                printf '\\125\\252' | dd of=partitioned bs=1 seek=510 conv=notrunc status=none
                dd if=ext4 of=partitioned bs=1M seek=1 conv=notrunc,sparse status=none
                cd images
                qemu-img convert -f raw -O qcow2 ../ext4 plain.qcow2
                qemu-img convert -f raw -O qcow2 -c -o compression_type=zstd ../ext4 zstd.qcow2
                qemu-img convert -f raw -O vmdk ../ext4 sparse.vmdk
                qemu-img convert -f raw -O vmdk -o subformat=twoGbMaxExtentFlat ../ext4 split.vmdk
                qemu-img convert -f raw -O qcow2 ../partitioned partitioned.qcow2
                qemu-img convert -f raw -O vmdk ../partitioned partitioned.vmdk
                """, folder.path)
        }

        /// The checksum of every file below `folder`, and where every link leads.
        static func sums(_ folder: String) throws -> String {
            try Shell.check(
                "cd \"$1\"; find . -path ./lost+found -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
                    + "; find . -type l -printf '%p %l\\n'", folder)
        }
    }

    @Test("The kernel mounts it from a loop device, fsck finds it clean, and every file is as it was")
    func wholeDisk() throws {
        let guest = try Guest()
        let mount = try Mount(guest.images)
        for name in ["plain.qcow2", "zstd.qcow2", "sparse.vmdk", "split.vmdk"] {
            for options in [[], ["--direct-io=on"]] {
                let loop = try LoopDevice(mount.disk(name), options: options)
                let check = try Tool.run("fsck.ext4", ["-n", "-f", loop.path])
                #expect(check.status == 0, "\(name) \(options): \(check.text)")
                let disk = try DeviceMount(loop)
                #expect(try Guest.sums(disk.path) == guest.sums, "\(name) \(options)")
            }
        }
        try mount.unmount()
    }

    @Test("losetup -P shows the partitions", arguments: ["partitioned.qcow2", "partitioned.vmdk"])
    func partitions(name: String) throws {
        let guest = try Guest()
        let mount = try Mount(guest.images)
        let loop = try LoopDevice(mount.disk(name))
        let disk = try DeviceMount(loop, partition: 1)
        #expect(try Guest.sums(disk.path) == guest.sums)
        #expect(try Shell.check("blkid -o value -s TYPE \"$1\"", "\(loop.path)p1") == "ext4")
        #expect(try Shell.run("fusermount3 -u \"$1\"", mount.path).status != 0, "It is in use.")
        #expect(try Guest.sums(disk.path) == guest.sums)
    }

    @Test("A loop device over a part of the disk", arguments: ["partitioned.qcow2", "partitioned.vmdk"])
    func offset(name: String) throws {
        let guest = try Guest()
        let mount = try Mount(guest.images)
        let options = ["--offset", "\(1 << 20)", "--sizelimit", "\(64 << 20)"]
        let disk = try DeviceMount(try LoopDevice(mount.disk(name), options: options))
        #expect(try Guest.sums(disk.path) == guest.sums)
    }

    @Test("The image files stay as they are")
    func unchanged() throws {
        let guest = try Guest()
        let sums = try Guest.sums(guest.images)
        let mount = try Mount(guest.images)
        for name in ["plain.qcow2", "sparse.vmdk"] {
            let disk = try DeviceMount(try LoopDevice(mount.disk(name)))
            // It is mounted read-only, on a device that is read-only, of a file that is.
            #expect(try Shell.run("touch \"$1\"/etc/new", disk.path).status != 0)
            #expect(try Shell.check("cat \"$1\"/'a b/c d'", disk.path) == "blanks")
        }
        try mount.unmount()
        #expect(try Guest.sums(guest.images) == sums)
    }
}
