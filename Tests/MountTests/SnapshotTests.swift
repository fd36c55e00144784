import Foundation
import HostTools
import TestImages
import Testing

@Suite("Internal snapshots", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp", "python3", "sfdisk")))
struct SnapshotTests {
    @Test("Each snapshot's disk.raw is what qemu-img convert -l gives, whatever was written and resized since")
    func content() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check(
            """
            cd "$1"; disk=images/disk.qcow2
            qemu-img create -q -f raw images/base.raw 3M; qemu-io -f raw -c 'write -P 9 0 3M' images/base.raw >/dev/null
            qemu-img create -q -f qcow2 -o cluster_size=4k -b base.raw -F raw $disk 8M
            qemu-io -c 'write -P 1 1M 1M' $disk >/dev/null; qemu-img snapshot -c small $disk
            qemu-img resize -q $disk 40M
            qemu-io -c 'write -P 2 1536k 1M' -c 'write -z 0 64k' -c 'write -P 3 39M 1M' $disk >/dev/null
            qemu-img snapshot -c large $disk
            qemu-io -c 'write -P 4 0 40M' $disk >/dev/null
            """, folder.path)
        let mount = try Mount(images)
        for name in ["small", "large"] {
            let expected = folder.file("\(name).raw")
            try Shell.check("qemu-img convert -l \"$1\" -O raw \"$2/disk.qcow2\" \"$3\"", name, images, expected)
            // qemu-img gives every snapshot the disk's size of now; here each has the size that it had.
            let size = name == "small" ? "8M" : "40M"
            try Tool.check("cmp", "-n", size, expected, "\(mount.path)/disk.qcow2/snapshots/\(name)/disk.raw")
        }
        #expect(try Status("\(mount.path)/disk.qcow2/snapshots/small/disk.raw").size == 8 << 20)
        let stats = try mount.document("disk.qcow2/snapshots/small")
        #expect(stats["virtual-size"]?.number == 8 << 20)
        #expect(stats["snapshot", "name"]?.text == "small")
        #expect(stats["snapshot", "disk-size"]?.number == 8 << 20)
        #expect(stats["snapshot", "id"]?.text == "1")
        #expect(stats["rblockfs", "counters", "bytes-read"]?.number ?? 0 >= 8 << 20)
        // The disk itself was not read, and has counters of its own.
        #expect(try mount.document("disk.qcow2")["rblockfs", "counters", "bytes-read"]?.number == 0)
    }

    @Test("Each snapshot has the partitions that its disk had, whatever table the disk has now")
    func partitions() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 images/disk.qcow2 8M
            put() {
                head -c 8M /dev/urandom >$1.raw; sfdisk -q --label gpt $1.raw
                qemu-io -f qcow2 -c "write -q -s $1.raw 0 8M" images/disk.qcow2
            }
            qemu-img snapshot -c none images/disk.qcow2
            printf '2048,2048\n4096,4096\n' | put old; qemu-img snapshot -c old images/disk.qcow2
            printf '6144,2048\n' | put new
            part() { dd if=$1.raw of=$1-$2 bs=512 skip=$3 count=$4 status=none; }
            part old p1 2048 2048; part old p2 4096 4096; part new p1 6144 2048
            """, folder.path)
        let mount = try Mount(images)
        func names(_ path: String) throws -> String { try Shell.check("ls \"$1\" | xargs", mount.file(path)) }
        #expect(try names("disk.qcow2/snapshots/old") == "disk.raw partitions stats.json")
        #expect(try names("disk.qcow2/snapshots/none/partitions") == "")
        #expect(try names("disk.qcow2/snapshots/old/partitions") == "p1.raw p2.raw")
        #expect(try names("disk.qcow2/partitions") == "p1.raw")
        for (file, path) in [
            ("old-p1", "snapshots/old/partitions"), ("old-p2", "snapshots/old/partitions"), ("new-p1", "partitions"),
        ] {
            let path = mount.file("disk.qcow2/\(path)/\(file.suffix(2)).raw")
            try Tool.check("cmp", folder.file(file), path)
            #expect(try Status(path).size == Status(folder.file(file)).size)
        }
        #expect(access(mount.file("disk.qcow2/snapshots/old/partitions/p3.raw"), F_OK) != 0)
        // Read by turns, each goes on having its own.
        for _ in 0..<3 {
            for name in ["disk.qcow2/partitions/p1.raw", "disk.qcow2/snapshots/old/partitions/p1.raw"] {
                let expected = folder.file(name.contains("old") ? "old-p1" : "new-p1")
                try Tool.check("cmp", expected, mount.file(name))
            }
        }
    }

    @Test("Names that are no file names are escaped, and those that come twice are told apart by their ids")
    func names() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 disk.qcow2 1M
            for name in a/b 100% . .. twice twice 'with space'; do qemu-img snapshot -c "$name" disk.qcow2; done
            """, folder.path)
        let mount = try Mount(folder.path)
        let found = try FileManager.default.contentsOfDirectory(atPath: "\(mount.path)/disk.qcow2/snapshots").sorted()
        #expect(found == ["%2E", "%2E.", "100%25", "a%2Fb", "twice%@5", "twice%@6", "with space"])
        for name in found {
            let stats = try mount.document("disk.qcow2/snapshots/\(name)")
            #expect(stats["error"] == nil, "\(name)")
        }
        #expect(try mount.document("disk.qcow2/snapshots/twice%@6")["snapshot", "id"]?.text == "6")
    }

    @Test("A snapshot that is damaged is reported in its own stats.json, and the others are read")
    func damage() throws {
        let folder = try TemporaryFolder()
        // The second entry's l1_table_offset, eight bytes at the start of the entry, loses its alignment.
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 disk.qcow2 1M
            qemu-io -c 'write -P 1 0 1M' disk.qcow2 >/dev/null
            qemu-img snapshot -c one disk.qcow2; qemu-img snapshot -c two disk.qcow2
            python3 - <<END
            disk = bytearray(open('disk.qcow2', 'rb').read())
            table = int.from_bytes(disk[64:72], 'big')
            entry = table + (40 + int.from_bytes(disk[table + 36:table + 40], 'big') + 4 + 7) // 8 * 8
            disk[entry + 7] ^= 1
            open('disk.qcow2', 'wb').write(disk)
            END
            """, folder.path)
        let mount = try Mount(folder.path)
        let snapshots = "\(mount.path)/disk.qcow2/snapshots"
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(snapshots)/two") == ["stats.json"])
        let error = try mount.document("disk.qcow2/snapshots/two")["error"]
        #expect(error?["code"]?.text == "corrupt")
        #expect(error?["message"]?.text?.contains("l1_table_offset") == true)
        let bytes = try OpenedFile("\(snapshots)/one/disk.raw").read(4096, at: 1 << 19)
        #expect(bytes == [UInt8](repeating: 1, count: 4096))
    }

    @Test("The state of a machine that a snapshot keeps is a file beside its disk")
    func machineState() throws {
        let folder = try TemporaryFolder()
        // qemu-io writes a state, but only a running QEMU would note its size (vm_state_size, in both its places).
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 disk.qcow2 1M
            qemu-io -c 'write -P 1 0 1M' -c 'write -b -P 7 0 100k' disk.qcow2 >/dev/null
            qemu-img snapshot -c with disk.qcow2; qemu-img snapshot -c without disk.qcow2
            python3 - <<END
            disk = bytearray(open('disk.qcow2', 'rb').read())
            entry = int.from_bytes(disk[64:72], 'big')
            disk[entry + 32:entry + 36] = (100000).to_bytes(4, 'big')
            disk[entry + 40:entry + 48] = (100000).to_bytes(8, 'big')
            open('disk.qcow2', 'wb').write(disk)
            END
            """, folder.path)
        let mount = try Mount(folder.path)
        let snapshots = "\(mount.path)/disk.qcow2/snapshots"
        #expect(try Status("\(snapshots)/with/vmstate").size == 100_000)
        #expect(
            try OpenedFile("\(snapshots)/with/vmstate").read(100_000, at: 0) == [UInt8](repeating: 7, count: 100_000))
        #expect(try mount.document("disk.qcow2/snapshots/with")["snapshot", "vm-state-size"]?.number == 100_000)
        #expect(access("\(snapshots)/without/vmstate", F_OK) != 0)
    }
}
