import BlockImage
import Catalog
import Foundation
import HostTools
import ImageFormats
import ImageTools
import Reports
import SystemPackage
import TestImages
import Testing

struct `The map of a file's use` {
    @Test func `adds up to the file, and shows what is used by two`() {
        let map = HostMap(size: 10_000, unit: 1000, cellLimit: 4)
        map.record(.header, at: HostOffset(0), count: 10) { _, _ in false }
        map.record(.data, at: HostOffset(2000), count: 5000) { _, _ in false }
        #expect(map.cells.count == 4 && map.cellSize == 3000)
        #expect(map.cells[1].use == .data && map.cells[3].use == .free)
        #expect(map.record(.l2Table, at: HostOffset(3500), count: 1) { _, _ in false } == .data)
        #expect(map.record(.data, at: HostOffset(4000), count: 2000) { _, _ in true } == .data)
        #expect(map.bytes(.overlap) == 1000 && map.bytes(.data) == 4000 && map.bytes(.header) == 1000)
        #expect(map.hasOverlaps && map.hasFaults && map.cells[1].use == .overlap)
        #expect(map.totals.reduce(0) { $0 + $1.count } == 10_000)
        // Leaked is only what nothing uses; what is past the end is passed over.
        map.record(.leaked, at: HostOffset(0), count: 2000) { _, _ in false }
        map.record(.data, at: HostOffset(20_000), count: 2000) { _, _ in false }
        #expect(map.bytes(.leaked) == 1000 && map.bytes(.header) == 1000)
        // It is reported, and so is what reaches past the end.
        map.record(.data, at: HostOffset(9000), count: 3000) { _, _ in true }
        #expect(map.notes.first == "4 entries name data behind the end of the file at 0x2710, the first at 0x4e20")
        let other = HostMap(size: 10_000, unit: 1000, cellLimit: 4)
        other.record(.l2Table, at: HostOffset(10_000), count: 1000) { _, _ in false }
        #expect(other.hasFaults && !other.hasOverlaps && other.notes.first?.hasPrefix("1 entry names") == true)
    }

    @Test func `is one of chunks and single units alike`() {
        var random = SeededRandom(seed: 3)
        let units: UInt64 = 140_000
        let map = HostMap(size: units * 512 - 100, unit: 512, cellLimit: 64)
        var model = [HostUse](repeating: .free, count: Int(units))
        for _ in 0..<60 {
            let start = UInt64.random(in: 0..<units, using: &random)
            let count = UInt64.random(in: 1...(Bool.random(using: &random) ? 10 : 90_000), using: &random)
            let use: HostUse = [.data, .l2Table, .compressed].randomElement(using: &random) ?? .data
            map.record(use, at: HostOffset(start * 512), count: count * 512) { _, earlier in earlier == use }
            for unit in Int(start)..<Int(min(units, start + count)) {
                if model[unit] == .free { model[unit] = use } else if model[unit] != use { model[unit] = .overlap }
            }
        }
        for use in HostUse.allCases {
            let count = model.count { $0 == use }
            #expect(map.bytes(use) == UInt64(count) * 512 - (model.last == use ? 100 : 0), "\(use)")
        }
    }

    /// An image that qemu-img made and qemu-io wrote to.
    private func image(_ folder: TemporaryFolder, _ options: [String] = [], _ commands: [String]) throws -> String {
        let path = folder.file("image.qcow2")
        try QemuImg.create(path, size: 1 << 30, options: options)
        try QemuImg.io(path, commands)
        return path
    }

    private func inspected(_ path: String) throws -> InspectedImage {
        try InspectedImage(NamedImage(FilePath(path)))
    }

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "qemu-io")),
        arguments: [
            [], ["cluster_size=4096"], ["cluster_size=2M"], ["extended_l2=on"], ["refcount_bits=1"], ["compat=0.10"],
            ["refcount_bits=64", "cluster_size=512"],
        ])
    func `of QCOW2 agrees with qemu-img check and qemu-img map`(options: [String]) throws {
        let folder = try TemporaryFolder()
        let path = try image(
            folder, options, ["write 0 3M", "write 900M 1M", "write 333M 70000", "write 500M 64k"])
        let image = try inspected(path)
        let map = try image.hostMap(cellLimit: 500)
        let check =
            try JSONSerialization.jsonObject(
                with: try Tool.check("qemu-img", "check", "--output=json", path)) as? [String: Any]
        let allocated = try #require(check?["allocated-clusters"] as? Int)
        #expect(map.bytes(.data) == UInt64(allocated) * map.unit)
        #expect(map.bytes(.overlap) == 0 && map.bytes(.leaked) == 0)
        let layout = RecordedLayout()
        try image.list(to: layout, LayoutOptions(showsEntries: true))
        #expect(layout.faults.isEmpty, "\(layout.faults)")
        let entries = layout.all.filter { $0.structure.name.hasPrefix("L2") }.flatMap(\.entries)
        let hosts = Dictionary(
            entries.compactMap { entry in entry.number("host").map { (entry.number("guest") ?? 0, $0) } }
        ) { $1 }
        for run in try QemuImg.map(path, format: "qcow2") where run.data {
            let offset = try #require(run.offset)
            for start in stride(from: run.start, to: run.start + run.length, by: Int(map.unit)) {
                let cluster = start - start % map.unit
                #expect(hosts[cluster].map { $0 + start % map.unit } == offset + start - run.start)
            }
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `tells leaked clusters and overlaps, and what only snapshots have`() throws {
        let folder = try TemporaryFolder()
        let path = try image(folder, [], ["write 0 1M"])
        try QemuImg.run("snapshot", "-c", "one", path)
        try QemuImg.io(path, ["write 0 128k"])
        let map = try inspected(path).hostMap(cellLimit: 500)
        #expect(map.bytes(.snapshotData) == 128 << 10 && map.bytes(.data) == 1 << 20)
        #expect(map.bytes(.overlap) == 0 && map.bytes(.snapshotTable) == 65536 && map.bytes(.l1Table) == 131072)

        let damaged = try TemporaryFolder()
        let other = try image(damaged, [], ["write 0 1M"])
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: other)))
        let layout = try listing(bytes)
        let table = try #require(layout.structure("L2 table"))
        let first = Int(table.entries[0].offset.rawValue)
        // The second entry says what the first says; the fifth nothing.
        bytes.replaceSubrange(first + 8..<first + 16, with: bytes[first..<first + 8])
        bytes.replaceSubrange(first + 32..<first + 40, with: [UInt8](repeating: 0, count: 8))
        let broken = try hostMap(bytes)
        #expect(broken.bytes(.overlap) == 65536 && broken.bytes(.leaked) == 131072)
        #expect(broken.notes.contains { $0.contains("overlap at") })
        let poked = try damaged.write(bytes, to: "poked.qcow2")
        let check = try Tool.run("qemu-img", ["check", "--output=json", poked])
        let answer = try JSONValue(parsing: check.output)
        #expect(answer["leaks"]?.number == 2)
    }

    @Test func `of VMDK has every grain once, and the tables`() throws {
        let model = GrainModel(size: 3 << 20, grains: [.data, .absent, .zero, .data, .data])
        let sparse = try hostMap(try SparseVMDKBuilder.whole(model).build().bytes)
        #expect(sparse.bytes(.data) == 4 * 65536 && sparse.bytes(.overlap) == 0)
        #expect(sparse.bytes(.grainTable) == 2048 && sparse.bytes(.redundantTable) == 2048)
        for directory in StreamVMDKBuilder.Directory.allCases {
            let stream = try hostMap(try StreamVMDKBuilder.whole(model, directory).build().bytes)
            #expect(stream.bytes(.overlap) == 0 && stream.bytes(.compressed) > 0, "\(directory)")
            #expect(stream.bytes(.grainTable) == 2048)
        }
        let grains = GrainModel(size: 1 << 20, grainSize: 4096, grains: [.data, .zero, .data])
        let seSparse = try hostMap(SESparseBuilder(grains).build().bytes)
        #expect(seSparse.bytes(.data) == 8192 && seSparse.bytes(.overlap) == 0, "\(seSparse.notes)")
    }

    @Test func `is a picture and a text that hold what the image says`() throws {
        let map = try hostMap(QCOW2Builder(size: 16 << 16, clusters: [.data, .compressed, .data]).build().bytes)
        let svg = map.svg(title: "a<b>&\u{1b}\"c.qcow2")
        #expect(svg.contains("a&lt;b&gt;&amp;\\x1b&quot;c.qcow2") && !svg.utf8.contains(0x1b))
        for use in ["header", "L2 table", "data", "compressed data"] { #expect(svg.contains(">\(use)</text>")) }
        let text = map.text(TextStyle())
        #expect(text.contains(" D  data") && !text.utf8.contains(0x1b))
        #expect(map.text(TextStyle(hasColours: true)).utf8.contains(0x1b))
        #expect(try JSONValue(parsing: Data(map.json().utf8))["uses"]?.array?.count == map.totals.count)
        let empty = HostMap(size: 0, unit: 512, cellLimit: 10)
        #expect(empty.cells.isEmpty && empty.svg(title: "").contains("</svg>") && !empty.text(TextStyle()).isEmpty)
    }
}
