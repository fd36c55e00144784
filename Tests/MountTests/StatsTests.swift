import Foundation
import HostTools
import TestImages
import Testing

@Suite("stats.json", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "jq", "python3", "wc", "cmp")))
struct StatsTests {
    @Test("cat, cp, dd, jq and Python read the whole document, and one read gives it all")
    func readers() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 1)
        let mount = try Mount(gallery.images)
        let stats = mount.stats("plain.qcow2")
        let file = try OpenedFile(stats)
        let size = try file.size()
        let text = try file.read(1 << 20, at: 0)
        #expect(text.count == Int(size))
        #expect(try JSONValue(parsing: Data(text))["format"]?.text == "qcow2")
        #expect(text.last == UInt8(ascii: "\n"))
        // Piecewise as well: what one descriptor reads is one document.
        #expect(try (0..<Int(size)).map { try file.read(1, at: Int64($0))[0] } == text)
        let copy = gallery.disk + ".json"
        #expect(try Shell.check("cat \"$1\" | jq -r .format", stats) == "qcow2")
        #expect(try Shell.check("jq -r .format \"$1\"", stats) == "qcow2")
        #expect(try Shell.check("cp \"$1\" \"$2\" && jq -r .format \"$2\"", stats, copy) == "qcow2")
        #expect(try Shell.check("dd if=\"$1\" bs=7 status=none | jq -r .format", stats) == "qcow2")
        #expect(try Shell.check("tail -c 1M \"$1\" | jq -r .format", stats) == "qcow2")
        let python = "import json, sys; print(json.load(open(sys.argv[1]))[\"format\"])"
        #expect(try Shell.check("python3 -c '\(python)' \"$1\"", stats) == "qcow2")
    }

    @Test("Its size is what wc counts, also while readers make the counters move", .timeLimit(.minutes(10)))
    func size() throws {
        let gallery = try Gallery(["plain.qcow2", "zstd.qcow2"], seed: 2)
        let mount = try Mount(gallery.images)
        let result = try Shell.run(
            """
            cd "$1"
            { while [ -d /proc/$$ ] && [ ! -e "$2" ]; do
                dd if=plain.qcow2/disk.raw bs=3k iflag=direct of=/dev/null status=none; done; } &
            for turn in {1..100}; do
                told=$(stat -c %s plain.qcow2/stats.json); counted=$(wc -c <plain.qcow2/stats.json)
                read=$(cat plain.qcow2/stats.json | tee >(jq -e .rblockfs.counters.reads >/dev/null || echo "no JSON") | wc -c)
                [ $told = $counted ] && [ $told = $read ] || { echo $told $counted $read; break; }
            done
            touch "$2"; wait
            """, mount.path, gallery.disk + ".done")
        #expect(result.text == "" && result.errors == "")
        #expect(try mount.document("plain.qcow2")["rblock", "counters", "reads"]?.number ?? 0 > 100)
        // What fills it up to its size is not seen on a terminal.
        let text = try Shell.check("cat \"$1\"", mount.stats("plain.qcow2"))
        #expect(text.hasSuffix("\n}") && !text.contains("\n\n"))
        let ends = text.split(separator: "\n").filter { $0.hasSuffix(" ") }
        #expect(!ends.isEmpty && ends.allSatisfy { $0.count < 80 }, "\(text)")
    }

    @Test("It agrees with qemu-img info in every key", arguments: Gallery.kinds.map(\.name))
    func agreesWithQemu(name: String) throws {
        let gallery = try Gallery([name], seed: 3)
        let mount = try Mount(gallery.images)
        try compare(mount, name, gallery.file(name))
    }

    @Test("It agrees with qemu-img info about backing files, snapshots and bitmaps")
    func agreesAboutExtras() throws {
        let gallery = try Gallery(["plain.qcow2", "sparse.vmdk"], seed: 4)
        try Shell.check(
            """
            cd "$1"
            qemu-img create -q -f qcow2 -o lazy_refcounts=on,refcount_bits=1 -b plain.qcow2 -F qcow2 overlay.qcow2
            qemu-img create -q -f qcow2 -b "$1/sparse.vmdk" -F vmdk absolute.qcow2 32M
            qemu-img create -q -f qcow2 snapshots.qcow2 16M
            qemu-io -c 'write -P 7 0 1M' snapshots.qcow2 >/dev/null
            qemu-img snapshot -c first snapshots.qcow2; qemu-img snapshot -c 'the second' snapshots.qcow2
            qemu-img create -q -f qcow2 bitmaps.qcow2 16M
            qemu-img bitmap --add bitmaps.qcow2 one; qemu-img bitmap --add -g 128k --disable bitmaps.qcow2 two
            qemu-img snapshot -c kept bitmaps.qcow2
            """, gallery.images)
        let mount = try Mount(gallery.images)
        for name in ["overlay.qcow2", "absolute.qcow2", "snapshots.qcow2", "bitmaps.qcow2"] {
            try compare(mount, name, gallery.file(name))
        }
        // Bitmaps are of the current disk alone, and other snapshots have documents of their own.
        let kept = try mount.document("bitmaps.qcow2/snapshots/kept").leaves
        #expect(
            kept["snapshot.name"] != nil && !kept.keys.contains { $0.contains("bitmaps") || $0.hasPrefix("snapshots") })
        let layers = try mount.document("overlay.qcow2")["rblockfs", "layers"]?.array ?? []
        #expect(layers.map { $0["format"]?.text } == ["qcow2", "qcow2"])
    }

    private func compare(_ mount: Mount, _ name: String, _ image: String) throws {
        let expected = try JSONValue(parsing: try Tool.check("qemu-img", "info", "--output=json", image)).leaves
        let actual = try mount.document(name).leaves
        // "children" came with QEMU 8.1: the tree of its block nodes, not a fact about the image.
        for (key, value) in expected where !key.hasPrefix("children") {
            #expect(actual[key] == value, "\(name): \(key)")
        }
    }

    @Test("The counters count opens, reads, bytes and decompressions")
    func counters() throws {
        let gallery = try Gallery(["zlib.qcow2"], seed: 5)
        let mount = try Mount(gallery.images)
        func counter(_ name: String) throws -> Int {
            try #require(try mount.document("zlib.qcow2")["rblockfs", "counters", name]?.number, "\(name)")
        }
        for name in ["opens", "reads", "bytes-read", "read-errors"] { #expect(try counter(name) == 0, "\(name)") }
        // For the partition table, which stats.json tells of.
        #expect(try counter("decompressions") <= 1)
        let disk = mount.disk("zlib.qcow2")
        let size = Int(try Status(disk).size)
        try Shell.check("dd if=\"$1\" bs=64k iflag=direct of=/dev/null status=none", disk)
        #expect(try counter("opens") == 1)
        #expect(try counter("bytes-read") == size)
        let reads = try counter("reads")
        #expect((size / 65536...size / 65536 + 2).contains(reads))
        let decompressions = try counter("decompressions")
        #expect((1...size / 65536 + 1).contains(decompressions), "A cluster is inflated once.")
        #expect(try counter("table-cache-hits") > 0)
        #expect(try counter("table-cache-misses") > 0)
        let misses = try counter("table-cache-misses")
        try Shell.check("cat \"$1\" >/dev/null && head -c 1000 \"$1\" >/dev/null", disk)
        #expect(try counter("opens") == 3)
        #expect(try counter("bytes-read") >= 2 * size)
        #expect(try counter("decompressions") == decompressions, "The cache has them all.")
        #expect(try counter("table-cache-misses") == misses)
        #expect(try counter("read-errors") == 0)
    }

    @Test("The bytes are accounted for by how they are stored")
    func allocation() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 a.qcow2 4M
            qemu-io -c 'write -P 1 0 256k' -c 'write -z 1M 128k' -c 'write -c -P 3 2M 64k' a.qcow2 >/dev/null
            """, folder.path)
        let mount = try Mount(folder.path)
        let stored = try #require(try mount.document("a.qcow2")["rblockfs", "allocation"])
        #expect(stored["data"]?.number == 256 << 10)
        #expect(stored["zero"]?.number == 128 << 10)
        #expect(stored["compressed"]?.number == 64 << 10)
        #expect(stored["unallocated"]?.number == (4 << 20) - (448 << 10))
    }
}
