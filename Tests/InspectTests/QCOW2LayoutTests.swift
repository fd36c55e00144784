import BlockImage
import HostTools
import ImageFormats
import ImageTools
import TestImages
import Testing

struct `The listing of a QCOW2 image` {
    private static let mixed: [QCOW2Builder.Cluster] = [
        .data, .unallocated, .compressed, .zero, .preallocatedZero, .data,
    ]

    private func built(_ change: (inout QCOW2Builder) -> Void = { _ in }) -> BuiltQCOW2 {
        var builder = QCOW2Builder(size: 16 << 16, clusters: Self.mixed)
        change(&builder)
        return builder.build()
    }

    @Test(arguments: [(2, 72), (3, 104), (3, 112), (3, 120)])
    func `has the header's fields one behind the other, with no gap and no overlap`(version: UInt32, length: UInt32)
        throws
    {
        var image = built { builder in
            builder.version = version
            if version == 2 { builder.clusters = [.data, .compressed] }
        }
        if version == 3 { image.poke(length, at: 100) }
        let header = try #require(try listing(image.bytes).structure("header"))
        var position: UInt64 = 0
        for field in header.fields {
            #expect(field.offset.rawValue == position, "\(field.name)")
            #expect(field.raw.count == Int(min(field.size, 64)), "\(field.name)")
            #expect(field.raw == Array(image.bytes[Int(position)...].prefix(field.raw.count)), "\(field.name)")
            position += field.size
        }
        #expect(position == UInt64(length))
        #expect(header.structure.size == UInt64(length))
    }

    @Test func `has every entry of the tables, as the builder laid them out`() throws {
        let image = built()
        let layout = try listing(image.bytes)
        let table = try #require(layout.structure("L2 table"))
        #expect(table.structure.offset?.rawValue == image.l2Offsets[0])
        let kinds = ["data", nil, "compressed", "zero", "zero, preallocated", "data"]
        let listed = table.entries.filter { $0.count == 1 && $0.raw != [0] }
        #expect(listed.map { $0.text("kind") } == kinds.compactMap { $0 })
        for entry in listed where entry.text("kind") != "zero" {
            let cluster = Int(entry.index)
            #expect(entry.number("host") == image.hostOffsets[cluster])
            #expect(entry.number("guest") == UInt64(cluster) << 16)
            #expect(entry.offset.rawValue == image.entryOffset(of: cluster))
        }
        // What lies between and after is reported in runs, so that the entries are all accounted for.
        #expect(table.entries.reduce(0) { $0 + $1.count } == 8192)
    }

    @Test(
        arguments: [
            (20, 99, "cluster_bits"), (96, 7, "refcount_order"), (100, 5, "header_length"), (36, 0, "l1_size"),
            (44, 0x123, "l1_table_offset"), (56, 0, "refcount_table_clusters"), (60, 99999, "nb_snapshots"),
            (4, 7, "version"), (0, 0x5146_4900, "magic"), (16, 5000, "backing_file_size"),
            (72, 0x8000_0000, "incompatible_features"),
        ] as [(UInt64, UInt32, String)])
    func `marks the field that is wrong, and goes on with the others`(offset: UInt64, value: UInt32, name: String)
        throws
    {
        var image = built()
        image.poke(value, at: offset)
        if name == "backing_file_size" { image.poke(UInt64(200), at: 8) }
        let layout = try listing(image.bytes, as: .qcow2)
        let header = try #require(layout.structure("header"))
        #expect(header.fields.filter { $0.fault != nil }.map(\.name).contains(name), "\(layout.faults)")
        #expect(header.fields.contains { $0.name == "header_length" })
        // What does not depend on the field is still there: where clusters can be counted, the tables.
        if !["cluster_bits", "refcount_order", "l1_table_offset", "l1_size"].contains(name) {
            #expect(layout.structure("L2 table")?.entries.contains { $0.text("kind") == "data" } == true)
        }
    }

    @Test func `marks the entries of tables that are wrong`() throws {
        var image = built()
        image.poke(UInt64(0x8000_0000_0001_2300), at: image.entryOffset(of: 0))
        image.poke(UInt64(0x8000_0000_ffff_0000), at: image.entryOffset(of: 5))
        let faults = try listing(image.bytes).faults
        #expect(
            faults.contains { $0.contains("0x12200") && $0.contains("aligned") || $0.contains("0x12300") }, "\(faults)")
        #expect(faults.contains { $0.contains("0xffff0000") && $0.contains("file ends") }, "\(faults)")
        image.poke(UInt64(0x8000_0000_0bad_0000), at: image.l1Offset)
        let layout = try listing(image.bytes)
        #expect(layout.structure("L1 table")?.entries.first?.fault?.contains("file ends") == true)
        #expect(layout.structure("L2 table") == nil)
    }

    @Test func `has the extensions, also those that are unknown, and names features by the image's own table`() throws {
        let name = [0, 40] + Array("some new feature".utf8)
        let image = built { builder in
            builder.incompatibleFeatures = 1 << 40 | 1 << 41 | 1
            builder.extensions = [
                (0xe279_2aca, Array("raw\u{1b}[31m".utf8)), (0x1234_5678, [1, 2, 0xfe]),
                (0x6803_f857, name.map { UInt8($0) } + Array(repeating: 0, count: 48 - name.count)),
            ]
            builder.backingFile = "base\u{7}.img"
        }
        let layout = try listing(image.bytes)
        let text = try #require(layout.field("incompatible_features"))
        #expect(text.value == "dirty bit (bit 0), \"some new feature\" (bit 40), unknown (bit 41)")
        #expect(text.fault?.contains("some new feature") == true)
        #expect(layout.field("format", of: "header extension: backing format")?.value == "\"raw\\x1b[31m\"")
        #expect(layout.field("data", of: "header extension: unknown")?.value == "01 02 fe")
        #expect(layout.field("name", of: "backing file name")?.value == "\"base\\x07.img\"")
        // The extensions tile what lies between the header and the name.
        var position: UInt64 = 112
        for node in layout.all where node.structure.name.hasPrefix("header extension") {
            #expect(node.structure.offset?.rawValue == position)
            #expect(node.fields.reduce(0) { $0 + $1.size } == node.structure.size)
            position += node.structure.size ?? 0
        }
        #expect(layout.structure("backing file name")?.structure.offset?.rawValue == position)
    }

    @Test func `of an extension that is cut has what is there`() throws {
        var image = built { $0.extensions = [(0x1111, [1, 2, 3, 4])] }
        image.poke(UInt32(1 << 30), at: 116)
        let layout = try listing(image.bytes)
        #expect(layout.field("length", of: "header extension: unknown")?.fault?.contains("left for it") == true)
        #expect(layout.structure("L2 table") != nil)
    }

    @Test func `leaves out what is beyond the limit, and says how much`() throws {
        let image = built { $0.clusters = Array(repeating: .data, count: 16) }
        let layout = try listing(image.bytes, options: LayoutOptions(showsEntries: true, entryLimit: 5))
        let table = try #require(layout.structure("L2 table"))
        #expect(table.entries.count == 5)
        #expect(table.omitted["L2 entries"] == 8192 - 5)
    }
}

struct `The listing of whatever bytes there are` {
    @Test(arguments: 0..<6) func `never traps, and never lists more than the file can hold`(part: Int) throws {
        var random = SeededRandom(seed: UInt64(part) + 7)
        let images = try [
            QCOW2Builder(size: 40 << 9, clusterBits: 9, clusters: [.data, .compressed, .zero, .data]).build().bytes,
            QCOW2Builder(size: 4 << 16, clusters: [.data, .compressed, .preallocatedZero]).build().bytes,
            SparseVMDKBuilder.whole(GrainModel(size: 1 << 20, grains: [.data, .zero, .data])).build().bytes,
            StreamVMDKBuilder.whole(GrainModel(size: 1 << 20, grains: [.data, .zero, .data])).build().bytes,
            COWDBuilder(GrainModel(size: 1 << 20, grainSize: 512, grains: [.data, .absent, .data])).build().bytes,
            SESparseBuilder(GrainModel(size: 1 << 20, grainSize: 4096, grains: [.data, .zero, .data])).build().bytes,
        ]
        let sound = images[part]
        let hot = min(sound.count, 2048)
        let values: [UInt8?] = [0, 1, 0x7f, 0x80, 0xff, nil]
        let counts: [Int] = [1, 2, 8]
        for round in 0..<60 {
            var bytes = sound
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                let place = Int.random(in: 8..<(round % 3 == 0 ? bytes.count : hot), using: &random)
                let value = values.randomElement(using: &random) ?? 0
                let end = min(place + (counts.randomElement(using: &random) ?? 1), bytes.count)
                for next in place..<end { bytes[next] = value ?? UInt8(truncatingIfNeeded: random.next()) }
            }
            if round % 10 == 9 { bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random))) }
            let options = LayoutOptions(showsEntries: true, entryLimit: 200)
            let format: ImageFormat = part < 2 ? .qcow2 : .vmdk
            let layout = try listing(bytes, as: format, options: options)
            #expect(layout.all.allSatisfy { $0.entries.count <= 200 })
            let map = try hostMap(bytes, as: format, cellLimit: 100)
            #expect(map.totals.reduce(0) { $0 + $1.count } == UInt64(bytes.count), "round \(round)")
        }
    }
}
