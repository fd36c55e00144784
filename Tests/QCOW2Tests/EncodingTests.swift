import BlockImage
import ByteFormat
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `What is encoded is parsed as it was` {
    @Test(arguments: UInt64(1)...50)
    func `of headers`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        func any<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value {
            .random(in: .min ... .max, using: &random)
        }
        var header = Header(
            version: 3, backingFileOffset: any(), backingFileSize: any(), clusterBits: any(), size: any(),
            cryptMethod: any(), l1Size: any(), l1TableOffset: any(), refcountTableOffset: any(),
            refcountTableClusters: any(), snapshotCount: any(), snapshotsOffset: any(),
            incompatibleFeatures: IncompatibleFeatures(rawValue: any()),
            compatibleFeatures: CompatibleFeatures(rawValue: any()),
            autoclearFeatures: AutoclearFeatures(rawValue: any()), refcountOrder: any(),
            headerLength: [104, 112, 136].randomElement(using: &random) ?? 112, compressionType: any())
        if header.headerLength == 104 { header.compressionType = 0 }
        if seed % 3 == 0 {
            header.version = 2
            header.headerLength = 72
            header.refcountOrder = 4
            header.compressionType = 0
            (header.incompatibleFeatures, header.compatibleFeatures, header.autoclearFeatures) = ([], [], [])
        }
        var writer = ByteWriter()
        header.encode(into: &writer)
        #expect(writer.position == Int(header.headerLength))
        var reader = ByteReader(writer.bytes)
        #expect(try Header(parsing: &reader) == header, "seed \(seed)")
    }

    @Test func `of header extensions, and the end is known`() throws {
        var extensions = HeaderExtensions()
        var all: [HeaderExtensions] = [extensions]
        extensions.backingFormat = "raw"
        all.append(extensions)
        extensions.featureNames = FeatureName.specified + [FeatureName(kind: nil, bit: 63, name: "unheard of")]
        all.append(extensions)
        extensions.dataFile = Array("data.raw".utf8)
        extensions.encryptionHeader = HeaderExtensions.EncryptionHeader(offset: 0x30000, length: 592)
        extensions.bitmaps = HeaderExtensions.Bitmaps(count: 3, directorySize: 96, directoryOffset: 0x90000)
        all.append(extensions)
        for extensions in all {
            var writer = ByteWriter()
            extensions.encode(into: &writer)
            #expect(writer.position % 8 == 0)
            // What would be an error, if it were read.
            writer.write(bytes: Array(repeating: 0xff, count: 64))
            var reader = ByteReader(writer.bytes)
            #expect(try HeaderExtensions(parsing: &reader, upTo: writer.position) == extensions)
        }
    }

    @Test(arguments: UInt32(9)...21, [false, true])
    func `of entries of L2 tables`(clusterBits: UInt32, isExtended: Bool) throws {
        var random = SeededRandom(seed: UInt64(clusterBits))
        let format = L2Format(clusterBits: clusterBits, version: 3, isExtended: isExtended, hasDataFile: false)
        for _ in 0..<200 {
            let host = HostOffset(UInt64.random(in: 1..<1 << 30, using: &random) << UInt64(clusterBits) & (1 << 56 - 1))
            let sectors = UInt64.random(in: 1...1 << UInt64(clusterBits - 8), using: &random)
            let data = UInt64.random(in: 0..<1 << 40, using: &random)
            let zero = UInt32.random(in: 1..<UInt32.max, using: &random)
            var mappings: [ClusterMapping] = [
                .unallocated, .zero(preallocated: nil), .zero(preallocated: host), .data(host),
                .compressed(HostOffset(data), count: sectors * 512 - data % 512),
            ]
            if isExtended {
                let bitmap = SubclusterBitmap(rawValue: UInt64(zero) << 32 | UInt64(~zero & .random(in: 0 ... .max)))
                mappings.append(.subclusters(bitmap, host: host))
            }
            for mapping in mappings where mapping.host?.rawValue != 0 {
                let parsed = try L2Entry(mapping, format).mapping(format, bitmap: SubclusterBitmap(mapping))
                #expect(parsed == mapping)
            }
        }
        #expect(L1Entry(l2TableAt: HostOffset(0x50000)).rawValue == 0x8000_0000_0005_0000)
    }

    @Test func `of the subclusters of a cluster`() {
        var random = SeededRandom(seed: 7)
        var bitmap = SubclusterBitmap.none
        var states = Array(repeating: SubclusterBitmap.State.unallocated, count: 32)
        for _ in 0..<500 {
            let first = Int.random(in: 0..<32, using: &random)
            let range = first..<Int.random(in: first...32, using: &random)
            let state = [.unallocated, .zero, .data].randomElement(using: &random) ?? SubclusterBitmap.State.data
            bitmap = bitmap.setting(range, to: state)
            for index in range { states[index] = state }
            #expect(states.indices.allSatisfy { bitmap.run(from: $0).state == states[$0] })
        }
    }

    @Test(arguments: 0...6)
    func `of refcounts`(order: Int) throws {
        var random = SeededRandom(seed: UInt64(order))
        var image = NewQCOW2(size: 0)
        image.clusterSize = 512
        image.refcountBits = 1 << UInt32(order)
        let most = UInt64.max >> UInt64(64 - (1 << order))
        let format = RefcountFormat(order: UInt64(order))
        #expect(format.limit == most)
        var block = RefcountBlock(clusterSize: 512, format)
        let refcounts = (0..<block.count).map { _ in UInt64.random(in: 0...most, using: &random) }
        for (index, refcount) in refcounts.enumerated() { block.set(index, to: refcount) }

        var header = image.header
        header.refcountTableClusters = 1
        header.refcountTableOffset = 512
        let table = encodeTable([1024 as UInt64] + Array(repeating: 0, count: 63), .big)
        let file = MemoryFile(Array(repeating: 0, count: 512) + table + block.bytes)
        var read = try Refcounts(header, of: file)
        let looked = RefcountLookup(header, of: file)
        for (index, refcount) in refcounts.enumerated() {
            #expect(try read.refcount(of: UInt64(index)) == refcount)
            // The cluster `index` is asked for by its offset.
            #expect(looked.refcount(of: HostOffset(UInt64(index) * 512)) == refcount)
        }
    }
}
