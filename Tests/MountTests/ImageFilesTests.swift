import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "The files of an image beside its disk",
    .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp", "sfdisk", "jq", "dd")))
struct ImageFilesTests {
    @Test("Partitions are files of their own, as the kernel would cut them out")
    func partitions() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk(folder.file("disk.raw"), size: 48 << 20, seed: 5)
        try Shell.check(
            """
            cd "$1"; cp disk.raw mbr.raw; dd if=/dev/zero of=mbr.raw bs=512 count=1 conv=notrunc status=none
            printf 'label: dos\\n1M,10M,83\\n11M,20M,5\\n12M,5M,83\\n18M,4M,82\\n32M,,83\\n' | sfdisk -q mbr.raw
            printf 'label: gpt\\nstart=1M,size=10M,type=L,name="root"\\ntype=U\\n' | sfdisk -q disk.raw
            qemu-img convert -O qcow2 -c disk.raw images/gpt.qcow2; qemu-img convert -O vmdk mbr.raw images/mbr.vmdk
            cp "$1"/disk.raw images/none.raw; dd if=/dev/zero of=images/none.raw bs=1M count=1 conv=notrunc status=none
            dd if=/dev/zero of=images/none.raw bs=1M seek=47 count=1 conv=notrunc status=none
            """, folder.path)
        let mount = try Mount(images)
        let parts = try Shell.check("cd \"$1\" && ls -d */partitions/*", mount.path)
        #expect(
            parts == """
                gpt.qcow2/partitions/p1.raw
                gpt.qcow2/partitions/p2.raw
                mbr.vmdk/partitions/p1.raw
                mbr.vmdk/partitions/p3.raw
                mbr.vmdk/partitions/p5.raw
                mbr.vmdk/partitions/p6.raw
                """)
        for (image, source) in [("gpt.qcow2", "disk.raw"), ("mbr.vmdk", "mbr.raw")] {
            // The other reader of the table says where each partition lies.
            let table = try Shell.check(
                "sfdisk --json \"$1\" | jq -r '.partitiontable.partitions[] | [.node, .start, .size] | @tsv'",
                folder.file(source))
            var count = 0
            for line in table.split(separator: "\n") {
                let fields = line.split(separator: "\t")
                let number = fields[0].dropFirst(folder.file(source).count)
                let path = mount.file("\(image)/partitions/p\(number).raw")
                guard FileManager.default.fileExists(atPath: path) else { continue }
                count += 1
                try Shell.check(
                    "dd if=\"$1\" skip=$2 count=$3 bs=512 status=none | cmp - \"$4\"", folder.file(source),
                    String(fields[1]), String(fields[2]), path)
                #expect(try Status(path).size == (try #require(Int64(fields[2]))) * 512)
            }
            #expect(count == (image == "gpt.qcow2" ? 2 : 4))
        }
        let facts = try #require(try mount.document("gpt.qcow2")["rblockfs", "partition-table"])
        #expect(facts["scheme"]?.text == "gpt")
        #expect(facts["partitions"]?.array?.first?["name"]?.text == "root")
        #expect(try mount.document("none.raw")["rblockfs", "partition-table"] == nil)
    }

    @Test("The disks of a chain are layers/0.raw, the image itself, layers/1.raw, the one below it, and so on")
    func layers() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk(folder.file("images/base.raw"), size: 2 << 20, seed: 6)
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 -b base.raw -F raw middle.qcow2
            qemu-io -c 'write -q -P 1 100k 300k' middle.qcow2
            qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 top.qcow2 3M
            qemu-io -c 'write -q -P 2 200k 400k' top.qcow2
            """, images)
        let mount = try Mount(images)
        let layers = mount.file("top.qcow2/layers")
        #expect(try Shell.check("ls \"$1\"", layers) == "0.raw\n1.raw\n2.raw")
        for (index, name) in ["top.qcow2", "middle.qcow2", "base.raw"].enumerated() {
            try Tool.check("cmp", "\(layers)/\(index).raw", mount.disk(name))
        }
        #expect(try Shell.run("ls \"$1\"/base.raw/layers", mount.path).status != 0)
    }

    @Test("map.json says what qemu-img map says")
    func map() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk(folder.file("images/base.raw"), size: 4 << 20, seed: 7)
        try Shell.check(
            """
            cd "$1"; qemu-img convert -O qcow2 -c base.raw packed.qcow2; qemu-img convert -O vmdk base.raw sparse.vmdk
            qemu-img create -q -f qcow2 -b packed.qcow2 -F qcow2 top.qcow2 6M
            qemu-io -c 'write -q -P 2 256k 512k' -c 'write -q -z 1M 1M' top.qcow2
            """, images)
        let mount = try Mount(images)
        for name in ["base.raw", "packed.qcow2", "sparse.vmdk", "top.qcow2"] {
            // The bytes that each image of the chain stores: where the runs are cut is each program's own affair, and
            // only we look at what a file system has no blocks for inside a cluster.
            let stored = "map(select(.data or .offset)) | group_by(.depth) | map([.[0].depth, (map(.length) | add)])"
            let file = mount.file("\(name)/map.json")
            let theirs = try Shell.check(
                "qemu-img map --output=json \"$1\" | jq -c \"$2\"", "\(images)/\(name)", stored)
            #expect(try Shell.check("jq -c \"$2\" \"$1\"", file, stored) == theirs, "\(name)")
            let gaps = "[.[1:], .[:-1]] | transpose | map(select(.[0].start != .[1].start + .[1].length)) | length"
            #expect(try Shell.check("jq -c \"$2\" \"$1\"", file, gaps) == "0")
            let end = try Shell.check("jq -c '.[-1] | .start + .length' \"$1\"", file)
            #expect(end == "\(try Status(mount.disk(name)).size)")
            #expect(try Shell.check("wc -c < \"$1\"", file) == "\(try Status(file).size)")
            // Read in pieces, and once more from its start.
            try Shell.check("dd if=\"$1\" bs=7 status=none | cmp - \"$1\" && tail -c 3 \"$1\" >/dev/null", file)
        }
        #expect(
            try Shell.check(
                "jq -c '[.[] | select(.compressed)] | length > 0' \"$1\"", mount.file("packed.qcow2/map.json"))
                == "true")
    }

    @Test("What a damaged table hides is one entry of map.json that says so, and the map goes on behind it")
    func damagedMap() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 a.qcow2 4G; qemu-io -c 'write -q 0 64k' -c 'write -q 1G 64k' a.qcow2
            # The second entry of the L1 table, at 0x30000, that is used: 1 GiB / 512 MiB.
            printf '\\x80\\0\\0\\0\\0\\x05\\x02\\0' | dd of=a.qcow2 bs=1 seek=$((0x30000 + 16)) conv=notrunc status=none
            """, images)
        let mount = try Mount(images)
        let file = mount.file("a.qcow2/map.json")
        let lost = try Shell.check("jq -c 'map(select(.error)) | map([.start, .length])' \"$1\"", file)
        #expect(lost == "[[1073741824,536870912]]")
        #expect(try Shell.check("jq -r '.[] | .error // empty' \"$1\"", file).contains("L2 table"))
        #expect(try Shell.check("jq -c '.[-1] | .start + .length' \"$1\"", file) == "4294967296")
    }
}
