import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `rblock map` {
    /// What `qemu-img map` prints for people.
    private func theirTable(_ path: String) throws -> String {
        String(decoding: try Tool.check("qemu-img", "map", path), as: UTF8.self)
    }

    @Test func `prints the table that qemu-img map prints`() throws {
        let images = try VerbImages()
        // Of a data file, qemu-img maps the holes as well; compressed runs are no business of its table.
        let others = ["split.qcow2", "locked.qcow2", "small.qcow2", "streamOptimized.vmdk"]
        for name in VerbImages.names where !others.contains(name) {
            let result = try RBlock.run(["map", images.folder.file(name)])
            #expect(result.status == 0 && result.errors == "", "\(name): \(result.errors)")
            #expect(result.text == (try theirTable(images.folder.file(name))), "\(name)")
        }
    }

    @Test func `prints compressed runs, which qemu-img refuses to`() throws {
        let images = try VerbImages([.small, .vmdk])
        for name in ["small.qcow2", "streamOptimized.vmdk"] {
            #expect(throws: ToolFailure.self) { try theirTable(images.folder.file(name)) }
            let text = try RBlock.run(["map", images.folder.file(name)]).text
            let rows = text.split(separator: "\n").dropFirst().map { $0.split(separator: " ") }
            #expect(rows.count > 3 && rows.allSatisfy { $0.count == 4 && $0[3].hasSuffix("/\(name)") }, "\(text)")
            #expect(rows.contains { $0[2] == "compressed" })
            let length = rows.reduce(0 as UInt64) { $0 + (UInt64($1[1].dropFirst(2), radix: 16) ?? 0) }
            let theirs = try QemuImg.map(images.folder.file(name), format: name.hasSuffix("vmdk") ? "vmdk" : "qcow2")
            #expect(length == theirs.filter(\.data).reduce(0) { $0 + $1.length })
        }
    }

    @Test func `looks at a part of the disk`() throws {
        let images = try VerbImages([.chain])
        let path = images.folder.file("top.qcow2")
        for (start, count) in [("0", "64k"), ("100000", "1"), ("1M", "3M"), ("5M", "900T"), ("6M", "1"), ("7M", "7M")] {
            let part = ["--start-offset=\(start)", "--max-length=\(count)"]
            let theirs = try Tool.run("qemu-img", ["map", "--output=json"] + part + [path])
            let ours = try RBlock.run(["map", "--output=json"] + part + [path])
            #expect(theirs.status == 0 && ours.status == 0, "\(part): \(theirs.errors)\(ours.errors)")
            let decoder = JSONDecoder()
            let runs = try decoder.decode([QemuImg.MapEntry].self, from: ours.output)
            let their = try decoder.decode([QemuImg.MapEntry].self, from: theirs.output)
            #expect(RBlock.differences(runs, their) == [], "\(part)")
        }
    }

    @Test func `with --depth looks no deeper, and needs no file that is deeper`() throws {
        let images = try VerbImages([.chain])
        let top = images.folder.file("top.qcow2")
        let whole = try RBlock.map(top)
        #expect(Set(whole.map(\.depth)) == [0, 1, 2])
        #expect(try RBlock.map(top, "--depth", "2") == whole)
        #expect(try RBlock.map(top, "--depth", "99") == whole)
        // The same chains, cut by qemu-img.
        try Shell.check(
            """
            cd "$1"
            cp top.qcow2 alone.qcow2
            qemu-img rebase -u -f qcow2 -b '' alone.qcow2
            cp middle.qcow2 last.qcow2
            qemu-img rebase -u -f qcow2 -b '' last.qcow2
            cp top.qcow2 two.qcow2
            qemu-img rebase -u -f qcow2 -b last.qcow2 -F qcow2 two.qcow2
            mv base.raw away
            """, images.path)
        for (depth, judge) in [("0", "alone.qcow2"), ("1", "two.qcow2")] {
            let ours = try RBlock.map(top, "--depth", depth)
            #expect(RBlock.differences(ours, try QemuImg.map(images.folder.file(judge), format: "qcow2")) == [])
            #expect(!ours.contains { $0.depth > 1 })
        }
        #expect(throws: ToolFailure.self) { try RBlock.map(top, "--depth", "2") }
        try Shell.check("mv \"$1/middle.qcow2\" \"$1/gone\"", images.path)
        #expect(try RBlock.map(top, "--depth", "0").filter(\.present).map(\.start) == [5 << 20])
    }

    @Test func `tells where the disk of a snapshot lies`() throws {
        let images = try VerbImages([.chain])
        let path = images.folder.file("middle.qcow2")
        try Shell.check(
            """
            cd "$1"
            cp middle.qcow2 back.qcow2
            qemu-img bitmap --remove back.qcow2 changes
            qemu-img snapshot -a 'before the update' back.qcow2
            """, images.path)
        let theirs = try QemuImg.map(images.folder.file("back.qcow2"), format: "qcow2")
        for name in ["before the update", "1"] {
            #expect(RBlock.differences(try RBlock.map(path, "--snapshot", name), theirs) == [])
        }
        let result = try RBlock.run(["map", "--snapshot", "sunday", path])
        #expect(result.status == 1 && result.output.isEmpty && result.errors.contains("sunday"), "\(result.errors)")
    }

    @Test func `tells where zeros keep their place, as qemu-img does`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("zeros.qcow2")
        for options in ["", "-o extended_l2=on", "-o cluster_size=4k", "-o extended_l2=on,cluster_size=128k"] {
            try Shell.check(
                """
                cd "$1"; qemu-img create -q -f qcow2 $2 zeros.qcow2 4M
                qemu-io -f qcow2 -c 'write 0 1M' -c 'write -z 64k 200k' -c 'write -z 300k 20k' -c 'write 2M 64k' \
                  -c 'write -z 2050k 10k' -c 'write -zu 512k 64k' -c 'write -z 3M 100k' -c 'discard 2M 4k' \
                  zeros.qcow2 >/dev/null
                """, folder.path, options)
            let ours = try RBlock.map(path)
            let theirs = try QemuImg.map(path, format: "qcow2").filter { $0.length > 0 }
            #expect(RBlock.differences(ours, theirs) == [], "\(options)")
            // Runs are kept apart where qemu-img keeps them apart.
            #expect(ours.map(\.start) == theirs.map(\.start), "\(options)")
            #expect(ours.contains { $0.zero && !$0.data && $0.offset != nil }, "\(options)")
        }
    }

    @Test func `says what it cannot map, and goes on behind it`() throws {
        let images = try VerbImages([])
        let path = images.folder.file("damaged.qcow2")
        try Shell.check(
            "qemu-img create -q -f qcow2 -o cluster_size=512 \"$1\" 1M; qemu-io -c 'write 0 1M' \"$1\" >/dev/null", path
        )
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        // The second entry of the L1 table, whose offset the header has at byte 40, leads behind the end of the file.
        try file.seek(toOffset: 40)
        let table = try #require(try file.read(upToCount: 8)).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        try file.seek(toOffset: table + 8)
        try file.write(contentsOf: Data([0x80, 0, 0, 0x40, 0, 0, 0, 0]))
        try file.close()
        let json = try RBlock.run(["map", "--output", "json", path])
        #expect(json.status == 2 && json.errors.contains("0x4000000000"), "\(json.errors)")
        let runs = try #require(try JSONValue(parsing: json.output).array)
        // A table of 64 entries covers as many clusters.
        let covered = 64 * 512
        let lost = runs.filter { $0["error"] != nil }
        #expect(lost.count == 1 && lost[0]["start"]?.number == covered && lost[0]["length"]?.number == covered)
        #expect(lost.first?["error", "message"]?.text?.contains("0x4000000000") == true)
        #expect(runs.reduce(0) { $0 + ($1["length"]?.number ?? 0) } == 1 << 20)
        let human = try RBlock.run(["map", path])
        #expect(human.status == 2 && human.errors == json.errors && human.text.contains("error"), "\(human.text)")
        // A row behind it as well.
        #expect(human.text.split(separator: "\n").contains { $0.hasPrefix("0x10000 ") }, "\(human.text)")
    }

    @Test func `prints as it looks, so that a map of any number of runs takes no memory`() throws {
        let images = try VerbImages([])
        // One L2 table of which every other cluster is there, and an L1 table that names it for all of 4 GiB: 8 million
        // runs, of which the last is not waited for.
        let clusters = (0..<64).map { $0 % 2 == 0 ? QCOW2Builder.Cluster.data : .unallocated }
        var built = QCOW2Builder(size: 1 << 15, clusterBits: 9, clusters: clusters).build()
        let entries = 1 << 17
        let start = Int(built.bytes[40..<48].reduce(0 as UInt64) { $0 << 8 | UInt64($1) })
        let table = Array(repeating: built.bytes[start..<start + 8], count: entries).flatMap { $0 }
        built.poke(UInt64(entries) << 15, at: 24)
        built.poke(UInt32(entries), at: 36)
        built.poke(UInt64(built.bytes.count), at: 40)
        let path = try images.folder.write(built.bytes + table, to: "many.qcow2")
        for form in ["human", "json"] {
            let text = try Shell.run("\"$1\" map --output \"$2\" \"$3\" | head -n 1000", Tool.rblock, form, path).text
            #expect(text.split(separator: "\n").count == 1000, "\(text.prefix(300))")
        }
    }
}
