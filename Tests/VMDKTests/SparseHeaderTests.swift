import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

@Suite struct SparseHeaderTests {
    @Test func `every field is read from its place`() throws {
        var image = SparseImage(capacity: 0x1122, grainSize: 64, tableEntryCount: 256, version: 2)
        image.flags = 7
        image.descriptor = "x"
        var bytes = image.build().bytes
        bytes[72] = 1
        let header = try SparseHeader(parsing: Array(bytes[..<512]))
        #expect(header.version == 2)
        #expect(header.flags == 7)
        #expect(header.capacity == 0x1122)
        #expect(header.grainSize == 64)
        #expect(header.descriptorOffset == 1)
        #expect(header.descriptorSize == 20)
        #expect(header.grainTableEntryCount == 256)
        #expect(header.redundantDirectoryOffset == 22)
        #expect(header.directoryOffset == 21)
        #expect(header.overhead == 23)
        #expect(header.uncleanShutdown)
        #expect(header.compressAlgorithm == 0)
        #expect(header.hasRedundantDirectory && header.hasZeroedGrains && !header.isCompressed)
    }

    struct Poke: Sendable, CustomTestStringConvertible {
        var offset: Int
        var value: UInt64
        var size: Int
        var code: ImageError.Code
        var errorOffset: UInt64
        var message: String
        var testDescription: String { message }
    }

    static let pokes = [
        Poke(
            offset: 4, value: 0, size: 4, code: .corrupt, errorOffset: 4, message: "version: is 0, but must be 1 to 3"),
        Poke(
            offset: 4, value: 4, size: 4, code: .unsupported, errorOffset: 4,
            message: "version: is 4, which is not supported; 1 to 3 are"),
        Poke(
            offset: 8, value: 0x1_0001, size: 4, code: .unsupported, errorOffset: 8,
            message: "flags: bit 16, compressed grains, is not supported without bit 17, markers before them"),
        Poke(
            offset: 8, value: 0x2_0001, size: 4, code: .unsupported, errorOffset: 8,
            message: "flags: bit 17, grains with markers, is not supported without bit 16, compression"),
        Poke(
            offset: 8, value: 0x3_0001, size: 4, code: .unsupported, errorOffset: 77,
            message: "compressAlgorithm: is 0, which is not supported where flags has bit 16, compressed grains; "
                + "1, deflate, is"),
        Poke(
            offset: 8, value: 0x40_0001, size: 4, code: .unsupported, errorOffset: 8,
            message: "flags: 0x400000 are incompatible features that are not known"),
        Poke(
            offset: 12, value: 1 << 54, size: 8, code: .corrupt, errorOffset: 12,
            message: "capacity: is 18014398509481984 sectors, but must be at most 18014398509481983"),
        Poke(
            offset: 12, value: .max, size: 8, code: .corrupt, errorOffset: 12,
            message: "capacity: is 18446744073709551615 sectors, but must be at most 18014398509481983"),
        Poke(
            offset: 12, value: (UInt64(32) << 20) * 8192 + 1, size: 8, code: .corrupt, errorOffset: 12,
            message: "capacity: is 274877906945 sectors, which takes a grain directory of 33554433 entries, "
                + "but it must have at most 33554432"),
        Poke(
            offset: 20, value: 0, size: 8, code: .corrupt, errorOffset: 20,
            message: "grainSize: is 0 sectors, but must be a power of two from 1 to 2097152"),
        Poke(
            offset: 20, value: 24, size: 8, code: .corrupt, errorOffset: 20,
            message: "grainSize: is 24 sectors, but must be a power of two from 1 to 2097152"),
        Poke(
            offset: 20, value: 1 << 22, size: 8, code: .corrupt, errorOffset: 20,
            message: "grainSize: is 4194304 sectors, but must be a power of two from 1 to 2097152"),
        Poke(
            offset: 28, value: .max, size: 8, code: .truncated, errorOffset: 28,
            message: "descriptorOffset: is sector 18446744073709551615, which must lie in the file, "
                + "but that has 28160 bytes"),
        Poke(
            offset: 44, value: 0, size: 4, code: .corrupt, errorOffset: 44,
            message: "numGTEsPerGT: is 0, but must be from 1 to 4096"),
        Poke(
            offset: 44, value: 4097, size: 4, code: .corrupt, errorOffset: 44,
            message: "numGTEsPerGT: is 4097, but must be from 1 to 4096"),
        Poke(
            offset: 56, value: 0, size: 8, code: .corrupt, errorOffset: 56,
            message: "gdOffset: a grain directory of 1 entries at sector 0 does not lie in the file, "
                + "which has 28160 bytes"),
        Poke(
            offset: 56, value: 55, size: 8, code: .truncated, errorOffset: 56,
            message: "gdOffset: a grain directory of 1 entries at sector 55 does not lie in the file, "
                + "which has 28160 bytes"),
        Poke(
            offset: 56, value: .max, size: 8, code: .truncated, errorOffset: 28160,
            message: "footer: is missing, which must end the file as gdOffset says that the grain directory is at "
                + "the end"),
        Poke(
            offset: 64, value: 56, size: 8, code: .truncated, errorOffset: 64,
            message: "overHead: 56 sectors of metadata, but the file has only 28160 bytes"),
        Poke(
            offset: 64, value: .max, size: 8, code: .truncated, errorOffset: 64,
            message: "overHead: 18446744073709551615 sectors of metadata, but the file has only 28160 bytes"),
        Poke(
            offset: 75, value: 0x0a, size: 1, code: .corrupt, errorOffset: 73,
            message: "newline check: is a 20 a a, but must be a 20 d a: "
                + "the file was transferred in text mode, or damaged otherwise"),
        Poke(
            offset: 77, value: 1, size: 2, code: .unsupported, errorOffset: 77,
            message: "compressAlgorithm: is 1, which is not supported where flags has not bit 16; 0 is"),
        // The grain directory and the grain table.
        Poke(
            offset: 21 * 512, value: 0xffff_ffff, size: 4, code: .truncated, errorOffset: 21 * 512,
            message: "grain directory entry 0: points to a grain table at 0x1fffffffe00, "
                + "which must lie in the file, but that ends at 0x6e00"),
        Poke(
            offset: 22 * 512 + 4, value: 1, size: 4, code: .corrupt, errorOffset: 22 * 512 + 4,
            message: "grain table 0, entry 1: is 1, which means zeros only where flags has bit 2, "
                + "and no grain can lie there"),
        Poke(
            offset: 22 * 512 + 4, value: 55, size: 4, code: .truncated, errorOffset: 22 * 512 + 4,
            message: "grain table 0, entry 1: points to a grain at 0x6e00, "
                + "which must lie in the file, but that ends at 0x6e00"),
    ]

    @Test(arguments: pokes)
    func `one wrong field makes the error that names it`(poke: Poke) throws {
        // Sectors: 0 header, 21 directory, 22 to 25 grain table, 26 to 41 one grain; then 13 of no use.
        var image = SparseImage(capacity: 100, descriptor: DescriptorTests.head + "RW 100 SPARSE \"x\"\n")
        image.grains = [.absent, .data]
        var bytes = image.build().bytes + [UInt8](repeating: 0, count: 13 * 512)
        for index in 0..<poke.size {
            bytes[poke.offset + index] = UInt8(truncatingIfNeeded: poke.value >> UInt64(index * 8))
        }
        let error = imageError { () throws(ImageError) in
            _ = try Image(layer: openLayer(MemoryFile(bytes))).wholeDisk()
        }
        #expect(
            error
                == ImageError(
                    poke.code, path: "memory.img", offset: HostOffset(poke.errorOffset), "\(poke.message)"))
    }

    @Test(arguments: [0, 3, 4, 511])
    func `a file that ends in its header is truncated or nothing`(count: Int) throws {
        let bytes = SparseImage(capacity: 100).build().bytes
        let error = imageError { () throws(ImageError) in _ = try openLayer(MemoryFile(Array(bytes[..<count]))) }
        #expect(error?.code == (count < 4 ? .corrupt : .truncated))
    }

    @Test func `every byte of the metadata may be anything without a trap`() throws {
        var random = SeededRandom(seed: 7)
        var image = SparseImage(capacity: 100, grainSize: 4, tableEntryCount: 8, version: 2, flags: 7)
        image.descriptor = DescriptorTests.head + "RW 100 SPARSE \"x\"\n"
        image.grains = (0..<25).map { _ in [.absent, .zeroed, .data].randomElement(using: &random)! }
        let good = image.build().bytes
        let tables = image.firstTableSector * 512
        var opened = 0
        for _ in 0..<1000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = [
                    0..<80, 512..<700, 21 * 512..<21 * 512 + 32, 22 * 512..<22 * 512 + 32, tables..<tables + 160,
                ]
                .randomElement(using: &random)!.randomElement(using: &random)!
                bytes[place] = [0, 1, 0x7f, 0xff, UInt8.random(in: 0...255, using: &random)].randomElement(
                    using: &random)!
            }
            let error = imageError { () throws(ImageError) in
                let image = Image(layer: try openLayer(MemoryFile(bytes)))
                opened += 1
                for _ in 0..<8 where image.virtualSize > 0 {
                    let start = UInt64.random(in: 0..<image.virtualSize, using: &random)
                    _ = try image.resolve(at: GuestOffset(start), limit: image.virtualSize - start)
                }
            }
            if let error { #expect(error.path == "memory.img") }
        }
        #expect(opened > 250)
    }
}
