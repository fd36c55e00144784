import HostTools
import TestImages
import Testing

/// A folder `….hdd` as Parallels Desktop makes it, with images of qemu-img.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "jq")))
struct `A Parallels disk of several images` {
    @Test func `is read by its descriptor, with its parts and its snapshots`() throws {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("old.raw"), size: 3 << 20, seed: 9)
        let text = try Shell.check(
            """
            cd "$2"; mkdir -p images/vm.hdd; cp old.raw new.raw
            dd if=old.raw of=first bs=1M count=2 status=none; dd if=old.raw of=images/vm.hdd/second.hds bs=1M skip=2 status=none
            qemu-img convert -f raw -O parallels -o cluster_size=64k first images/vm.hdd/first.hds
            for part in first:2M second:1M; do
              qemu-img create -q -f parallels -o cluster_size=64k images/vm.hdd/${part%:*}-new.hds ${part#*:}
            done
            qemu-io -f parallels -c 'write -P 7 128k 64k' images/vm.hdd/first-new.hds >/dev/null
            qemu-io -f parallels -c 'write -P 8 0 64k' images/vm.hdd/second-new.hds >/dev/null
            qemu-io -f raw -c 'write -P 7 128k 64k' -c 'write -P 8 2M 64k' new.raw >/dev/null
            image() { echo "<Image><GUID>{$1}</GUID><Type>$2</Type><File>$3</File></Image>"; }
            old=11111111-1111-1111-1111-111111111111; new=5fbaabe3-6958-40ff-92a7-860e329aab41
            cat >images/vm.hdd/DiskDescriptor.xml <<END
            <?xml version='1.0' encoding='UTF-8'?>
            <Parallels_disk_image Version="1.0"><Disk_Parameters><Disk_size>6144</Disk_size></Disk_Parameters>
            <StorageData>
            <Storage><Start>0</Start><End>4096</End><Blocksize>128</Blocksize>
            $(image $old Compressed first.hds)$(image $new Compressed first-new.hds)</Storage>
            <Storage><Start>4096</Start><End>6144</End><Blocksize>128</Blocksize>
            $(image $old Plain second.hds)$(image $new Compressed second-new.hds)</Storage>
            </StorageData>
            <Snapshots><Shot><GUID>{$new}</GUID><ParentGUID>{$old}</ParentGUID></Shot>
            <Shot><GUID>{$old}</GUID><ParentGUID>{00000000-0000-0000-0000-000000000000}</ParentGUID></Shot></Snapshots>
            </Parallels_disk_image>
            END
            disk=images/vm.hdd/DiskDescriptor.xml
            "$1" read $disk | cmp - new.raw && echo new
            "$1" read "$disk@{$old}" | cmp - old.raw && echo old
            "$1" read "images/vm.hdd@{$old}" | cmp - old.raw && "$1" hash images/vm.hdd/ | grep -c "$(sha256sum <new.raw | cut -d' ' -f1)"
            "$1" info --output json images/vm.hdd | jq -c '[.format, ."virtual-size", (.snapshots | length)]'
            "$1" check $disk; "$1" inspect $disk | grep -c expanding
            "$1" read images/vm.hdd/first.hds 2>&1 >/dev/null || true
            rm images/vm.hdd/first.hds; "$1" read $disk 2>&1 >/dev/null || true
            """, Tool.rblock, folder.path)
        #expect(text.hasPrefix("new\nold\n1\n[\"parallels\",\(3 << 20),1]\nNothing is wrong."), "\(text)")
        #expect(text.contains("\n3\n") && text.contains("use that") && text.contains("first.hds\": "), "\(text)")
        let mount = try Mount(folder.file("images"))
        let names = try Shell.check("ls \"$1/vm.hdd\"", mount.path)
        #expect(names.contains("DiskDescriptor.xml") && !names.contains(".hds"), "\(names)")
        try mount.unmount()
    }
}
