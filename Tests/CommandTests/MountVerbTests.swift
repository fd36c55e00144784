import Foundation
import HostTools
import TestImages
import Testing

/// `rblock mount` and `unmount`, with file systems that guests were writing to.
@Suite(.enabled(if: Tool.canUseLoopDevices("qemu-img", "sfdisk", "blkid", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs")))
struct `A mounted guest` {
    /// `dirty.raw` and `dirty.qcow2` are copies of a file system of the kind $1 that were made while it was mounted and written to:
    /// `clean.raw` is what it was after that. The file `kept` was in its place by then.
    private static let dirty = """
        size=64M; [ $1 != xfs ] || size=300M; [ $1 != btrfs ] || size=128M
        mkdir -p mnt mnt2 build; truncate -s $size clean.raw; mkfs.$1 -q clean.raw
        device=$(losetup -f --show clean.raw); trap 'umount build 2>/dev/null; losetup -d $device' EXIT
        mount $device build; echo before >build/kept; sync -f build; fsfreeze -f build; fsfreeze -u build
        for number in {1..20}; do echo $number >build/$number; sync build/$number; done
        cp --sparse=always clean.raw dirty.raw; qemu-img convert -O qcow2 -c dirty.raw dirty.qcow2
        """

    @Test(arguments: [("ext4", "norecovery"), ("xfs", "norecovery"), ("btrfs", "rescue=nologreplay")])
    func `that was copied while it ran shows its files, and stays as it was`(type: String, option: String) throws {
        let folder = try AttachmentFolder("true")
        try folder.shell(Self.dirty, type)
        for (image, isDirty) in [("dirty.raw", true), ("dirty.qcow2", true), ("clean.raw", false)] {
            let before = try folder.shell("sha256sum $1; stat -c '%Y %Z' $1", image)
            let result = try folder.run("mount", image, "mnt")
            #expect(result.status == 0 && result.text == "", "\(image): \(result.errors)")
            #expect(result.errors.contains("the last changes") == isDirty, "\(image): \(result.errors)")
            let options = try folder.shell("awk -v p=\"$PWD/mnt\" '$5 == p' /proc/self/mountinfo")
            #expect(options.contains(" ro,nosuid,nodev"), "\(options)")
            #expect(options.contains(option) == isDirty || type == "btrfs", "\(image): \(options)")
            #expect(try folder.shell("cat mnt/kept; ! touch mnt/new 2>/dev/null").contains("before"))
            #expect(try folder.list().first?["file-system"]?.text == type)
            try folder.check("unmount", "mnt")
            #expect(try folder.shell("sha256sum $1; stat -c '%Y %Z' $1", image) == before, "\(image)")
            #expect(try folder.left() == "", "\(image)")
        }
        // Several copies of one file system. Kernels before 6.7 take only one of btrfs.
        guard type != "btrfs" else { return }
        try folder.check("mount", "dirty.raw", "mnt")
        try folder.check("mount", "dirty.qcow2", "mnt2")
        #expect(try folder.shell("cat mnt/kept mnt2/kept") == "before\nbefore")
        try folder.check("unmount", "dirty.qcow2")
        try folder.check("unmount", "\(folder.path)/mnt")
        #expect(try folder.left() == "")
    }

    /// A disk with a swap partition, two file systems, and an empty partition; and one with one file system.
    private static let parted = """
        mkdir -p mnt; truncate -s 64M two.raw; printf 'label: gpt\\n1M,8M\\n,16M\\n,16M\\n,\\n' | sfdisk -q two.raw
        mkfs.ext4 -q -L 'two words' -E offset=$((9 << 20)) two.raw 16M
        mkfs.ext4 -q -L other -E offset=$((25 << 20)) two.raw 16M
        truncate -s 8M swap; mkswap swap >/dev/null 2>&1; dd if=swap of=two.raw bs=1M seek=1 conv=notrunc status=none
        truncate -s 32M one.raw; printf 'label: dos\\n1M,8M,82\\n,16M,83\\n' | sfdisk -q one.raw
        mkfs.ext4 -q -L only -E offset=$((9 << 20)) one.raw 16M; dd if=swap of=one.raw bs=1M seek=1 conv=notrunc status=none
        qemu-img convert -O qcow2 -c one.raw one.qcow2; qemu-img snapshot -c daily one.qcow2; touch name:2
        """

    @Test func `is the only file system, or the one that is chosen`() throws {
        let folder = try AttachmentFolder(Self.parted)
        for image in ["one.qcow2", "one.raw", "one.raw:2", "one.raw/p2", "one.qcow2@daily", "one.qcow2@daily:p2"] {
            try folder.check("mount", image, "mnt")
            #expect(try folder.shell("ls mnt") == "lost+found", "\(image)")
            try folder.check("unmount", "mnt")
            #expect(try folder.left() == "", "\(image)")
        }
        let several = try folder.run("mount", "--output", "json", "two.raw", "mnt")
        let choices = try #require(JSONValue(parsing: several.output)["file-systems"]?.array)
        #expect(several.status == 3 && several.errors.contains("two.raw:2  ext4  16 MiB  \"two words\""))
        #expect(choices.map { $0["partition"]?.number } == [2, 3] && choices.map { $0["label"]?.text }.last == "other")
        #expect(try folder.left() == "")
        let chosen = try JSONValue(
            parsing: Data(try folder.check("mount", "--output", "json", "-o", "noexec", "two.raw:3", "mnt").utf8))
        #expect(chosen["options"]?.text == "ro,nosuid,nodev,noexec" && chosen["state"]?.text == "mounted")
        #expect(chosen["mountpoint"]?.text == "\(folder.path)/mnt" && chosen["name"]?.text == "two.raw-p3")
        let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Documents/rblock-json.5")
        let words = Set(
            try String(contentsOf: page, encoding: .utf8).split { !$0.isLetter && $0 != "-" }.map(String.init))
        for document in [chosen, try JSONValue(parsing: several.output)] {
            for (key, _) in document.leaves {
                let names = key.split(separator: ".").map(String.init).filter { Int($0) == nil }
                #expect(words.isSuperset(of: names), "\(key)")
            }
        }
        let busy = try folder.shell("cd mnt; \"$rblock\" unmount ../mnt 2>&1 || echo $?")
        #expect(busy.contains("mnt: is in use") && busy.hasSuffix("\n1"), "\(busy)")
        let detach = try folder.run("detach", "two.raw-p3")
        #expect(detach.status == 1 && detach.errors.contains("'rblock unmount two.raw-p3'"), "\(detach.errors)")
        try folder.check("detach", "--all")
        #expect(try folder.list().count == 1)
        try folder.check("unmount", "two.raw-p3")
        #expect(try folder.left() == "")
    }

    @Test func `may lie on a volume of LVM: the only one, or one of those that are listed`() throws {
        let fixtures = URL(fileURLWithPath: #filePath).appendingPathComponent("../../../Fixtures/lvm").standardized.path
        let folder = try AttachmentFolder("mkdir mnt")
        try folder.shell(
            """
            # make IMAGE VOLUME: the raw disk of the fixture IMAGE with an ext2 on VOLUME.
            make() {
              qemu-img convert -O raw "$fixtures/$1.qcow2" $1.raw; size=$("$rblock" read $1.raw/$2 | wc -c)
              truncate -s $size fs; mke2fs -q -F -t ext2 -N 16 -L "$1" fs
              "$rblock" map --output json $1.raw/$2 | jq -r '.[] | "\\(.start) \\(.length) \\(.offset)"' | while read start count place; do
                dd if=fs of=$1.raw bs=512 skip=$((start / 512)) count=$((count / 512)) seek=$((place / 512)) conv=notrunc status=none
              done
              "$rblock" read $1.raw/$2 | cmp - fs
            }
            fixtures=$1; make one rack--a-root; make guest guest-root
            """, fixtures)
        for (image, name) in [
            ("one.raw", "one.raw-rack--a-root"), ("one.raw/rack--a-root", "one.raw-rack--a-root"),
            ("guest.raw/guest-root", "guest.raw-guest-root"),
        ] {
            try folder.check("mount", image, "mnt")
            #expect(try folder.shell("ls mnt; findmnt -n -o LABEL mnt") == "lost+found\n\(image.prefix { $0 != "." })")
            #expect(try folder.list().map { $0["name"]?.text } == [name])
            try folder.check("unmount", "mnt")
            #expect(try folder.left() == "", "\(image)")
        }
        let several = try folder.run("mount", "--output", "json", "guest.raw", "mnt")
        #expect(several.status == 3 && several.errors.contains("guest.raw/guest-root  volume of LVM  1.62 MiB"))
        let choices = try #require(JSONValue(parsing: several.output)["file-systems"]?.array)
        #expect(choices.compactMap { $0["volume"]?.text } == ["guest-swap", "guest-root"], "\(choices)")
        #expect(try folder.left() == "")
    }

    @Test func `that cannot be mounted says why, and nothing stays`() throws {
        let folder = try AttachmentFolder(
            Self.parted
                + """

                truncate -s 1M empty.raw; cp swap swap.raw
                qemu-img create -q -f luks --object secret,id=s,data=x -o key-secret=s,iter-time=10 luks.raw 1M
                python3 - <<'end'
                import struct, zlib
                label = bytearray(4 << 20)
                body = struct.pack('<I8s32s', 32, b'LVM2 001', b'a' * 32).ljust(512 - 20, b'\\0')
                crc = 0xf597a6cf
                for byte in body:
                    crc ^= byte
                    for _ in range(8): crc = crc >> 1 ^ (0xedb88320 if crc & 1 else 0)
                label[512:1024] = b'LABELONE' + struct.pack('<QI', 1, crc) + body
                open('lvm.raw', 'wb').write(label)
                end
                """)
        for (arguments, sentence) in [
            (["two.raw:1", "mnt"], "is swap space"), (["swap.raw", "mnt"], "is swap space"),
            (["lvm.raw", "mnt"], "'vgchange -ay --readonly'"), (["luks.raw", "mnt"], "cryptsetup open --readonly"),
            (["two.raw:4", "mnt"], "nothing that blkid(8) knows"),
            (["empty.raw", "mnt"], "nothing that blkid(8) knows"),
            (["two.raw:9", "mnt"], "has no partition 9"), (["two.raw:2", "none"], "No such file or directory"),
            (["two.raw:2", "swap"], "is no directory"), (["-o", "bogus", "two.raw:2", "mnt"], "mount(8): "),
            (["name:2", "mnt"], "at least a sector"), (["none.raw:2", "mnt"], "none.raw"),
        ] {
            let result = try folder.run("mount", "--format", "raw", arguments: arguments)
            #expect(result.status == 1 && result.errors.contains(sentence), "\(arguments): \(result.errors)")
            #expect(try folder.left() == "", "\(arguments)")
        }
        #expect(try folder.run("mount", "-o", "ro,rw", "two.raw:2", "mnt").status == 64)
        let unknown = try folder.run("unmount", "mnt")
        #expect(unknown.status == 1 && unknown.errors.contains("'rblock attached' lists"), "\(unknown.errors)")
        try folder.check("attach", "one.raw")
        let attached = try folder.run("unmount", "one.raw")
        #expect(attached.status == 1 && attached.errors.contains("'rblock detach one.raw'"), "\(attached.errors)")
        try folder.check("detach", "one.raw")
    }

    @Test func `takes root, and the message has what does the same without`() throws {
        let folder = try AttachmentFolder(Self.parted)
        let result = try folder.shell(
            """
            mkdir home bin; cp "$rblock" "${rblock}fs" bin; chmod 755 . .. bin home; chmod 644 *.raw *.qcow2; chown 65534 home
            mknod -m 666 fuse c 10 229
            quote="'" unshare -m bash -ec '
              mount --bind fuse /dev/fuse; export HOME=$PWD/home PATH=$PWD/bin:$PATH
              as() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
              for words in "attach one.qcow2@daily/p2" "mount one.qcow2@daily:2 mnt" "attached" "detach x" "unmount mnt"; do
                as rblock $words 2>message && exit 96 || echo $?
                as rblock $words --output json 2>/dev/null | jq -r .error.code; cat message >&2
                file=$(sed -n "s/.*as the file ~\\([^ ,]*\\).*/\\1/p" message)
                [ "$file" ] || continue
                as bash -ec "$(cut -d "$quote" -f 2 message)"; as cmp "$HOME$file" p2; as fusermount3 -u ~/rblock
              done' 2>messages
            cat messages >&2
            """.replacingOccurrences(
                of: "mkdir home", with: "tail -c +$((1 + (9 << 20))) one.raw | head -c 16M >p2; mkdir home"))
        #expect(result == Array(repeating: "77\ndenied", count: 5).joined(separator: "\n"), "\(result)")
    }
}
