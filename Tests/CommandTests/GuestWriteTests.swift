import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "Files of guests that are changed",
    .enabled(
        if: BootKernel.isThere(
            Tool.isRoot
                && Tool.areThere(
                    "mkfs.ext4", "mkfs.xfs", "mkfs.vfat", "mcopy", "sfdisk", "setfattr", "qemu-img",
                    "qemu-system-x86_64")
        )))
struct GuestWriteTests {
    /// Runs a program of bash in the folder of `images`, with `rblock` as $R, which has a kernel, and `walk` of `GuestImages`.
    private func run(_ images: GuestImages, _ script: String) throws -> ToolResult {
        try Tool.run(
            "unshare",
            [
                "-m", "--propagation", "private", "bash", "-c",
                """
                cd "$1"; R=$2; P=$3; export RBLOCK_KERNEL=$4; mkdir -p mnt; trap 'umount -R mnt 2>/dev/null' EXIT; top=$1
                # One of the names of this file is not copied; of another both are.
                ln tree/home/me/f7 tree/home/same; walk() { python3 -c "$P" "$@" | grep -v /second; }
                # Has what comes after $1 done with the ext4 in the image $1, at mnt.
                within() { qemu-img convert -O raw "$1" flat.raw && dd if=flat.raw of=part.raw bs=1M skip=33 count=96 conv=sparse status=none &&
                  e2fsck -fn part.raw >fsck.log 2>&1 || { cat fsck.log; return 1; }; mount -o loop,ro,noload part.raw mnt && "${@:2}"; umount mnt; }
                \(script)
                """, "bash", images.path, Tool.rblock, GuestImages.walk, BootKernel.folder,
            ], timeout: 300)
    }

    @Test
    func `cp -a has a QCOW2 and a raw image have the same files, and a check of their file systems finds nothing`()
        throws
    {
        let images = try GuestImages()
        let result = try run(
            images,
            """
            "$R" mkdir disk.qcow2:/x 2>&1 | grep -o 'internal snapshots.*'; qemu-img convert -O qcow2 disk.raw disk.qcow2
            for image in disk.qcow2 disk.raw; do
              "$R" cp -a tree/home tree/var $image:/etc 2>notes || cat notes
              within $image bash -c 'python3 -c "$1" mnt/etc/home; python3 -c "$1" mnt/etc/var' - "$P" | grep -v /second >$image.lines || exit 9
              diff <(walk tree/home; walk tree/var) $image.lines && echo same
            done
            qemu-img check -q disk.qcow2 && ls -A | grep -c rblock
            # The FAT that fstab mounts is written to as well.
            "$R" cp tree/etc/hostname disk.qcow2:/boot/ 2>/dev/null; "$R" cat disk.qcow2:1:/hostname
            """)
        #expect(
            result.text.split(separator: "\n") == [
                "internal snapshots are not written to; --overlay FILE.qcow2 has what is changed go there", "same",
                "same", "0",
                "guest",
            ],
            "\(result.text)\(result.errors)")
    }

    @Test func `what cannot be done changes nothing, and where an overlay is named, the image stays as it is`() throws {
        let images = try GuestImages()
        let result = try run(
            images,
            """
            sum() { sha256sum "$@" | sha256sum; }; before=$(sum disk.raw disk.vmdk)
            "$R" rm disk.raw:/etc/fstab disk.raw:/nothing 2>&1 | grep -o 'No such file.*'; "$R" rm disk.raw:/home 2>&1 | grep -o 'is a directory.*;'
            "$R" mkdir disk.raw:/etc 2>&1 | grep -o 'is there already'; "$R" mkdir disk.vmdk:/new 2>&1 | grep -o 'only QCOW2.*'
            head -c 200M /dev/zero | tr '\\0' x >large; "$R" cp large disk.raw:/ 2>&1 | grep -o 'No space left.*'; rm large
            "$R" cp nothing disk.raw:/ 2>/dev/null; echo $?
            [ "$(sum disk.raw disk.vmdk)" = "$before" ] && echo same; ls -A | grep -c rblock
            "$R" mkdir -p --overlay over.qcow2 disk.vmdk:/srv/a/b 2>/dev/null && "$R" cp --overlay over.qcow2 tree/etc/fstab disk.vmdk:/srv/a 2>/dev/null
            "$R" find over.qcow2:/srv 2>/dev/null; "$R" ls -d disk.vmdk:/srv 2>/dev/null; [ "$(sum disk.raw disk.vmdk)" = "$before" ] && echo same
            qemu-img check -q over.qcow2 && echo sound
            # Another image builds on this one.
            qemu-img create -q -f qcow2 -b disk.raw -F raw top.qcow2; "$R" rm disk.raw:/etc/hostname 2>&1 | grep -o 'stays as it is.*'
            [ "$(sum disk.raw disk.vmdk)" = "$before" ] && echo same; "$R" ls disk.raw.overlay.qcow2:/etc 2>/dev/null
            """)
        #expect(
            result.text.split(separator: "\n") == [
                "No such file or directory; disk.raw is as it was, and nothing was changed",
                "is a directory; -r removes it;",
                "is there already",
                "only QCOW2 and raw images in one file are written to; --overlay FILE.qcow2 has what is changed go there",
                "No space left on device; disk.raw is as it was, and nothing was changed", "1", "same", "0", "/srv",
                "/srv/a",
                "/srv/a/b", "/srv/a/fstab", "same", "sound",
                "stays as it is, and what is changed goes to \(images.path)/disk.raw.overlay.qcow2", "same", "fstab",
            ], "\(result.text)\(result.errors)")
    }

    @Test func `XFS is read and written, and copied from one guest to another`() throws {
        let images = try GuestImages()
        let result = try run(
            images,
            """
            truncate -s 400M xfs.raw; mkfs.xfs -q -L data xfs.raw; "$R" cp -a tree/home xfs.raw:/ 2>/dev/null
            xfs_repair -n xfs.raw >/dev/null 2>&1 && mount -o loop,ro,norecovery,nouuid xfs.raw mnt && diff <(walk tree/home) <(walk mnt/home) && echo same
            umount mnt; mkdir out; before=$(sha256sum xfs.raw)
            "$R" tar xfs.raw:LABEL=data:/home | tar -x --xattrs --xattrs-include='*' -p --numeric-owner -C out
            diff <(walk tree/home) <(walk out) && echo same; [ "$(sha256sum xfs.raw)" = "$before" ] && echo unchanged
            "$R" rm -r xfs.raw:/home/me && "$R" cp -a disk.vmdk:/home/me xfs.raw:/other 2>/dev/null; "$R" find xfs.raw:/ | wc -l; "$R" df --output json xfs.raw | jq -r '.[0].type, .[0].label'
            # In use.
            "$R" cp -a tree/home xfs.raw:/ & sleep 0.7; "$R" mkdir xfs.raw:/x 2>&1 | grep -c 'xfs.raw'; wait
            """)
        #expect(
            result.text.split(separator: "\n") == ["same", "same", "unchanged", "62", "xfs", "data", "1"],
            "\(result.text)\(result.errors)")
    }

    @Test func `without a kernel, it is said what is missing, and an image that is killed over is as it was`() throws {
        let images = try GuestImages()
        let result = try run(
            images,
            """
            before=$(sha256sum disk.raw); RBLOCK_KERNEL=$top/tree "$R" mkdir disk.raw:/x 2>&1 | grep -o 'has no boot/vmlinuz.*'
            for wait in 0.3 1.5 3; do
              "$R" cp -a tree/var tree/home disk.raw:/srv 2>/dev/null & sleep $wait; kill -9 $!; wait $! 2>/dev/null
              # Where it was faster than that, all is there.
              [ "$(sha256sum disk.raw)" = "$before" ] && echo same || { within disk.raw ls mnt/srv/home/me/f50 >/dev/null && echo same; }
            done
            "$R" mkdir disk.raw:/x 2>/dev/null; "$R" ls -d disk.raw:/x 2>/dev/null; ls -A | grep -c '[.]rblock'
            for turn in {1..50}; do pgrep -f "rblock cp.*$top" >/dev/null || break; sleep 0.1; done; pgrep -fc "qemu.*$1/"
            """)
        #expect(
            result.text.split(separator: "\n") == [
                "has no boot/vmlinuz-VERSION with modules in lib/modules/VERSION, as RBLOCK_KERNEL must; "
                    + "disk.raw is as it was, and nothing was changed",
                "same", "same", "same", "x", "0", "0",
            ], "\(result.text)\(result.errors)")
    }

    @Test func `no file is lost to itself, to a link beside the image, or to a name of another`() throws {
        let images = try GuestImages()
        let result = try run(
            images,
            """
            "$R" mkdir disk.raw:/srv 2>/dev/null; "$R" cp -a tree/home tree/etc disk.raw:/srv 2>/dev/null
            for to in /srv /srv/home /srv/home/me; do "$R" cp -r disk.raw:/srv/home disk.raw:$to 2>&1 | grep -o 'not copied into itself\\|same file'; done | sort | uniq -c | tr -s ' '
            "$R" cp disk.raw:/srv/etc/fstab disk.raw:/srv/etc/ 2>&1 | grep -o 'is the same file'
            "$R" cat disk.raw:/srv/home/me/f50 disk.raw:/srv/etc/fstab 2>/dev/null | head -n 1
            # Hard links in one directory.
            "$R" rm -r disk.raw:/srv 2>/dev/null; echo $?; "$R" find disk.raw:/srv 2>/dev/null | wc -l
            mkdir away; echo kept >away/file; ln -s away .disk.raw.rblock; "$R" mkdir disk.raw:/x 2>&1 | grep -o 'must not be there'; cat away/file
            rm .disk.raw.rblock; mkdir .disk.raw.rblock; echo mine >.disk.raw.rblock/notes; "$R" mkdir disk.raw:/x 2>/dev/null; cat .disk.raw.rblock/notes
            rm -r .disk.raw.rblock; chmod 1777 tree/var; "$R" cp -r tree/var disk.raw:/ 2>/dev/null; "$R" ls -ld disk.raw:/var 2>/dev/null | cut -c1-10
            """)
        #expect(
            result.text.split(separator: "\n") == [
                " 3 not copied into itself", "is the same file", "50", "0", "0", "must not be there", "kept", "mine",
                "drwxr-xr-x",
            ], "\(result.text)\(result.errors)")
    }

    @Test func `a volume of LVM in several pieces is written to`() throws {
        let folder = try TemporaryFolder()
        let id = String(repeating: "a", count: 32)
        var group = BuiltGroup("vg", String(repeating: "g", count: 32), members: [id])
        group.extentSize = 64
        group.add("root", BuiltGroup.segment(0, 350, [("pv0", 0)]), BuiltGroup.segment(350, 450, [("pv0", 500)]))
        group.add("other", BuiltGroup.segment(0, 100, [("pv0", 380)]))
        var disk = BuiltLVM(id, size: 40 << 20)
        disk.setText(group.text)
        try Data(disk.bytes).write(to: URL(fileURLWithPath: folder.file("disk.raw")))
        let result = try Tool.run(
            "bash",
            [
                "-c",
                """
                cd "$1"; R=$2; export RBLOCK_KERNEL=$3; truncate -s 25600K fs.raw; mkdir -p tree/etc; echo /dev/vg/root / ext4 >tree/etc/fstab
                mkfs.ext4 -q -d tree fs.raw; dd if=fs.raw of=disk.raw bs=32K seek=2 count=350 conv=notrunc status=none
                dd if=fs.raw of=disk.raw bs=32K seek=502 skip=350 count=450 conv=notrunc status=none
                dd if=/dev/urandom of=disk.raw bs=32K seek=382 count=100 conv=notrunc status=none; sum() { "$R" hash disk.raw/vg-other; }
                before=$(sum); head -c 18M /dev/urandom >large; "$R" cp large disk.raw:/ && "$R" cat disk.raw:vg-root:/large | cmp - large && echo same
                [ "$(sum)" = "$before" ] && echo other; "$R" read disk.raw/vg-root >fs2.raw; e2fsck -fn fs2.raw >/dev/null 2>&1 && echo sound
                """, "bash", folder.path, Tool.rblock, BootKernel.folder,
            ], timeout: 300)
        #expect(result.text == "same\nother\nsound\n", "\(result.text)\(result.errors)")
    }
}
