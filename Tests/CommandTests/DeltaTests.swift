import Foundation
import HostTools
import TestImages
import Testing

/// Runs `rblock delta` in a folder of its own, and has QEMU judge what it made.
struct DeltaFolder {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    var path: String { folder.path }

    func file(_ name: String) -> String { folder.file(name) }

    /// Writes `base.raw`, a disk of `size` bytes, and `changed.raw`, which differs in some bytes, and has zeros in some
    /// places where that has none.
    func makePair(size: UInt64 = 5 << 20, seed: UInt64) throws {
        try Pattern.writeDisk(file("base.raw"), size: size, seed: seed)
        try Tool.check("cp", file("base.raw"), file("changed.raw"))
        let disk = try #require(FileHandle(forUpdatingAtPath: file("changed.raw")))
        defer { try? disk.close() }
        var random = SeededRandom(seed: seed)
        for index in 0..<24 {
            let start = UInt64.random(in: 0..<size, using: &random)
            let count = min(size - start, UInt64.random(in: 1...(index % 4 == 0 ? 300_000 : 3000), using: &random))
            try disk.seek(toOffset: start)
            let byte = index % 3 == 0 ? 0 : UInt8.random(in: 1...255, using: &random)
            try disk.write(contentsOf: Data(repeating: byte, count: Int(count)))
        }
    }

    func run(_ arguments: String...) throws -> ToolResult {
        try RBlock.run(["delta"] + arguments, in: path)
    }

    /// Has `arguments` succeed without a word of warning, and answers what was printed.
    @discardableResult
    func delta(_ arguments: String...) throws -> String {
        let result = try RBlock.run(["delta"] + arguments, in: path)
        #expect(result.status == 0 && result.errors == "", "\(arguments): \(result.errors)")
        return result.text
    }

    /// Whether `name` is sound, and both QEMU and this package read the disk of the raw file `disk` from it.
    func expect(_ name: String, isDisk disk: String, _ comment: String = "") throws {
        let check = try QemuImg.check(file(name), format: "qcow2")
        #expect(check.status == 0 && check.errors == "", "\(comment): \(check.object) \(check.errors)")
        let theirs = try Tool.run(
            "qemu-img", ["compare", "-f", "qcow2", "-F", "raw", name, disk], in: path)
        #expect(theirs.status == 0, "\(comment): \(theirs.text)\(theirs.errors)")
        let ours = try RBlock.run(["diff", "--allow-path", "/", name, disk], in: path)
        #expect(ours.status == 0, "\(comment): \(ours.text)\(ours.errors)")
    }

    /// The granules of `size` bytes that the delta `name` itself stores or marks as zeros, as QEMU tells it.
    func granules(_ size: UInt64, in name: String) throws -> Set<UInt64> {
        var found: Set<UInt64> = []
        for run in try QemuImg.map(file(name), format: "qcow2") where run.depth == 0 && run.present {
            found.formUnion(run.start / size...(run.start + run.length - 1) / size)
        }
        return found
    }

    /// The granules of `size` bytes in which two raw files of one length differ.
    func differences(_ size: UInt64, _ left: String = "base.raw", _ right: String = "changed.raw") throws
        -> Set<UInt64>
    {
        let left = try Data(contentsOf: URL(fileURLWithPath: file(left)))
        let right = try Data(contentsOf: URL(fileURLWithPath: file(right)))
        let count = (UInt64(left.count) + size - 1) / size
        return Set(
            (0..<count).filter { index in
                let bytes = Int(index * size)..<min(Int((index + 1) * size), left.count)
                return left[bytes] != right[bytes]
            })
    }
}

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "cmp", "bash")))
struct `rblock delta` {
    /// Options of a delta, the bytes of what it stores at once, and of what that takes in the file.
    private static let options: [(options: [String], granule: UInt64, cluster: UInt64)] = [
        ([], 65536, 65536), (["--cluster-size", "512"], 512, 512),
        (["-o", "cluster_size=4k,refcount_bits=1"], 4096, 4096), (["--cluster-size", "2M"], 2 << 20, 2 << 20),
        (["--extended-l2"], 2048, 65536), (["--extended-l2", "--cluster-size", "16K"], 512, 16384),
        (["-o", "compat=0.10"], 65536, 65536), (["--compress", "zlib"], 65536, 65536),
        (["--compress", "zstd", "--level", "1", "--cluster-size", "4K"], 4096, 4096),
        (["--compress", "zlib", "--extended-l2"], 65536, 65536),
    ]

    @Test(arguments: options.indices)
    func `stores what differs and nothing else, whatever the options`(index: Int) throws {
        let (options, granule, cluster) = Self.options[index]
        let seed = UInt64(index)
        let disks = try DeltaFolder()
        try disks.makePair(seed: seed)
        let result = try RBlock.run(["delta"] + options + ["base.raw", "changed.raw", "d.qcow2"], in: disks.path)
        #expect(result.status == 0 && result.errors == "", "seed \(seed): \(result.errors)")
        try disks.expect("d.qcow2", isDisk: "changed.raw", "seed \(seed), \(options)")
        let expected = try disks.differences(granule)
        let found = try disks.granules(granule, in: "d.qcow2")
        #expect(
            found == expected, "seed \(seed), \(options): \(found.symmetricDifference(expected).sorted().prefix(9))")
        let info = try QemuImg.info(disks.file("d.qcow2"), format: "qcow2")
        #expect(
            info["backing-filename"] as? String == "base.raw" && info["backing-filename-format"] as? String == "raw")
        // Beside what differs, the tables of a small disk: L2 entries have 16 bytes at most, refcounts 2.
        let clusters = Set(expected.map { $0 * granule / cluster })
        let tables = 6 * cluster + 18 * (5 << 20) / cluster
        #expect(try Status(disks.file("d.qcow2")).size <= UInt64(clusters.count) * cluster + tables)
    }

    @Test func `takes disks of all formats, and overlays of one base`() throws {
        let disks = try DeltaFolder()
        try disks.makePair(seed: 20)
        let script = """
            cd "$1"
            for name in base changed; do
              qemu-img convert -f raw -O qcow2 -c $name.raw $name.qcow2
              qemu-img convert -f raw -O vmdk $name.raw $name.vmdk
            done
            qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2
            qemu-img rebase -q -f qcow2 -u -b changed.raw -F raw over.qcow2
            """
        try Shell.check(script, disks.path)
        let expected = try disks.differences(65536)
        for base in ["base.raw", "base.qcow2", "base.vmdk"] {
            for changed in ["changed.raw", "changed.qcow2", "changed.vmdk", "over.qcow2"] {
                try disks.delta("--force", base, changed, "d.qcow2")
                try disks.expect("d.qcow2", isDisk: "changed.raw", "\(base), \(changed)")
                #expect(try disks.granules(65536, in: "d.qcow2") == expected)
                let info = try QemuImg.info(disks.file("d.qcow2"), format: "qcow2")
                #expect(info["backing-filename"] as? String == base)
                #expect(info["backing-filename-format"] as? String == String(base.dropFirst(5)))
            }
        }
        // A delta over a delta, and one from an image over its own backing file.
        try disks.delta("d.qcow2", "base.raw", "back.qcow2")
        try disks.expect("back.qcow2", isDisk: "base.raw")
        try disks.delta("base.vmdk", "d.qcow2", "again.qcow2")
        try disks.expect("again.qcow2", isDisk: "changed.raw")
    }

    @Test func `of a disk that has not changed is a few clusters, and always the same bytes`() throws {
        let disks = try DeltaFolder()
        try disks.makePair(seed: 21)
        let text = try disks.delta("base.raw", "base.raw", "empty.qcow2")
        #expect(text.hasPrefix("empty.qcow2: qcow2 over base.raw (raw), 0 B of 5 MiB changed; takes "), "\(text)")
        try disks.expect("empty.qcow2", isDisk: "base.raw")
        #expect(try disks.granules(65536, in: "empty.qcow2").isEmpty)
        #expect(try Status(disks.file("empty.qcow2")).size <= 5 << 16)
        for options in [[], ["--compress", "zlib"], ["--extended-l2"]] {
            for name in ["one.qcow2", "two.qcow2"] {
                let arguments = ["delta", "--force", "--no-sync"] + options + ["base.raw", "changed.raw", name]
                #expect(try RBlock.run(arguments, in: disks.path).status == 0)
            }
            try Tool.check("cmp", "one.qcow2", "two.qcow2", in: disks.path)
        }
    }

    @Test(arguments: [
        (3 << 20, 5 << 20), (5 << 20, 3 << 20), (5 << 20, (3 << 20) + 1000), ((3 << 20) + 700, 5 << 20), (5 << 20, 0),
        (0, 3 << 20),
    ])
    func `has the size of the changed disk, and shows nothing of a longer base`(base: Int, changed: Int) throws {
        let disks = try DeltaFolder()
        try disks.makePair(seed: 22)
        try Shell.check(
            "cd \"$1\"; truncate -s $2 base.raw; truncate -s $3 changed.raw", disks.path, "\(base)", "\(changed)")
        try disks.delta("base.raw", "changed.raw", "d.qcow2")
        try disks.delta("--force", "--cluster-size", "2M", "base.raw", "changed.raw", "large.qcow2")
        for name in ["d.qcow2", "large.qcow2"] {
            let info = try QemuImg.info(disks.file(name), format: "qcow2")
            #expect(info["virtual-size"] as? Int == (changed + 511) / 512 * 512)
            try disks.expect(name, isDisk: "changed.raw")
        }
    }

    @Test func `takes the disk of a snapshot, and what a snapshot and its image share`() throws {
        let disks = try DeltaFolder()
        try disks.makePair(seed: 23)
        try Shell.check(
            """
            cd "$1"
            qemu-img convert -f raw -O qcow2 base.raw disk.qcow2
            qemu-img snapshot -c before disk.qcow2
            qemu-io -f qcow2 -c 'write -P 7 1M 100k' disk.qcow2 >/dev/null
            """, disks.path)
        try disks.delta("--snapshot", "before", "base.raw", "disk.qcow2", "none.qcow2")
        #expect(try disks.granules(65536, in: "none.qcow2").isEmpty)
        try disks.delta("base.raw", "disk.qcow2", "some.qcow2")
        #expect(try disks.granules(65536, in: "some.qcow2") == [16, 17])
        let missing = try disks.run("--snapshot", "after", "base.raw", "disk.qcow2", "x.qcow2")
        #expect(missing.status == 1 && missing.errors.contains("no snapshot \"after\""))
    }

    @Test func `prints JSON that says what was made`() throws {
        let disks = try DeltaFolder()
        try disks.makePair(seed: 24)
        let document = try RBlock.json("delta", "base.raw", "changed.raw", "d.qcow2", in: disks.path)
        #expect(document["path"]?.text == "d.qcow2" && document["format"]?.text == "qcow2")
        #expect(document["backing"]?.text == "base.raw" && document["backing-format"]?.text == "raw")
        #expect(document["virtual-size"]?.number == 5 << 20)
        let map = try QemuImg.map(disks.file("d.qcow2"), format: "qcow2").filter { $0.depth == 0 && $0.present }
        #expect(document["bytes-changed"]?.number == Int(map.reduce(0) { $0 + $1.length }))
        #expect(document["bytes-written"]?.number == Int(map.filter(\.data).reduce(0) { $0 + $1.length }))
    }
}
