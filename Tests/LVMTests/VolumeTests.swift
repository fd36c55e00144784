import BlockImage
import HostTools
import TestImages
import Testing

@testable import LVM

struct `A logical volume` {
    private static let ids = ["a", "b", "c"].map { String(repeating: $0, count: 32) }

    /// Three disks of a MiB each, every sector of which tells where it is.
    private static let disks = (0..<3).map { salt in
        (0..<2048).flatMap { Pattern.sector(UInt64($0), salt: UInt64(salt)) }
    }

    private func group(_ change: (inout BuiltGroup) -> Void) throws -> VolumeGroup {
        var group = BuiltGroup("vg", String(repeating: "g", count: 32), members: Self.ids)
        change(&group)
        return try VolumeGroup(parsing: Array(group.text.utf8))
    }

    private func places(_ group: VolumeGroup) -> [VolumeID: Result<Image, ImageError>] {
        Dictionary(
            uniqueKeysWithValues: group.members.enumerated().map {
                ($1.id, .success(Image(layer: RawLayer(file: MemoryFile(Self.disks[$0], path: "disk\($0)")))))
            })
    }

    private func disk(_ group: VolumeGroup, _ index: Int = 0) throws(ImageError) -> Image {
        try group.disk(of: group.volumes[index], on: places(group), path: "image")
    }

    private func bytes(_ disk: Image, _ range: Range<Int>) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: range.count)
        try buffer.fill(range.count) { output throws(ImageError) in
            try disk.read(range.count, at: GuestOffset(UInt64(range.lowerBound)), into: &output)
        }
        return buffer.array
    }

    /// The bytes of `count` extents from `extent` on of a disk.
    private func extents(_ disk: Int, _ extent: Int, _ count: Int) -> [UInt8] {
        Array(Self.disks[disk][65536 + extent * 4096..<65536 + (extent + count) * 4096])
    }

    @Test func `lies in segments on several physical volumes`() throws {
        let group = try group {
            $0.add(
                "lv", BuiltGroup.segment(2, 1, [("pv2", 100)]), BuiltGroup.segment(0, 2, [("pv0", 7)]),
                BuiltGroup.segment(3, 5, [("pv0", 1)]))
        }
        #expect(group.volumes[0].type == "linear" && group.volumes[0].size == 8 * 4096)
        let disk = try disk(group)
        let expected = extents(0, 7, 2) + extents(2, 100, 1) + extents(0, 1, 5)
        #expect(try bytes(disk, 0..<8 * 4096) == expected)
        #expect(try bytes(disk, 5000..<13000) == Array(expected[5000..<13000]))
        #expect(disk.files.map(\.path) == ["disk0", "disk2"])
        let run = try disk.resolve(at: GuestOffset(4096), limit: 1 << 20)
        #expect(run.count == 4096 && run.start == GuestOffset(4096))
        guard case .data(let file, let offset) = run.extent.storage else { throw ToolFailure(description: "\(run)") }
        #expect(file.path == "disk0" && offset.rawValue == 65536 + 8 * 4096)
    }

    @Test(arguments: [1, 2, 3], [1, 2, 8]) func `lies in stripes`(count: Int, stripe: Int) throws {
        let group = try group {
            $0.add(
                "lv", BuiltGroup.segment(0, 2, [("pv1", 50)]),
                BuiltGroup.segment(2, 6, (0..<count).map { ("pv\($0)", 10 + $0) }, stripeSize: stripe))
        }
        #expect(group.volumes[0].type == (count == 1 ? "linear" : "striped"))
        let disk = try disk(group)
        var expected = extents(1, 50, 2)
        let parts = (0..<count).map { extents($0, 10 + $0, 6 / count) }
        for start in stride(from: 0, to: 6 / count * 4096, by: stripe * 512) {
            for part in parts { expected += part[start..<min(part.count, start + stripe * 512)] }
        }
        #expect(try bytes(disk, 0..<8 * 4096) == expected)
        var random = SeededRandom(seed: 7)
        for _ in 0..<100 {
            let start = Int.random(in: 0..<8 * 4096, using: &random)
            let end = Int.random(in: start...8 * 4096, using: &random)
            #expect(try bytes(disk, start..<end) == Array(expected[start..<end]))
        }
        // Down longer chains runs are found together.
        let deep = Image(layer: disk.layer, backing: nil)
        #expect(try deep.resolveAllBytes(1000..<9000) == Array(expected[1000..<9000]))
    }

    @Test(arguments: [
        ("thin", "thin"), ("thin-pool", "thin-pool"), ("cache", "cache"), ("raid1", "raid1"), ("raid6_zr", "raid6_zr"),
        ("mirror", "mirror"), ("vdo", "vdo"), ("writecache", "writecache"), ("striped+OTHER", "striped+OTHER"),
    ])
    func `of another type is refused by name`(type: String, name: String) throws {
        let group = try group {
            $0.add("lv", "start_extent = 0\nextent_count = 4\ntype = \"\(type)\"\ndevice_count = 2")
            $0.add("hidden", status: #""READ""#, BuiltGroup.segment(0, 1, [("pv0", 0)]))
        }
        #expect(group.volumes.map(\.name) == ["lv"] && group.volumes[0].size == 4 * 4096)
        let error = #expect(throws: ImageError.self) { try disk(group) }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("volume vg/lv: is of the type \(name), and only linear and striped") == true)
    }

    @Test func `that is a snapshot, or is merged with one, is refused, and its origin is read`() throws {
        let snapshot = "start_extent = 0\nextent_count = 2\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"root\"\n"
        for (line, types) in [
            ("cow_store = \"snap\"", ["root": "linear", "snap": "snapshot"]),
            ("merging_store = \"snap\"", ["root": "merging snapshot", "snap": "snapshot"]),
        ] {
            let group = try group {
                $0.add("root", BuiltGroup.segment(0, 4, [("pv0", 0)]))
                $0.add("snap", BuiltGroup.segment(0, 2, [("pv0", 9)]))
                $0.add("snapshot0", snapshot + line)
            }
            #expect(Dictionary(uniqueKeysWithValues: group.volumes.map { ($0.name, $0.type) }) == types)
            #expect(throws: ImageError.self) { try disk(group, 1) }
            #expect(((try? disk(group, 0)) != nil) == (types["root"] == "linear"))
        }
    }

    @Test func `whose metadata contradicts itself is refused, and says why`() throws {
        let rows: [(segment: String, message: String)] = [
            (BuiltGroup.segment(0, 4, [("pv0", 997)]), "has 4 extents from 997 on of the physical volume pv0"),
            (BuiltGroup.segment(0, 4, [("pv0", 500)]), "has 16384 bytes at 0x204000 of the physical volume pv0"),
            (BuiltGroup.segment(0, 4, [("pv9", 0)]), "lies on \"pv9\", which is no physical volume of the group"),
            (BuiltGroup.segment(0, 4, [("pvmove0", 0)]), "lies on \"pvmove0\", which is another volume"),
            (BuiltGroup.segment(1, 4, [("pv0", 0)]), "a segment begins at the extent 1, but must at 0"),
            (BuiltGroup.segment(0, 0, [("pv0", 0)]), "a segment has 0 extents from 0 on"),
            (BuiltGroup.segment(0, 5, [("pv0", 0), ("pv1", 0)]), "a segment of 5 extents has 2 stripes"),
            (
                BuiltGroup.segment(0, 4, [("pv0", 0), ("pv1", 0)], stripeSize: 7),
                "the stripe_size of a segment is 3584 bytes"
            ),
            (
                BuiltGroup.segment(0, 4, [("pv0", 0), ("pv1", 0)], stripeSize: 0),
                "the stripe_size of a segment is 0 bytes"
            ),
            (BuiltGroup.segment(0, 9_000_000_000_000_000, [("pv0", 0)]), "which no volume has"),
            (BuiltGroup.segment(0, 4, []), "has 0 stripes"),
            ("start_extent = 0\nextent_count = 1", "a segment has no type"),
            (BuiltGroup.segment(0, 4, [("pv0", -1)]), "a stripe is no name and number"),
            ("", "start_extent: is no number"),
        ]
        for row in rows {
            let group = try group { $0.add("lv", row.segment) }
            let error = #expect(throws: ImageError.self) { try disk(group) }
            let isRight = error?.message.contains(row.message) == true
            #expect(error?.description.hasPrefix("image: volume vg/lv: ") == true && isRight, "\(error!)")
        }
    }

    @Test func `on a physical volume that is missing is refused, and no other`() throws {
        let group = try group {
            $0.add("one", BuiltGroup.segment(0, 4, [("pv0", 0)]))
            $0.add("two", BuiltGroup.segment(0, 4, [("pv1", 0)]))
            $0.memberLines = ["flags = []", #"flags = ["MISSING"]"#]
        }
        _ = try disk(group, 0)
        let error = #expect(throws: ImageError.self) { try disk(group, 1) }
        #expect(error?.message.contains("which the metadata calls MISSING") == true)
    }

    @Test(arguments: ["a/b", "..", "-a", "", "a b", String(repeating: "x", count: 128)])
    func `has no name that stands for another file`(name: String) {
        #expect(throws: (any Error).self) {
            try group { $0.volumes = "\"\(name)\" {\nstatus = [\"VISIBLE\"]\n}" }
        }
        #expect(throws: (any Error).self) { try group { $0.name = "\"\(name)\"" } }
    }
}

extension Image {
    /// The bytes of `range`, by the runs that are found together.
    fileprivate func resolveAllBytes(_ range: Range<Int>) throws -> [UInt8] {
        var runs = DiskRuns(of: self)
        var bytes: [UInt8] = []
        while bytes.count < range.count {
            let run = try runs.run(at: UInt64(range.lowerBound + bytes.count), limit: UInt64(range.count - bytes.count))
            let buffer = AlignedBuffer(capacity: Int(run.count))
            try buffer.fill(Int(run.count)) { output throws(ImageError) in try run.read(into: &output) }
            bytes += buffer.array
        }
        return bytes
    }
}
