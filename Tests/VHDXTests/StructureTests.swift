import BlockImage
import ByteFormat
import HostTools
import TestImages
import Testing

@testable import VHDX

struct `Structures of VHDX` {
    @Test func `the check sum is CRC-32C`() {
        // The check value that catalogues of CRCs have for it.
        var sum = CRC32C()
        sum.update(Array("123456789".utf8))
        #expect(sum.value == 0xe306_9283)
        #expect(
            CRC32C(of: Array("1234xxxx9".utf8), without: 4..<8).value
                == CRC32C(of: [49, 50, 51, 52, 0, 0, 0, 0, 57], without: 0..<0).value)
    }

    @Test(arguments: UInt64(1)...20)
    func `what is written is read again`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        func id() -> ImageIdentity { ImageIdentity((0..<16).map { _ in UInt8.random(in: 0...255, using: &random) }) }
        let header = VHDXHeader(
            sequenceNumber: random.next(), fileWriteID: id(), dataWriteID: id(), logID: id(), logLength: 3 << 20,
            logOffset: 5 << 20)
        #expect(try VHDXHeader(parsing: header.encoded) == header)
        let regions = RegionTable(
            (1...UInt64.random(in: 1...20, using: &random)).map { Region(id(), at: $0 << 20, length: 1 << 20) })
        #expect(try RegionTable(parsing: regions.encoded) == regions)
        let items = MetadataTable(
            (1...UInt32.random(in: 1...20, using: &random)).map {
                MetadataItem(id(), at: $0 << 16, length: 8, isOfDisk: Bool.random(using: &random))
            })
        #expect(try MetadataTable(parsing: items.encoded) == items)
        for structure in [header.encoded, regions.encoded] {
            #expect(structure == VHDXBuilder.summed(structure))
            var damaged = structure
            damaged[Int.random(in: 8..<damaged.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            #expect(throws: ParseFault.self) { _ = try VHDXHeader(parsing: damaged) }
            #expect(throws: ParseFault.self) { _ = try RegionTable(parsing: damaged) }
        }
    }

    @Test func `the fields of an entry tile its 64 bits`() {
        let fields = [BlockEntry.state, BlockEntry.reserved, BlockEntry.offset]
        #expect(fields.reduce(0) { $0 | $1.mask } == .max)
        #expect(fields.reduce(0) { $0 + $1.width } == 64)
    }

    @Test(arguments: [512, 4096] as [UInt64], [1, 32, 256] as [UInt64])
    func `blocks and sector bitmaps take turns in the table`(sectorSize: UInt64, mebibytes: UInt64) {
        for size in [1, 1 << 30, 64 << 40] as [UInt64] {
            let sized = (size + sectorSize - 1) / sectorSize * sectorSize
            for hasParent in [false, true] {
                let geometry = BlockGeometry(
                    virtualSize: sized, blockSize: mebibytes << 20, sectorSize: sectorSize, hasParent: hasParent)
                let last = geometry.blockCount - 1
                let index = geometry.entryIndex(ofBlock: last)
                let (chunk, place) = geometry.place(ofEntry: index)
                #expect(chunk * geometry.chunkRatio + place == last)
                #expect(geometry.place(ofEntry: geometry.entryIndex(ofBitmapOf: chunk)) == (chunk, geometry.chunkRatio))
                // The table ends with the last block's entry, or with that of its chunk's bitmap.
                let end = hasParent ? geometry.entryIndex(ofBitmapOf: chunk) : index
                #expect(geometry.entryCount == end + 1)
            }
        }
    }

    @Test func `equal bits are counted across words`() {
        let words: [UInt64] = [0xffff_0000_0000_0000, .max, 1, 0]
        #expect(VHDXLayer.alikeBits(words, from: 0, isSet: false, limit: 1000) == 48)
        #expect(VHDXLayer.alikeBits(words, from: 48, isSet: true, limit: 1000) == 81)
        #expect(VHDXLayer.alikeBits(words, from: 50, isSet: true, limit: 9) == 9)
        #expect(VHDXLayer.alikeBits(words, from: 129, isSet: false, limit: 1000) == 127)
    }
}
