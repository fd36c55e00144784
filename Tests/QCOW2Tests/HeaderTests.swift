import BlockImage
import ByteFormat
import TestImages
import Testing

@testable import QCOW2

struct `The header` {
    @Test func `gives every field of version 3 from its place`() throws {
        // Each byte is its own offset, so that a field read from a wrong place has a wrong value.
        var bytes = (0..<112).map { UInt8($0) }
        bytes.replaceSubrange(0..<8, with: Header.magic + [0, 0, 0, 3])
        bytes.replaceSubrange(100..<104, with: [0, 0, 0, 112])
        var reader = ByteReader(bytes)
        let header = try Header(parsing: &reader)
        #expect(header.version == 3)
        #expect(header.backingFileOffset == 0x0809_0a0b_0c0d_0e0f)
        #expect(header.backingFileSize == 0x1011_1213)
        #expect(header.clusterBits == 0x1415_1617)
        #expect(header.size == 0x1819_1a1b_1c1d_1e1f)
        #expect(header.cryptMethod == 0x2021_2223)
        #expect(header.l1Size == 0x2425_2627)
        #expect(header.l1TableOffset == 0x2829_2a2b_2c2d_2e2f)
        #expect(header.refcountTableOffset == 0x3031_3233_3435_3637)
        #expect(header.refcountTableClusters == 0x3839_3a3b)
        #expect(header.snapshotCount == 0x3c3d_3e3f)
        #expect(header.snapshotsOffset == 0x4041_4243_4445_4647)
        #expect(header.incompatibleFeatures.rawValue == 0x4849_4a4b_4c4d_4e4f)
        #expect(header.compatibleFeatures.rawValue == 0x5051_5253_5455_5657)
        #expect(header.autoclearFeatures.rawValue == 0x5859_5a5b_5c5d_5e5f)
        #expect(header.refcountOrder == 0x6061_6263)
        #expect(header.headerLength == 112)
        #expect(header.compressionType == 0x68)
    }

    @Test func `of version 2 ends after 72 bytes, and implies the rest`() throws {
        var bytes = (0..<72).map { UInt8($0) }
        bytes.replaceSubrange(0..<8, with: Header.magic + [0, 0, 0, 2])
        var reader = ByteReader(bytes)
        let header = try Header(parsing: &reader)
        #expect(header.incompatibleFeatures.isEmpty)
        #expect(header.refcountOrder == 4)
        #expect(header.headerLength == 72)
        #expect(header.compressionType == 0)
        #expect(reader.remaining == 0)
    }

    @Test(arguments: 0..<105)
    func `that is cut anywhere is a fault`(count: Int) {
        let bytes = QCOW2Builder(size: 1 << 20).build().bytes
        var reader = ByteReader(Array(bytes.prefix(count)))
        #expect(throws: ParseFault.self) { _ = try Header(parsing: &reader) }
    }

    @Test(
        arguments: [
            (0, 16, 0), (1, 16, 1), (1 << 29, 16, 1), (1 << 29 | 512, 16, 2), (1 << 15, 9, 1), (1 << 15 | 1, 9, 2),
            (UInt64(Int64.max), 21, 1 << 24),
        ] as [(UInt64, UInt32, UInt64)])
    func `needs so many L1 entries for its size`(size: UInt64, clusterBits: UInt32, expected: UInt64) throws {
        var image = QCOW2Builder(size: 0, clusterBits: clusterBits).build()
        image.poke(size, at: 24)
        var reader = ByteReader(image.bytes)
        #expect(try Header(parsing: &reader).neededL1Size == expected)
    }
}

struct `Header extensions` {
    private func parse(_ extensions: [(type: UInt32, data: [UInt8])]) throws -> HeaderExtensions {
        var builder = QCOW2Builder(size: 1 << 20)
        builder.extensions = extensions
        return try QCOW2Description(MemoryFile(builder.build().bytes)).extensions
    }

    @Test func `of every kind are found in any order`() throws {
        let found = try parse([
            (0x4441_5441, Array("data".utf8)), (0x1234_5678, [1, 2, 3]), (0xe279_2aca, Array("qcow2".utf8)),
            (0x0537_be77, [0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]),
            (0x6803_f857, [0, 9] + Array("dimensions".utf8) + Array(repeating: 0, count: 36)),
            (0x2385_2875, [0, 0, 0, 7, 0, 0, 0, 0] + [0, 0, 0, 0, 0, 0, 1, 0] + [0, 0, 0, 0, 0, 9, 0, 0]),
        ])
        #expect(found.dataFile == Array("data".utf8))
        #expect(found.backingFormat == "qcow2")
        #expect(found.unknown == [HeaderExtensions.Unknown(type: 0x1234_5678, length: 3)])
        #expect(found.encryptionHeader == HeaderExtensions.EncryptionHeader(offset: 0x50000, length: 512))
        #expect(found.featureNames == [FeatureName(kind: .incompatible, bit: 9, name: "dimensions")])
        #expect(
            found.bitmaps == HeaderExtensions.Bitmaps(count: 7, directorySize: 256, directoryOffset: 0x90000))
    }

    @Test func `may end without an end record, at the backing file's name`() throws {
        var image = QCOW2Builder(size: 1 << 20).build()
        image.poke(UInt64(0xe279_2aca_0000_0003), at: 112)
        image.replace(Array("raw".utf8), at: 120)
        image.poke(UInt64(0x7777_7777_7777_7777), at: 128)
        image.poke(UInt64(128), at: 8)
        image.poke(UInt32(4), at: 16)
        let description = try QCOW2Description(MemoryFile(image.bytes))
        #expect(description.extensions.backingFormat == "raw")
        #expect(description.extensions.unknown == [])
        #expect(description.backingFile == [0x77, 0x77, 0x77, 0x77])
    }

    @Test(
        arguments: [
            (
                0x1234_5678, 0xffff_ffff, 112,
                "header: header extension 0x12345678: has 4294967295 bytes, but only 65416 are left for it"
            ),
            (0xe279_2aca, 16, 120, "header: backing format: has 16 bytes, but at most 15 are allowed"),
            (0x2385_2875, 16, 120, "header: bitmaps extension: has 16 bytes, but must have 24"),
            (0x0537_be77, 8, 120, "header: encryption header pointer: has 8 bytes, but must have 16"),
        ] as [(UInt32, UInt32, UInt64, String)])
    func `of a wrong size are errors at their place`(type: UInt32, length: UInt32, offset: UInt64, message: String) {
        var image = QCOW2Builder(size: 1 << 20).build()
        image.poke(type, at: 112)
        image.poke(length, at: 116)
        let error = ImageError(.corrupt, path: "memory.img", offset: HostOffset(offset), "\(message)")
        #expect(failure(of: image.bytes) == error)
    }
}
