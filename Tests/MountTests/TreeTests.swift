import Foundation
import HostTools
import TestImages
import Testing

@Suite("The mounted tree", .enabled(if: Tool.canMount("qemu-img", "find", "du")))
struct TreeTests {
    @Test("Every image is a folder named as its file, with its files in it, and every folder is one as it is")
    func names() throws {
        let gallery = try Gallery(["plain.qcow2", "flat.vmdk", "split-sparse.vmdk", "disk.raw"], seed: 1)
        try Shell.check(
            "cd \"$1\" && cp disk.raw upper.RAW && cp plain.qcow2 old.qcow && cp disk.raw some.img && mkdir sub.qcow2 sub"
                + " && cp disk.raw sub/inner.raw && touch notes.txt archive.tar.gz qcow2 .hidden", gallery.images)
        let mount = try Mount(gallery.images)
        let images = ["disk.raw", "flat.vmdk", "old.qcow", "plain.qcow2", "some.img", "split-sparse.vmdk", "upper.RAW"]
        let folders = images + ["sub/inner.raw"]
        let files = folders.flatMap { image in
            ["./\(image)"] + ["disk.raw", "map.json", "partitions", "stats.json"].map { "./\(image)/\($0)" }
        }
        let expected = ([".", "./stats.json", "./sub", "./sub.qcow2"] + files).sorted {
            $0.utf8.lexicographicallyPrecedes($1.utf8)
        }
        #expect(
            try Shell.check("cd \"$1\" && find . | LC_ALL=C sort", mount.path) == expected.joined(separator: "\n"))
        #expect(try Shell.run("stat \"$1\"/plain.qcow2/other", mount.path).status != 0)
    }

    @Test("Parts of a VMDK are hidden beside their descriptor, and shown, with the reason why not, without it")
    func parts() throws {
        let gallery = try Gallery(["flat.vmdk", "split-sparse.vmdk", "split-flat.vmdk"], seed: 2)
        #expect(try Shell.check("ls \"$1\" | wc -l", gallery.images) == "6")
        do {
            let mount = try Mount(gallery.images)
            #expect(
                try Shell.check("ls -I stats.json \"$1\"", mount.path)
                    == "flat.vmdk\nsplit-flat.vmdk\nsplit-sparse.vmdk")
        }
        try Shell.check("cd \"$1\" && rm flat.vmdk split-sparse.vmdk split-flat.vmdk", gallery.images)
        let mount = try Mount(gallery.images)
        #expect(
            try Shell.check("ls -I stats.json \"$1\"", mount.path)
                == "flat-flat.vmdk\nsplit-flat-f001.vmdk\nsplit-sparse-s001.vmdk")
        // A flat extent is the whole disk by itself; a piece of several is not, as far as anybody knows.
        try Tool.check("cmp", gallery.disk, mount.disk("flat-flat.vmdk"))
        #expect(try mount.document("flat-flat.vmdk")["rblockfs", "notes"]?.array?.count == 1)
        for name in ["split-flat-f001.vmdk", "split-sparse-s001.vmdk"] {
            let message = try mount.document(name)["error", "message"]?.text ?? ""
            #expect(message.contains("one part of a split disk"), "\(name): \(message)")
        }
    }

    @Test("Modes, owner, size, times and block size are those of a read-only disk")
    func attributes() throws {
        let gallery = try Gallery(["plain.qcow2", "disk.raw"], seed: 3)
        try Shell.check("touch -d 2001-02-03T04:05:06.75Z \"$1\"", gallery.file("plain.qcow2"))
        let mount = try Mount(gallery.images)
        for folder in [mount.path, mount.file("plain.qcow2")] {
            let status = try Status(folder)
            #expect(status.isDirectory && status.permissions == 0o555 && status.userID == geteuid())
        }
        let disk = try Status(mount.disk("plain.qcow2"))
        #expect(disk.permissions == 0o444 && !disk.isDirectory && disk.userID == geteuid())
        #expect(disk.size == (try Status(gallery.disk).size))
        #expect(disk.modified == 981_173_106.75)
        #expect(try Status(mount.stats("plain.qcow2")).modified == 981_173_106.75)
        #expect(try Status(mount.stats("plain.qcow2")).permissions == 0o444)
        // A power of two, between a page and what FUSE carries in one read.
        #expect(disk.blockSize.nonzeroBitCount == 1 && (4096...1 << 20).contains(disk.blockSize))
        let inodes = try Shell.check("find \"$1\" -printf '%i\\n' | sort | uniq -d", mount.path)
        #expect(inodes == "", "Every file has a number of its own.")
    }

    @Test("A disk takes as many blocks as are really stored")
    func blocks() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"
            head -c 4M /dev/urandom > full.raw
            qemu-img convert -f raw -O qcow2 full.raw full.qcow2
            qemu-img convert -f raw -O qcow2 -c full.raw compressed.qcow2
            truncate -s 1G sparse.raw; head -c 1M /dev/urandom | dd of=sparse.raw bs=1M seek=100 conv=notrunc status=none
            qemu-img convert -f raw -O qcow2 sparse.raw sparse.qcow2
            qemu-img convert -f raw -O vmdk sparse.raw sparse.vmdk
            qemu-img create -q -f qcow2 empty.qcow2 10G
            """, folder.path)
        let mount = try Mount(folder.path)
        for name in ["full.raw", "full.qcow2", "compressed.qcow2"] {
            #expect(try Status(mount.disk(name)).blocks * 512 == 4 << 20, "\(name)")
        }
        for name in ["sparse.raw", "sparse.qcow2", "sparse.vmdk"] {
            let status = try Status(mount.disk(name))
            #expect(status.size == 1 << 30)
            #expect((1 << 20...5 << 18).contains(status.blocks * 512), "\(name)")
        }
        #expect(try Status(mount.disk("empty.qcow2")).blocks == 0)
        let sizes = try Shell.check("cd \"$1\" && du -sB1 full.qcow2 sparse.qcow2 | cut -f1", mount.path)
        let figures = sizes.split(separator: "\n").compactMap { Int($0) }
        #expect(
            figures.count == 2 && (4 << 20...5 << 20).contains(figures[0]) && (1 << 20...2 << 20).contains(figures[1]))
    }

    @Test("IMAGES may be one image, and then it may have any extension")
    func singleImage() throws {
        let gallery = try Gallery(["plain.qcow2", "disk.raw"], seed: 4)
        try Shell.check("cd \"$1\" && cp plain.qcow2 guest.bin && cp disk.raw 'plain disk'", gallery.images)
        for name in ["plain.qcow2", "guest.bin", "plain disk"] {
            let mount = try Mount(gallery.file(name))
            #expect(try Shell.check("ls -I stats.json \"$1\"", mount.path) == name)
            try Tool.check("cmp", gallery.disk, mount.disk(name))
        }
    }

    @Test("The one image may be named through a link")
    func linkedImage() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        let folder = try TemporaryFolder()
        try Shell.check("ln -s \"$1\" \"$2\"", gallery.file("plain.qcow2"), folder.file("link.qcow2"))
        let mount = try Mount(folder.file("link.qcow2"))
        try Tool.check("cmp", gallery.disk, mount.disk("link.qcow2"))
    }

    @Test(
        "A name with blanks, quotes, a newline, UTF-8 or bytes that are none stays as it is",
        arguments: ["a b", "it's \"so\"", "two\\nlines", "Größe-磁盘", "bad-\\377\\376-bytes", "-rf", "a,b\\\\c", "*"])
    func oddNames(name: String) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 6)
        // printf makes the bytes; $name holds them exactly, for a newline at its end would be lost.
        let setUp = "name=$(printf -- \"$2\").qcow2; "
        try Shell.check(setUp + "cd \"$1\" && mv -- plain.qcow2 \"./$name\"", gallery.images, name)
        let mount = try Mount(gallery.images)
        let result = try Shell.run(
            setUp
                + "cmp \"$1/$name/disk.raw\" \"$3\" && cd \"$1\" && [ \"$(ls -b -I stats.json)\" = \"$(cd \"$4\" && ls -b)\" ]"
                + " && python3 -c 'import json,sys; json.load(open(sys.argv[1].encode(\"utf-8\",\"surrogateescape\")))'"
                + " \"$1/$name/stats.json\"",
            mount.path, name, gallery.disk, gallery.images)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
    }
}
