import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `What is refused, and what is read all the same, agrees with qemu-img` {
    /// A field of a good image that is overwritten.
    struct Damage: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var offset: @Sendable (BuiltQCOW2) -> UInt64
        var bytes: [UInt8]

        init(_ text: String, at offset: UInt64, _ value: some FixedWidthInteger & Sendable) {
            self.init(text, value) { _ in offset }
        }

        init(
            _ text: String, _ value: some FixedWidthInteger & Sendable,
            at offset: @escaping @Sendable (BuiltQCOW2) -> UInt64
        ) {
            testDescription = text
            self.offset = offset
            bytes = withUnsafeBytes(of: value.bigEndian) { Array($0) }
        }
    }

    static let header: [Damage] = [
        Damage("nothing", at: 4, UInt32(3)),
        Damage("magic", at: 0, UInt32(0x5146_49fc)),
        Damage("version 0", at: 4, UInt32(0)),
        Damage("version 1", at: 4, UInt32(1)),
        Damage("version 4", at: 4, UInt32(4)),
        Damage("a backing file name behind the first cluster", at: 8, UInt64(65537)),
        Damage("cluster_bits 8", at: 20, UInt32(8)),
        Damage("cluster_bits 22", at: 20, UInt32(22)),
        Damage("cluster_bits 2^32 - 1", at: 20, UInt32.max),
        Damage("size 0", at: 24, UInt64(0)),
        Damage("size 1000", at: 24, UInt64(1000)),
        Damage("a size beyond the L1 table", at: 24, UInt64(1 << 40)),
        Damage("a size of 2^64 - 1", at: 24, UInt64.max),
        Damage("crypt_method 3", at: 32, UInt32(3)),
        Damage("l1_size 0", at: 36, UInt32(0)),
        Damage("l1_size 2", at: 36, UInt32(2)),
        Damage("l1_size 2^22 + 1", at: 36, UInt32(1 << 22 | 1)),
        Damage("l1_size 2^32 - 1", at: 36, UInt32.max),
        Damage("l1_table_offset not aligned", at: 40, UInt64(3 * 65536 + 512)),
        Damage("l1_table_offset 2^63", at: 40, UInt64(1) << 63),
        Damage("refcount_table_offset not aligned", at: 48, UInt64(65537)),
        Damage("refcount_table_offset 2^63", at: 48, UInt64(1) << 63),
        Damage("refcount_table_clusters 0", at: 56, UInt32(0)),
        Damage("refcount_table_clusters 129", at: 56, UInt32(129)),
        Damage("refcount_table_clusters 2^32 - 1", at: 56, UInt32.max),
        Damage("65537 snapshots", at: 60, UInt32(65537)),
        Damage("a snapshot table that begins at byte 1", at: 60, UInt128(1) << 96 | 1 << 32),
        Damage("the dirty bit", at: 72, UInt64(1)),
        Damage("the corrupt bit", at: 72, UInt64(2)),
        Damage("the compression bit without a type", at: 72, UInt64(8)),
        Damage("an unknown incompatible bit", at: 72, UInt64(1) << 63),
        Damage("an unknown compatible bit", at: 80, UInt64(1) << 62),
        Damage("an unknown autoclear bit", at: 88, UInt64(1) << 62),
        Damage("refcount_order 7", at: 96, UInt32(7)),
        Damage("header_length 96", at: 100, UInt32(96)),
        Damage("header_length 104", at: 100, UInt32(104)),
        Damage("header_length behind the first cluster", at: 100, UInt32(65544)),
        Damage("compression_type 1 without its bit", at: 104, UInt8(1)),
        Damage("a header extension longer than its cluster", at: 112, UInt64(0x1234_5678_0001_0000)),
        Damage("an unknown header extension", at: 112, UInt64(0x1234_5678_0000_0008)),
        Damage("a backing format of 16 bytes", at: 112, UInt64(0xe279_2aca_0000_0010)),
        Damage("a backing format without a backing file", at: 112, UInt64(0xe279_2aca_0000_0003)),
        Damage("a bitmap extension of 8 bytes without its bit", at: 112, UInt64(0x2385_2875_0000_0008)),
    ]

    static let tables: [Damage] = [
        Damage("an L1 entry that is not aligned", UInt64(1) << 63 | 0x41200) { $0.l1Offset },
        Damage("an L1 entry with reserved bits at its top", UInt8(0xff)) { $0.l1Offset },
        Damage("an L1 entry with reserved bits at its end", UInt8(0xff)) { $0.l1Offset + 7 },
        Damage("an L1 entry without the COPIED flag", UInt8(0)) { $0.l1Offset },
        Damage("an L1 entry of 0", UInt64(0)) { $0.l1Offset },
        Damage("an L2 entry that is not aligned", UInt64(1) << 63 | 0x50200) { $0.entryOffset(of: 1) },
        Damage("an L2 entry with reserved bits", UInt64(0x3f00_0000_0000_01fe)) { $0.entryOffset(of: 0) },
        Damage("a zero flag with an offset that is not aligned", UInt64(1) << 63 | 0x50201) { $0.entryOffset(of: 1) },
        Damage("a compressed entry that leads to what is none", UInt64(1) << 62) { $0.entryOffset(of: 1) },
        Damage("a compressed entry behind the end of the file", UInt64(1) << 62 | 1 << 40) { $0.entryOffset(of: 1) },
        Damage("a compressed entry beyond 2^56", UInt64(0x7fff_ffff_ffff_ffff)) { $0.entryOffset(of: 1) },
    ]

    @Test(arguments: header + tables, [UInt32(3), 2])
    func `one damaged field of the header or the tables`(damage: Damage, version: UInt32) throws {
        var builder = QCOW2Builder(
            size: 1 << 20 | 512, clusters: [.unallocated, .data, .compressed, .data, .data, .compressed])
        builder.version = version
        var image = builder.build(seed: 4)
        image.replace(damage.bytes, at: Int(damage.offset(image)))
        try expectAgreement(on: image.bytes)
    }

    @Test(arguments: [0, 3, 4, 8, 71, 72, 100, 103])
    func `a file that is cut in its header`(count: Int) throws {
        try expectAgreement(on: Array(QCOW2Builder(size: 1 << 20).build().bytes.prefix(count)))
    }

    @Test func `a last cluster that the end of the file cuts`() throws {
        var builder = QCOW2Builder(size: 1 << 20, clusters: [.data, .data])
        builder.isShuffled = false
        let image = builder.build()
        try expectAgreement(on: Array(image.bytes.dropLast(512)))
        try expectAgreement(on: Array(image.bytes.dropLast(65024)))
        builder.clusters = [.compressed]
        try expectAgreement(on: builder.build().bytes)
    }

    // MARK: Where we differ on purpose

    @Test(arguments: [104, 111, 112, 119, 120, 600, 65536, 3 * 65536])
    func `a file that ends before its tables is an error, while qemu-img reads zeros for what is missing`(
        count: Int
    ) throws {
        let image = QCOW2Builder(size: 1 << 20, clusters: [.data]).build()
        try expectRefusal(of: Array(image.bytes.prefix(count)), code: count < 105 ? .corrupt : .truncated)
    }

    @Test func `tables and clusters behind the end of the file are an error, while qemu-img reads zeros there`() throws
    {
        let good = QCOW2Builder(size: 1 << 20, clusters: [.data]).build()
        let far = UInt64(1) << 40
        for offset in [40, good.l1Offset, good.entryOffset(of: 0)] {
            var image = good
            image.poke(far, at: offset)
            try expectRefusal(of: image.bytes, code: .truncated)
        }
        var image = good
        image.poke(UInt32(1), at: 60)
        image.poke(far, at: 64)
        // The disk does not need its snapshots.
        try expectAgreement(on: image.bytes)
    }

    @Test func `a last cluster that was cut is an error from there on, while qemu-img reads zeros`() throws {
        var builder = QCOW2Builder(size: 1 << 20, clusters: [.data, .data])
        builder.isShuffled = false
        var image = builder.build()
        try expectRefusal(of: Array(image.bytes.dropLast(100)), code: .truncated)
        // By its refcount, there was a cluster behind it.
        image.poke(UInt16(1), at: UInt64(2 * image.clusterSize + image.bytes.count / image.clusterSize * 2))
        try expectRefusal(of: Array(image.bytes.dropLast(512)), code: .truncated)
    }

    @Test func `a compressed stream that is cut is an error, while qemu-img inflates zeros in its place`() throws {
        let image = QCOW2Builder(size: 1 << 20, clusters: [.compressed]).build()
        try expectRefusal(of: Array(image.bytes.dropLast(100)), code: .corrupt)
    }

    @Test func `where a snapshot table of no snapshots lies is no matter to us, while qemu-img wants it aligned`()
        throws
    {
        var image = QCOW2Builder(size: 1 << 20, clusters: [.data]).build()
        image.poke(UInt64(1), at: 64)
        let oracle = try Oracle(try TemporaryFolder())
        let path = try oracle.folder.write(image.bytes, to: "image.qcow2")
        #expect(try !QemuImg.reads(path, format: "qcow2", into: oracle.folder.file("raw")).0)
        #expect(try areSame(oracle.open("image.qcow2", as: .qcow2).disk.result.get().wholeDisk(), image.disk))
    }

    @Test func `a header_length that is no multiple of 8 is an error, as specified, while qemu-img takes it`() throws {
        var image = QCOW2Builder(size: 1 << 20, clusters: [.data]).build()
        image.poke(UInt32(108), at: 100)
        try expectRefusal(of: image.bytes, code: .corrupt)
    }

    /// qemu-img reads it; we refuse it with `code`.
    private func expectRefusal(
        of bytes: [UInt8], code: ImageError.Code, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = try oracle.folder.write(bytes, to: "image.qcow2")
        let (isRead, refusal) = try QemuImg.reads(path, format: "qcow2", into: oracle.folder.file("raw"))
        #expect(isRead, "qemu-img refuses it, too: \(refusal)", sourceLocation: sourceLocation)
        let error = #expect(throws: ImageError.self, sourceLocation: sourceLocation) {
            _ = try oracle.open("image.qcow2", as: .qcow2).disk.result.get().wholeDisk()
        }
        #expect(error?.code == code, "\(String(describing: error))", sourceLocation: sourceLocation)
    }

    /// Both read the whole disk, and the same bytes; or neither does.
    private func expectAgreement(on bytes: [UInt8], sourceLocation: SourceLocation = #_sourceLocation) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = try oracle.folder.write(bytes, to: "image.qcow2")
        let raw = oracle.folder.file("raw")
        let (isRead, refusal) = try QemuImg.reads(path, format: "qcow2", into: raw)
        do {
            let image = try oracle.open("image.qcow2", as: .qcow2).disk.result.get()
            _ = try image.wholeDisk()
            try #require(isRead, "qemu-img refuses it: \(refusal)", sourceLocation: sourceLocation)
            #expect(try image.firstDifference(from: raw) == nil, sourceLocation: sourceLocation)
        } catch let error as ImageError {
            #expect(!isRead, "qemu-img reads it, and we say: \(error)", sourceLocation: sourceLocation)
            #expect(error.path == path, sourceLocation: sourceLocation)
        }
    }
}
