import Foundation
import HostTools
import TestImages
import Testing

/// `rblock attach`, `attached` and `detach`, with the kernel and qemu-img as judges.
@Suite(.enabled(if: Tool.canUseLoopDevices("qemu-img", "qemu-io", "sfdisk", "cmp", "jq")))
struct `Attached disks` {
    /// A disk with partitions 1, 2 and 5, of random bytes, in every way that it may be stored.
    private static let images = """
        head -c 24M /dev/urandom >raw.raw
        printf 'label: dos\\n1M,2M,83\\n4M,6M,83\\n12M,,5\\n13M,4M,83\\n' | sfdisk -q raw.raw
        qemu-img convert -O qcow2 -c raw.raw small.qcow2; qemu-img snapshot -c daily small.qcow2
        qemu-io -c 'write -P 7 5M 64k' small.qcow2 >/dev/null
        qemu-img convert -O vmdk raw.raw sparse.vmdk; qemu-img convert -O vmdk -o subformat=monolithicFlat raw.raw flat.vmdk
        qemu-img create -q -f qcow2 -b raw.raw -F raw over.qcow2; qemu-io -c 'write -P 9 6M 1k' over.qcow2 >/dev/null
        qemu-img create -q -f qcow2 -o data_file=data,data_file_raw=on data.qcow2 24M
        qemu-img convert -n -O qcow2 raw.raw data.qcow2
        qemu-img convert -O vmdk -o subformat=streamOptimized raw.raw disk1.vmdk
        { echo '<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
          echo "<File ovf:id='f' ovf:href='disk1.vmdk'/></References><DiskSection>"
          echo "<Disk ovf:diskId='d' ovf:fileRef='f' ovf:capacity='25165824'/></DiskSection>"
          echo '<VirtualSystem ovf:id="vm"><Name>A machine</Name></VirtualSystem></Envelope>'; } >vm.ovf
        tar -cf shop.ova vm.ovf disk1.vmdk; rm vm.ovf disk1.vmdk; touch -a -d '2001-01-01' *
        """

    @Test func `have the bytes of the disk and of its partitions, and leave the image as it was`() throws {
        let folder = try AttachmentFolder(Self.images)
        let before = try folder.shell("sha256sum [a-z]*.* data; stat -c '%n %X %Y' [a-z]*.* data")
        try folder.shell("qemu-img convert -O raw small.qcow2 now; qemu-img convert -O raw over.qcow2 over")
        for (image, disk, source) in [
            ("raw.raw", "raw.raw", "file"), ("small.qcow2", "now", "rblockfs"), ("sparse.vmdk", "raw.raw", "file"),
            ("flat.vmdk", "raw.raw", "file"), ("over.qcow2", "over", "rblockfs"), ("data.qcow2", "raw.raw", "file"),
            ("shop.ova", "raw.raw", "rblockfs"), ("shop.ova/disk1.vmdk", "raw.raw", "rblockfs"),
            ("small.qcow2@daily", "raw.raw", "rblockfs"), ("over.qcow2/layers/1", "raw.raw", "file"),
        ] {
            let report = try JSONValue(parsing: Data(try folder.check("attach", "--output", "json", image).utf8))
            let device = try #require(report["device"]?.text)
            #expect(report["source"]?.text == source, "\(image)")
            #expect(report["partitions"]?.array?.compactMap { $0["number"]?.number } == [1, 2, 5], "\(image)")
            try folder.shell(
                """
                cmp "$1" "$2"; [ $(blockdev --getsize64 $1) = $((24 << 20)) ]; [ $(blockdev --getro $1) = 1 ]
                cmp ${1}p1 <(tail -c +$((1 + (1 << 20))) $2 | head -c 2M)
                cmp ${1}p2 <(tail -c +$((1 + (4 << 20))) $2 | head -c 6M)
                cmp ${1}p5 <(tail -c +$((1 + (13 << 20))) $2 | head -c 4M)
                ! dd if=/dev/zero of=$1 bs=512 count=1 conv=notrunc oflag=direct 2>/dev/null
                """, device, disk)
            #expect(try folder.list().map { $0["device"]?.text } == [device])
            try folder.check("detach", device)
            #expect(try folder.left() == "", "\(image)")
        }
        #expect(try folder.shell("sha256sum [a-z]*.* data; stat -c '%n %X %Y' [a-z]*.* data") == before)
    }

    @Test func `are single partitions as well`() throws {
        let folder = try AttachmentFolder(Self.images)
        for (image, name) in [
            ("raw.raw/p2", "raw.raw-p2"), ("sparse.vmdk/p2", "sparse.vmdk-p2"),
            ("small.qcow2@daily/p2", "small.qcow2@daily-p2"), ("shop.ova/disk1.vmdk/p2", "disk1.vmdk-p2"),
        ] {
            let device = try folder.check("attach", image)
            try folder.shell("cmp $1 <(tail -c +$((1 + (4 << 20))) raw.raw | head -c 6M)", device)
            #expect(try folder.list().map { $0["name"]?.text } == [name])
            try folder.check("detach", name)
        }
        #expect(try folder.left() == "")
    }

    @Test func `say which snapshot they are of, also one of --snapshot`() throws {
        let folder = try AttachmentFolder(Self.images)
        for (option, image) in [("--as=one", "small.qcow2@daily/p2"), ("--snapshot=daily", "small.qcow2/p2")] {
            let device = try folder.check("attach", option, image)
            try folder.shell("cmp $1 <(tail -c +$((1 + (4 << 20))) raw.raw | head -c 6M)", device)
            #expect(try folder.list().map { $0["filename"]?.text } == ["small.qcow2@daily/p2"])
            try folder.check("detach", device)
        }
        #expect(try folder.left() == "")
    }

    @Test func `have partitions that the kernel takes no device for, and whole sectors`() throws {
        let folder = try AttachmentFolder(
            """
            head -c 16M /dev/urandom >raw.raw
            printf 'label: gpt\\ntable-length: 400\\n1: start=4096, size=4096\\n300: start=12288, size=8192\\n' |
              sfdisk -q raw.raw
            qemu-img convert -O qcow2 -c raw.raw small.qcow2
            head -c 70001 /dev/urandom >odd.raw; head -c 100 /dev/urandom >tiny.raw
            """)
        for image in ["raw.raw", "small.qcow2"] {
            try folder.check("attach", image)
            let partitions = try #require(try folder.list().first?["partitions"]?.array)
            #expect(partitions.compactMap { $0["number"]?.number } == [1, 300])
            let device = try #require(partitions.last?["device"]?.text)
            try folder.shell("cmp $1 <(tail -c +$((1 + 12288 * 512)) raw.raw | head -c 4M)", device)
            try folder.check("detach", device)
            #expect(try folder.left() == "")
        }
        let odd = try folder.run("attach", "odd.raw")
        #expect(odd.status == 0 && odd.errors.contains("the last 369 are not on the device"), "\(odd.errors)")
        let device = odd.text.trimmingCharacters(in: .newlines)
        try folder.shell("[ $(blockdev --getsize64 $1) = 69632 ]; cmp -n 69632 $1 odd.raw", device)
        try folder.check("detach", "--all")
        let tiny = try folder.run("attach", "tiny.raw")
        #expect(tiny.status == 1 && tiny.errors.contains("at least a sector of 512"), "\(tiny.errors)")
        #expect(try folder.left() == "")
    }

    @Test func `have sectors of 4096 bytes where the table counts in them, or the image says so`() throws {
        let folder = try AttachmentFolder("truncate -s 8M e.raw")
        try folder.shell(
            """
            for table in g o; do
              truncate -s 40M $table.raw; p=; [ $table = g ] || p='p\\n'
              printf "$table\\nn\\n${p}1\\n\\n+8M\\nn\\n${p}2\\n\\n\\nw\\n" | PATH=$PATH:/usr/sbin fdisk -b 4096 $table.raw >log
              seq 400000 | dd of=$table.raw bs=1M seek=2 conv=notrunc status=none
              "$rblock" convert -O vhdx -o logical_sector_size=4096 $table.raw $table.vhdx
              "$rblock" convert -O qcow2 $table.raw $table.qcow2
            done
            "$rblock" convert -O vhdx -o logical_sector_size=4096 e.raw e.vhdx
            """)
        for (image, sector) in [
            ("g.raw", 4096), ("g.vhdx", 4096), ("g.qcow2", 4096), ("o.vhdx", 4096), ("e.vhdx", 4096), ("e.raw", 512),
        ] {
            let device = try folder.check("attach", image)
            let raw = image.prefix(1) + ".raw"
            #expect(try folder.shell("blockdev --getss $1; cmp $1 $2", device, String(raw)) == "\(sector)", "\(image)")
            let partitions = try #require(try folder.list().first?["partitions"]?.array)
            #expect(partitions.count == (image.hasPrefix("e") ? 0 : 2), "\(image)")
            for partition in partitions {
                let node = try #require(partition["device"]?.text)
                #expect(node.hasPrefix("\(device)p"), "the kernel has it: \(image)")
                let start = try #require(partition["start"]?.number)
                try folder.shell("cmp -n 8M $1 <(tail -c +$(($2 + 1)) $3)", node, "\(start)", String(raw))
            }
            try folder.check("detach", device)
            #expect(try folder.left() == "", "\(image)")
        }
    }

    @Test func `have names, and several may be of one image`() throws {
        let folder = try AttachmentFolder("truncate -s 1M raw.raw; qemu-img convert -O qcow2 -c raw.raw small.qcow2")
        let first = try folder.check("attach", "--as", "work", "raw.raw")
        let taken = try folder.run("attach", "--as", "work", "small.qcow2")
        #expect(taken.status == 1 && taken.errors.contains("work: is the name of raw.raw"), "\(taken.errors)")
        for name in ["", "a/b", ".hidden", "-x", "a\nb", String(repeating: "x", count: 101)] {
            #expect(try folder.run("attach", "--as=\(name)", "raw.raw").status == 64, "\(name)")
        }
        for _ in 0..<3 { try folder.check("attach", "small.qcow2") }
        let names = ["small.qcow2", "small.qcow2-2", "small.qcow2-3", "work"]
        #expect(try folder.list().compactMap { $0["name"]?.text } == names)
        let table = try folder.check("attached").split(separator: "\n")
        #expect(table.count == 5 && table[0].hasPrefix("NAME ") && table[4].contains(first), "\(table)")
        let result = try folder.run("detach", "--output", "json", first, "none", "small.qcow2-2")
        let documents = try #require(try JSONValue(parsing: result.output).array)
        #expect(result.status == 1 && result.errors.contains("none: is not attached"), "\(result.errors)")
        #expect(documents.map { $0["error"] == nil } == [true, false, true], "\(result.text)")
        #expect(documents.map { $0["state"]?.text } == ["detached", nil, "detached"], "\(result.text)")
        try folder.check("detach", "--all")
        #expect(try folder.check("attached") == "")
        #expect(try folder.left() == "")
        #expect(try folder.run("detach").status == 64)
        #expect(try folder.run("detach", "--all", "work").status == 64)
    }

    @Test func `stay where they are in use, unless that is said`() throws {
        let folder = try AttachmentFolder(
            """
            truncate -s 8M fs.raw; mkfs.ext4 -q fs.raw; qemu-img convert -O qcow2 -c fs.raw small.qcow2; mkdir mnt
            """)
        let device = try folder.check("attach", "small.qcow2")
        let open = try folder.shell(
            "exec 9<$1; \"$rblock\" detach small.qcow2 2>&1 || echo $?; \"$rblock\" detach --all 2>&1 || echo $?",
            device)
        #expect(open.components(separatedBy: "is in use by process").count == 3, "\(open)")
        #expect(open.hasSuffix("\n1"), "\(open)")
        try folder.shell("mount -o ro $1 mnt", device)
        let mounted = try folder.run("detach", "small.qcow2")
        #expect(mounted.status == 1 && mounted.errors.contains("the mount at \(folder.path)/mnt"), "\(mounted.errors)")
        try folder.shell("umount mnt; cmp $1 fs.raw", device)
        // The device goes with the program that has it open, and the server with the device.
        try folder.shell("exec 9<$1; \"$rblock\" detach --lazy small.qcow2; cmp /dev/fd/9 fs.raw", device)
        #expect(wait(seconds: 20) { (try? folder.left()) == "" })
    }

    @Test func `are doubtful where the image was written to, and refused where that is going on`() throws {
        let folder = try AttachmentFolder("head -c 1M /dev/urandom >raw.raw; qemu-img create -q -f qcow2 open.qcow2 1M")
        try folder.check("attach", "raw.raw")
        try folder.shell("echo more >>raw.raw")
        let result = try folder.run("detach", "raw.raw")
        #expect(result.status == 2 && result.errors.contains("raw.raw: was replaced or written to"))
        let used = try folder.shell(
            """
            mkfifo commands; qemu-io open.qcow2 <commands >/dev/null & exec 9>commands
            for turn in {1..200}; do "$rblock" attach open.qcow2 2>errors || break; "$rblock" detach --all; done
            cat errors; "$rblock" attach --force-share open.qcow2 2>/dev/null; "$rblock" detach --all || echo $?
            exec 9>&-; wait
            """)
        #expect(used.contains("another program is writing to it") && used.contains("/dev/loop"), "\(used)")
        #expect(try folder.left() == "")
    }
}
