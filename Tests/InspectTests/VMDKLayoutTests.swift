import BlockImage
import ImageFormats
import ImageTools
import TestImages
import Testing

struct `The listing of a VMDK image` {
    private static let model = GrainModel(size: 3 << 20, grains: [.data, .absent, .zero, .data, .data])

    private func built() throws -> BuiltVMDK { try SparseVMDKBuilder.whole(Self.model).build() }

    /// The fields of `name` must lie one behind the other from `start` to `end`.
    private func expectTiles(
        _ layout: RecordedLayout, _ name: String, _ start: UInt64, _ end: UInt64,
        at location: SourceLocation = #_sourceLocation
    ) throws {
        let node = try #require(layout.structure(name), sourceLocation: location)
        var position = start
        for field in node.fields {
            #expect(field.offset.rawValue == position, "\(field.name)", sourceLocation: location)
            position += field.size
        }
        #expect(position == end, sourceLocation: location)
    }

    @Test func `has the fields of every kind of header one behind the other`() throws {
        try expectTiles(try listing(try built().bytes), "sparse header", 0, 512)
        let small = GrainModel(size: 1 << 20, grainSize: 512, grains: [.data])
        try expectTiles(try listing(COWDBuilder(small).build().bytes), "COWD header", 0, 2048)
        let grains = GrainModel(size: 1 << 20, grainSize: 4096, grains: [.data, .zero])
        let layout = try listing(SESparseBuilder(grains).build().bytes)
        try expectTiles(layout, "seSparse constant header", 0, 512)
        try expectTiles(layout, "seSparse volatile header", 512, 1024)
        #expect(layout.faults.isEmpty, "\(layout.faults)")
    }

    @Test func `has every grain table entry, as the builder laid them out`() throws {
        let image = try built()
        let layout = try listing(image.bytes)
        let table = try #require(layout.structure("grain table"))
        let listed = table.entries.filter { $0.text("kind") == "data" }
        #expect(listed.map { Int($0.index) } == image.grainOffsets.keys.sorted())
        for entry in listed { #expect(entry.number("host") == image.grainOffsets[Int(entry.index)].map { UInt64($0) }) }
        #expect(layout.faults.isEmpty, "\(layout.faults)")
    }

    @Test func `has no fault where the image is sound: a stream without an end, a line without a name`() throws {
        for directory in StreamVMDKBuilder.Directory.allCases {
            for model in [GrainModel(size: 1 << 20), Self.model] {
                var builder = StreamVMDKBuilder.whole(model, directory)
                builder.descriptor = VMDKDescriptorText("streamOptimized", ["RW \(model.sectors) SPARSE \"\""])
                let bytes = try builder.build().bytes
                // What has its tables in front needs no marker of the end.
                let layout = try listing(directory == .front ? bytes.dropLast(512) : bytes)
                #expect(layout.faults.isEmpty, "\(layout.faults)")
            }
        }
        let cut = try StreamVMDKBuilder.whole(Self.model).build().bytes.dropLast(512)
        #expect(try listing(Array(cut)).faults.contains { $0.contains("the end-of-stream marker is missing") })
    }

    @Test func `marks where the redundant grain tables differ`() throws {
        var image = try built()
        let layout = try listing(image.bytes)
        let redundant = try #require(layout.structure("redundant grain directory")?.entries.first)
        let place = try #require(redundant.number("table"))
        image.bytes[Int(place) + 4 * 4] ^= 1
        let changed = try listing(image.bytes)
        let fault = try #require(changed.structure("redundant grain directory")?.entries.first?.fault)
        #expect(fault.contains("differs") && fault.contains("in 1 entry,") && fault.contains("entry 4"), "\(fault)")
        #expect(changed.faults.count == 1)
        image.bytes.replaceSubrange(
            image.redundantDirectoryOffset..<image.redundantDirectoryOffset + 4, with: [0, 0, 0, 0])
        #expect(try listing(image.bytes).faults.contains { $0.contains("is 0, where the grain directory has") })
    }

    @Test(
        arguments: [
            (75, 0x0a, "doubleEndLineChar1"), (20, 7, "grainSize"), (44, 0, "numGTEsPerGT"), (4, 9, "version"),
            (77, 3, "compressAlgorithm"), (70, 0xff, "overHead"), (73, 0, "singleEndLineChar"),
        ] as [(Int, UInt8, String)])
    func `marks the field that is wrong, and goes on with the others`(offset: Int, value: UInt8, name: String) throws {
        var image = try built()
        image.bytes[offset] = value
        if name == "numGTEsPerGT" { image.bytes[45] = 0 }
        let layout = try listing(image.bytes)
        let fields = try #require(layout.structure("sparse header")).fields
        // The newline check is reported with its first byte.
        let marked = fields.first { $0.fault != nil }?.name
        #expect(marked == name || name == "doubleEndLineChar1" && marked == "singleEndLineChar", "\(layout.faults)")
        #expect(fields.last?.name == "pad")
        #expect(layout.structure("descriptor") != nil)
    }

    @Test func `of a stream has its markers, its footer, and where it breaks off`() throws {
        let image = try StreamVMDKBuilder.whole(Self.model).build()
        let layout = try listing(image.bytes)
        #expect(layout.faults.isEmpty, "\(layout.faults)")
        let markers = try #require(layout.structure("markers")).entries
        #expect(markers.filter { $0.text("kind") == "grain" }.count == 4)
        #expect(markers.last?.text("kind") == "end of stream")
        #expect(layout.structure("footer")?.structure.offset?.rawValue == UInt64(image.footerOffset - 512))
        let grain = try #require(markers.first)
        let cut = try listing(Array(image.bytes.prefix(Int(grain.offset.rawValue) + 600)))
        #expect(cut.faults.contains { $0.hasPrefix("footer") && $0.contains("missing") })
        #expect(cut.faults.contains { $0.contains("breaks off") })
        #expect(cut.field("capacity", of: "sparse header")?.fault == nil)
        // Without the entries, the grains are one run.
        let short = try listing(image.bytes, options: LayoutOptions())
        #expect(short.structure("markers")?.entries.first?.count == 4)
    }

    @Test func `of a descriptor has every line with its number, also behind CRLF, and steers no terminal`() throws {
        let text =
            "# Disk DescriptorFile\r\nversion=1\r\n\r\nCID = \"12\u{1b}[2J\"\r\nRW 8 FLAT \"a-flat.vmdk\" 4\r\nwhat is this\r\n"
        let layout = try listing(Array(text.utf8))
        let fields = try #require(layout.structure("descriptor")).fields
        #expect(
            fields.map(\.name) == ["line 1: comment", "line 2: version", "line 4: CID", "line 5: extent", "line 6"])
        #expect(fields[2].value == "\"12\\x1b[2J\"")
        #expect(fields[3].value.hasPrefix("RW, 8 sectors (4 KiB), FLAT \"a-flat.vmdk\" from sector 4, at 0x800"))
        #expect(fields[4].fault?.contains("neither a comment") == true)
        for field in fields { #expect(text.utf8.dropFirst(Int(field.offset.rawValue)).first != 0x0d) }
    }
}
