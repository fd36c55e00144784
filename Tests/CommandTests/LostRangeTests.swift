import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `An image of which a part is lost` {
    private static let size = 1 << 20
    /// What the damaged L2 table covers.
    private static let lost = 64 * 512..<2 * 64 * 512

    private let folder: TemporaryFolder
    private var damaged: String { folder.file("damaged.qcow2") }

    /// `whole.raw`, `damaged.qcow2` of the same disk, whose second L2 table is lost, and `rest.raw` with zeros there.
    init() throws {
        folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("whole.raw"), size: UInt64(Self.size), seed: 5)
        try Shell.check(
            """
            cd "$1"; tr '\\0' x <whole.raw >full.raw; mv full.raw whole.raw
            qemu-img convert -f raw -O qcow2 -o cluster_size=512 whole.raw damaged.qcow2
            cp whole.raw rest.raw; dd if=/dev/zero of=rest.raw bs=32k seek=1 count=1 conv=notrunc status=none
            """, folder.path)
        let file = try #require(FileHandle(forUpdatingAtPath: damaged))
        try file.seek(toOffset: 40)
        let table = try #require(try file.read(upToCount: 8)).reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
        try file.seek(toOffset: table + 8)
        try file.write(contentsOf: Data([0x80, 0, 0, 0x40, 0, 0, 0, 0]))
        try file.close()
    }

    private func expectLost(_ value: JSONValue?, disk: String? = nil) {
        let ranges = value?.array ?? []
        #expect(ranges.count == 1)
        #expect(ranges.first?["start"]?.number == Self.lost.lowerBound)
        #expect(ranges.first?["length"]?.number == Self.lost.count)
        #expect(ranges.first?["error", "message"]?.text?.contains("0x4000000000") == true)
        #expect(ranges.first?["disk"]?.text == disk)
    }

    @Test func `has a hash with zeros in its place, if that is asked for`() throws {
        let refused = try RBlock.run(["hash", damaged])
        #expect(refused.status == 1 && refused.output.isEmpty)
        let result = try RBlock.run(["hash", "--ignore-read-errors", damaged])
        #expect(result.status == 2 && result.errors.contains("lost ranges"), "\(result.errors)")
        let rest = try RBlock.run(["hash", folder.file("rest.raw")])
        #expect(rest.status == 0 && rest.text.prefix(64) == result.text.prefix(64))
        expectLost(try RBlock.json("hash", "--ignore-read-errors", damaged).array?.first?["lost"])
        let sound = try RBlock.run(["hash", "--ignore-read-errors", folder.file("rest.raw")])
        #expect(sound.status == 0 && sound.errors == "" && sound.text == rest.text)
    }

    @Test func `is read with zeros in its place, if that is asked for`() throws {
        #expect(try RBlock.run(["read", damaged]).status == 1)
        let result = try RBlock.run(["read", "--ignore-read-errors", damaged])
        #expect(result.status == 2 && result.errors.contains("32768 bytes at offset 32768"), "\(result.errors)")
        let rest = try Data(contentsOf: URL(fileURLWithPath: folder.file("rest.raw")))
        #expect(areSame(result.output, rest))
        expectLost(try RBlock.json("read", "--ignore-read-errors", damaged)["lost"])
        // What is whole needs no excuse.
        #expect(try RBlock.run(["read", "--ignore-read-errors", "--length", "32K", damaged]).status == 0)
    }

    @Test func `is compared with zeros in its place, if that is asked for`() throws {
        #expect(try RBlock.run(["diff", damaged, folder.file("rest.raw")]).status == 2)
        let rest = try RBlock.run(["diff", "--ignore-read-errors", damaged, folder.file("rest.raw")])
        #expect(rest.status == 2 && !rest.text.contains("disks are the same"), "\(rest.text)")
        let document = try RBlock.json("diff", "--ignore-read-errors", folder.file("whole.raw"), damaged)
        #expect(document["ranges"]?.array?.count == 1 && document["ranges"]?.array?.first?["start"]?.number == 64)
        expectLost(document["lost"], disk: "b")
        #expect(document["identical"] == nil)
    }

    @Test func `is counted, and copied, but for what is lost`() throws {
        let result = try RBlock.run(["info", "--allocation", damaged])
        #expect(result.status == 2 && result.errors.contains("32768 bytes at offset 32768"), "\(result.errors)")
        let document = try RBlock.json("info", "--allocation", damaged)
        #expect(document["rblock", "allocation"]?["data"]?.number == Self.size - Self.lost.count)
        expectLost(document["rblock", "lost"])
        let copied = try RBlock.json("convert", "--ignore-read-errors", damaged, folder.file("copy.raw"))
        expectLost(copied["lost"])
        try Shell.check("cmp \"$1/copy.raw\" \"$1/rest.raw\"", folder.path)
    }

    @Test func `in a flat file that was cut is one range, however long it is`() throws {
        let sectors = 1 << 40
        try folder.write(Array(repeating: 7, count: 65536), to: "cut-flat.vmdk")
        let text = """
            # Disk DescriptorFile
            version=1
            CID=12345678
            parentCID=ffffffff
            createType="monolithicFlat"
            RW \(sectors) FLAT "cut-flat.vmdk" 0

            """
        let path = try folder.write(Array(text.utf8), to: "cut.vmdk")
        let runs = try #require(try RBlock.json("map", path).array)
        #expect(runs.count == 2 && runs.last?["error"] != nil && runs.last?["length"]?.number == sectors * 512 - 65536)
        for verb in [["check", "--data"], ["info", "--allocation"]] {
            #expect(try RBlock.run(verb + [path]).status == 2, "\(verb)")
        }
        let copy = try RBlock.run(["convert", "--ignore-read-errors", path, folder.file("copy.qcow2")])
        #expect(copy.status == 2 && copy.errors.split(separator: "\n").count == 1, "\(copy.errors)")
    }
}

@Suite struct `A small image whose tables say millions of runs` {
    /// All L1 entries name one L2 table, whose entries are `odd` and `even` in turns; 1 is zero.
    private func image(odd: UInt64, even: UInt64) -> [UInt8] {
        let (clusterSize, tables) = (65536, 8192)
        var bytes = [UInt8](repeating: 0, count: 6 * clusterSize)
        func put(_ value: some FixedWidthInteger, at offset: Int) {
            withUnsafeBytes(of: value.bigEndian) { bytes.replaceSubrange(offset..<offset + $0.count, with: $0) }
        }
        bytes.replaceSubrange(0..<4, with: [0x51, 0x46, 0x49, 0xfb])
        put(3 as UInt32, at: 4)
        put(16 as UInt32, at: 20)
        put(UInt64(tables * 8192 * clusterSize), at: 24)
        put(UInt32(tables), at: 36)
        put(UInt64(5 * clusterSize), at: 40)
        put(UInt64(clusterSize), at: 48)
        put(1 as UInt32, at: 56)
        put(4 as UInt32, at: 96)
        put(104 as UInt32, at: 100)
        put(UInt64(2 * clusterSize), at: clusterSize)
        for cluster in 0..<6 { put(1 as UInt16, at: 2 * clusterSize + 2 * cluster) }
        for entry in 0..<8192 { put(entry % 2 == 1 ? odd : even, at: 3 * clusterSize + 8 * entry) }
        for entry in 0..<tables { put(UInt64(3 * clusterSize), at: 5 * clusterSize + 8 * entry) }
        return bytes
    }

    @Test(arguments: [4 * 65536, 1 << 40, 1 << 41, 1 << 62 | 4 * 65536, 0, 1] as [UInt64])
    func `costs no verb more than a moment, and what is not looked at is said`(odd: UInt64) throws {
        let folder = try TemporaryFolder()
        // Also one of which nothing can be found.
        let path = try folder.write(image(odd: odd, even: odd == 1 << 41 ? odd : 1), to: "many.qcow2")
        let verbs: [([String], ClosedRange<Int32>)] = [
            (["info"], 0...0), (["info", "--allocation"], 0...2), (["map", "--output", "json"], 0...2),
            (["check"], 2...2), (["check", "--data"], 1...2), (["diff", path], 0...2),
        ]
        for (verb, statuses) in verbs {
            // Some twenty seconds each, were every run looked at; the runner ends what takes a minute.
            let result = try RBlock.run(verb + [path])
            #expect(statuses.contains(result.status), "\(verb): \(result.status) \(result.errors.prefix(300))")
        }
        guard odd == 4 * 65536 else { return }
        let document = try RBlock.json("info", "--allocation", path)
        #expect(document["rblock", "allocation"] == nil)
        #expect(document["rblock", "allocation-error"]?["code"]?.text == "unsupported")
        let map = try RBlock.run(["map", path])
        #expect(map.status == 2 && map.errors.contains("too many runs"), "\(map.errors)")
    }
}
