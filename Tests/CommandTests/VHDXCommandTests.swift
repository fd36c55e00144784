import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "nbdcopy", "cmp", "jq", "fdisk")))
struct `VHDX images` {
    @Test func `are the same disks on every surface, also with a log that was not replayed`() throws {
        let folder = try TemporaryFolder()
        _ = try folder.makeFolder("images")
        let mountpoint = try folder.makeFolder("mnt")
        try Pattern.writeDisk(folder.file("disk.raw"), size: 16 << 20, seed: 5)
        try Mount.register(mountpoint)
        let seen = try Shell.check(
            """
            cd "$3"; rblock=$1; PATH=$PATH:/usr/sbin
            truncate -s 20M disk.raw
            qemu-img convert -f raw -O vhdx -o block_size=1M disk.raw images/a.vhdx
            # It cannot write to the block allocation table at 2 MiB, but to the log.
            file=file.driver=blkdebug,file.image.driver=file,file.image.filename=images/a.vhdx
            fault=file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.sector=4096
            qemu-io -c 'write -P 5 17M 1M' --image-opts driver=vhdx,$file,$fault >log 2>&1 || true
            cp images/a.vhdx replayed.vhdx; qemu-img check -q -r all -f vhdx replayed.vhdx
            qemu-img convert -f vhdx -O raw replayed.vhdx disk.raw
            cp images/a.vhdx images/b.avhdx; cp images/a.vhdx images/unnamed.img
            sha256sum images/a.vhdx >before
            set -e
            "$rblock" info --output json images/a.vhdx | jq -c '[.format, ."virtual-size", ."cluster-size", ."dirty-flag"]'
            "$rblock" info images/a.vhdx | grep -c 'replayed in memory'
            "$rblock" info --output json images/unnamed.img | jq -c '[.format, .rblock.probed]'
            "$rblock" map --output json images/a.vhdx | jq -c '(map(.length) | add)'
            test "$("$rblock" hash images/a.vhdx | cut -c 1-64)" = "$(sha256sum <disk.raw | cut -c 1-64)"
            "$rblock" read images/b.avhdx | cmp - disk.raw
            "$rblock" diff images/a.vhdx disk.raw && echo same
            "$rblock" check images/a.vhdx | tail -n 1
            "$rblock" inspect --l2 images/a.vhdx >inspected; grep -c 'FileWriteGuid' inspected
            "$rblock" inspect --graph images/a.vhdx | grep -c 'block table'
            "$rblock" convert images/a.vhdx copy.qcow2; qemu-img compare -f raw -F qcow2 disk.raw copy.qcow2
            for options in subformat=dynamic subformat=fixed,block_size=1M; do
              "$rblock" convert -O vhdx -o $options copy.qcow2 copy.vhdx
              qemu-img compare -f raw -F vhdx disk.raw copy.vhdx; qemu-img check -q -f vhdx copy.vhdx
              "$rblock" convert -O vhdx -o $options images/a.vhdx again.vhdx; cmp copy.vhdx again.vhdx
              rm copy.vhdx again.vhdx
            done
            "$rblock" create -o subformat=fixed new.vhdx 3M; qemu-img info --output json new.vhdx | jq -c '[."virtual-size", ."cluster-size"]'
            "$rblock" measure -O vhdx -o subformat=fixed --output json images/a.vhdx | jq -c '."fully-allocated"'
            "$rblock" serve --nbd unix:nbd --rpc unix:rpc images 2>log & server=$!
            for i in {1..300}; do test -S rpc && test -S nbd && break; sleep 0.1; done
            nbdcopy 'nbd+unix:///a.vhdx?socket=nbd' nbd.raw; cmp nbd.raw disk.raw
            "$rblock" rpc --raw rpc read image=b.avhdx offset=17825792 length=8192 | cmp -n 8192 -i 0:17825792 - disk.raw
            kill $server; wait $server || true
            "$2" images mnt; cmp mnt/a.vhdx/disk.raw disk.raw; cmp mnt/b.avhdx/disk.raw disk.raw
            jq -c '[.format, (.rblock.notes | length)]' mnt/a.vhdx/stats.json
            fusermount3 -u mnt
            sha256sum -c before
            """, Tool.rblock, Tool.rblockfs, folder.path)
        let expected = """
            ["vhdx",20971520,1048576,true]
            ["vhdx",true]
            20971520
            same
            Images are identical.
            [3145728,8388608]
            images/a.vhdx: OK
            """
        for line in expected.split(separator: "\n") { #expect(seen.contains(line), "\(seen)") }
    }

    @Test func `with sectors of 4096 bytes have their partitions where the guest has them`() throws {
        let folder = try TemporaryFolder()
        let seen = try Shell.check(
            """
            cd "$2"; rblock=$1; PATH=$PATH:/usr/sbin
            truncate -s 40M disk; printf 'o\\nn\\np\\n1\\n\\n+8M\\nn\\np\\n2\\n\\n\\nw\\n' | fdisk -b 4096 disk >log
            seq 400000 | dd of=disk bs=1M seek=1 conv=notrunc status=none
            "$rblock" convert -O vhdx -o logical_sector_size=4096 disk a.vhdx
            "$rblock" info --output json a.vhdx | jq -c '[."format-specific".data."logical-sector-size", ."virtual-size"]'
            "$rblock" read a.vhdx/p1 >p1; cmp -i 0:1048576 -n 2000000 p1 disk && stat -c %s p1
            """, Tool.rblock, folder.path)
        #expect(seen.contains("[4096,41943040]") && seen.contains("8388608"), "\(seen)")
    }
}
