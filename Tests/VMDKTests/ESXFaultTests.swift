import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

@Suite struct `Damaged extents of ESX` {
    struct Poke: Sendable, CustomTestStringConvertible {
        var offset: Int
        var value: UInt64
        var size: Int
        var code: ImageError.Code
        var errorOffset: Int
        var message: String
        var testDescription: String { message }

        func apply(to good: [UInt8]) -> [UInt8] {
            var bytes = good
            for index in 0..<size { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8)) }
            return bytes
        }

        var error: ImageError {
            ImageError(code, path: "memory.img", offset: HostOffset(UInt64(errorOffset)), "\(message)")
        }
    }

    // Sectors: 0 header, 4 directory, 5 to 36 grain table, 37 and 38 grains; then 1 of no use.
    static let cowdImage = COWDImage(capacity: 5000, order: [0, 9])
    static let cowdPokes = [
        Poke(
            offset: 4, value: 2, size: 4, code: .unsupported, errorOffset: 4,
            message: "version: is 2, which is not supported; 1 is"),
        Poke(
            offset: 16, value: 0, size: 4, code: .corrupt, errorOffset: 16,
            message: "grainSize: is 0 sectors, but must be a power of two from 1 to 2097152"),
        Poke(
            offset: 16, value: 3, size: 4, code: .corrupt, errorOffset: 16,
            message: "grainSize: is 3 sectors, but must be a power of two from 1 to 2097152"),
        Poke(
            offset: 16, value: 1 << 31, size: 4, code: .corrupt, errorOffset: 16,
            message: "grainSize: is 2147483648 sectors, but must be a power of two from 1 to 2097152"),
        Poke(
            offset: 20, value: 0, size: 4, code: .corrupt, errorOffset: 20,
            message: "gdOffset: a grain directory of 2 entries at sector 0 does not lie in the file, "
                + "which has 20480 bytes"),
        Poke(
            offset: 20, value: 0xffff_ffff, size: 4, code: .truncated, errorOffset: 20,
            message: "gdOffset: a grain directory of 2 entries at sector 4294967295 does not lie in the file, "
                + "which has 20480 bytes"),
        Poke(
            offset: 24, value: 1, size: 4, code: .corrupt, errorOffset: 24,
            message: "numGDEntries: is 1, but 5000 sectors take a grain directory of 2 entries"),
        Poke(
            offset: 2048, value: 9, size: 4, code: .truncated, errorOffset: 2048,
            message: "grain directory entry 0: points to a grain table at 0x1200, which must lie in the file, "
                + "but that ends at 0x5000"),
        Poke(
            offset: 2048, value: 0xffff_ffff, size: 4, code: .truncated, errorOffset: 2048,
            message: "grain directory entry 0: points to a grain table at 0x1fffffffe00, which must lie in the file, "
                + "but that ends at 0x5000"),
        Poke(
            offset: 5 * 512 + 36, value: 1, size: 4, code: .corrupt, errorOffset: 5 * 512 + 36,
            message: "grain table 0, entry 9: is 1, which lies in the header, where no grain can lie"),
        Poke(
            offset: 5 * 512 + 36, value: 40, size: 4, code: .truncated, errorOffset: 5 * 512 + 36,
            message: "grain table 0, entry 9: points to a grain at 0x5000, which must lie in the file, "
                + "but that ends at 0x5000"),
    ]

    @Test(arguments: cowdPokes)
    func `one wrong field of VMFSSPARSE makes the error that names it`(poke: Poke) throws {
        let bytes = Self.cowdImage.build().bytes
        let file = MemoryFile(poke.apply(to: bytes + [UInt8](repeating: 0, count: 512)))
        #expect(file.size == 20480)
        let error = imageError { () throws(ImageError) in _ = try Image(layer: openLayer(file)).wholeDisk() }
        #expect(error == poke.error)
    }

    // Sectors: 0 and 1 headers, 16 directory, 20 to 83 grain table, 89 to 104 two grains.
    static let seSparseImage = SESparseImage(capacity: 100, grains: [.data, .zeroed, .data])
    static let seSparsePokes = [
        Poke(
            offset: 8, value: 0x2_0000_0002, size: 8, code: .unsupported, errorOffset: 8,
            message: "version: is 0x200000002, which is not supported; 0x200000001 is"),
        Poke(
            offset: 16, value: 1 << 54, size: 8, code: .corrupt, errorOffset: 16,
            message: "capacity: is 18014398509481984 sectors, but must be at most 18014398509481983"),
        Poke(
            offset: 16, value: 1 << 40 | 1, size: 8, code: .corrupt, errorOffset: 16,
            message: "capacity: is 1099511627777 sectors, which takes a grain directory of 33554433 entries, "
                + "but it must have at most 33554432"),
        Poke(
            offset: 16, value: 1 << 40, size: 8, code: .corrupt, errorOffset: 136,
            message: "grain directory: has 1 sectors, but 1099511627776 sectors of disk take one of 33554432 entries"),
        Poke(
            offset: 24, value: 16, size: 8, code: .unsupported, errorOffset: 24,
            message: "grain size: is 16 sectors, which is not supported; 8 are"),
        Poke(
            offset: 32, value: 4, size: 8, code: .unsupported, errorOffset: 32,
            message: "grain table size: is 4 sectors, which is not supported; 64 are"),
        Poke(
            offset: 40, value: 1, size: 8, code: .unsupported, errorOffset: 40,
            message: "flags: 0x1 are features that are not known"),
        Poke(
            offset: 79, value: 1, size: 1, code: .unsupported, errorOffset: 79,
            message: "reserved: is in use, for a feature that is not known"),
        Poke(
            offset: 511, value: 1, size: 1, code: .unsupported, errorOffset: 511,
            message: "reserved: is in use, for a feature that is not known"),
        Poke(
            offset: 80, value: .max, size: 8, code: .corrupt, errorOffset: 80,
            message: "volatile header: 1 sectors from sector 18446744073709551615 on, "
                + "which must end at sector 18014398509481983"),
        Poke(
            offset: 80, value: 1 << 53, size: 8, code: .truncated, errorOffset: 1 << 62,
            message: "volatile header: takes 512 bytes, but the file ends at 0xd200"),
        Poke(
            offset: 128, value: 0, size: 8, code: .corrupt, errorOffset: 128,
            message: "gdOffset: a grain directory of 1 entries at sector 0 does not lie in the file, "
                + "which has 53760 bytes"),
        Poke(
            offset: 128, value: 105, size: 8, code: .truncated, errorOffset: 128,
            message: "gdOffset: a grain directory of 1 entries at sector 105 does not lie in the file, "
                + "which has 53760 bytes"),
        Poke(
            offset: 136, value: 0, size: 8, code: .corrupt, errorOffset: 136,
            message: "grain directory: has 0 sectors, but 100 sectors of disk take one of 1 entries"),
        Poke(
            offset: 152, value: .max, size: 8, code: .corrupt, errorOffset: 144,
            message: "grain tables: 18446744073709551615 sectors from sector 20 on, "
                + "which must end at sector 18014398509481983"),
        Poke(
            offset: 192, value: (1 << 54) - 50, size: 8, code: .corrupt, errorOffset: 192,
            message: "grains: 104 sectors from sector 18014398509481934 on, "
                + "which must end at sector 18014398509481983"),
        Poke(
            offset: 512, value: 0xcafe_babe, size: 8, code: .corrupt, errorOffset: 512,
            message: "volatile header: its magic is 0xcafebabe, but must be 0x00000000cafecafe"),
        Poke(
            offset: 536, value: 1, size: 8, code: .unsupported, errorOffset: 536,
            message: "volatile header: the extent is dirty: its journal is to be replayed first, which is not supported"
        ),
        Poke(
            offset: 1023, value: 1, size: 1, code: .unsupported, errorOffset: 1023,
            message: "volatile header: reserved: is in use, for a feature that is not known"),
        // The grain directory and the grain table.
        Poke(
            offset: 16 * 512, value: 1, size: 8, code: .corrupt, errorOffset: 16 * 512,
            message: "grain directory entry 0: is 0x1, but must be 0 or begin with 0x10000000"),
        Poke(
            offset: 16 * 512, value: 0x1000_0001_0000_0000, size: 8, code: .corrupt, errorOffset: 16 * 512,
            message: "grain directory entry 0: is 0x1000000100000000, but must be 0 or begin with 0x10000000"),
        Poke(
            offset: 16 * 512, value: 0x1000_0000_0000_0001, size: 8, code: .corrupt, errorOffset: 16 * 512,
            message: "grain directory entry 0: names grain table 1, but there are 1"),
        Poke(
            offset: 144, value: 42, size: 8, code: .truncated, errorOffset: 16 * 512,
            message: "grain directory entry 0: points to a grain table at 0x5400, which must lie in the file, "
                + "but that ends at 0xd200"),
        Poke(
            offset: 20 * 512 + 8, value: 0x0000_0000_0000_0002, size: 8, code: .corrupt, errorOffset: 20 * 512 + 8,
            message: "grain table 0, entry 1: is 0x2, which has no meaning"),
        Poke(
            offset: 20 * 512 + 8, value: 0x4000_0000_0000_0000, size: 8, code: .corrupt, errorOffset: 20 * 512 + 8,
            message: "grain table 0, entry 1: is 0x4000000000000000, which has no meaning"),
        Poke(
            offset: 20 * 512 + 8, value: 0x300d_0000_0000_0000, size: 8, code: .corrupt, errorOffset: 20 * 512 + 8,
            message: "grain table 0, entry 1: names grain 13, but there are 13"),
        Poke(
            offset: 20 * 512 + 8, value: 0x3002_0000_0000_0000, size: 8, code: .truncated, errorOffset: 20 * 512 + 8,
            message: "grain table 0, entry 1: points to a grain at 0xd200, which must lie in the file, "
                + "but that ends at 0xd200"),
    ]

    @Test(arguments: seSparsePokes)
    func `one wrong field of SESPARSE makes the error that names it`(poke: Poke) throws {
        let good = Self.seSparseImage.build().bytes
        #expect(good.count == 105 * 512)
        let file = MemoryFile(poke.apply(to: good))
        let error = imageError { () throws(ImageError) in _ = try Image(layer: openLayer(file)).wholeDisk() }
        #expect(error == poke.error)
    }

    @Test(arguments: [8, 511, 512, 2047])
    func `a file that ends in its header is truncated`(count: Int) throws {
        for bytes in [Self.cowdImage.build().bytes, Self.seSparseImage.build().bytes] {
            let error = imageError { () throws(ImageError) in
                _ = try openLayer(MemoryFile(Array(bytes.prefix(count))))
            }
            // The headers of seSparse have 1,024 bytes, and what 2,047 lack is the directory.
            #expect(error?.code == .truncated)
        }
    }

    @Test func `the last grain of a file may be cut short`() throws {
        let cowd = COWDImage(capacity: 100, grainSize: 8, order: [7, 2])
        let seSparse = SESparseImage(capacity: 100, grains: [.data, .zeroed, .data], order: [2, 0])
        for (bytes, disk, last) in [(cowd.build().bytes, cowd.disk, 2), (seSparse.build().bytes, seSparse.disk, 0)] {
            var disk = disk
            for offset in last * 4096 + 2048..<(last + 1) * 4096 { disk[offset] = 0 }
            #expect(try Image(layer: openLayer(MemoryFile(bytes.dropLast(2048)))).wholeDisk() == disk)
        }
    }

    @Test(arguments: [1, 2])
    func `every byte of the metadata may be anything without a trap`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let images: [([UInt8], [Range<Int>])] = [
            (Self.cowdImage.build().bytes, [0..<64, 1648..<1652, 2048..<2056, 5 * 512..<5 * 512 + 64]),
            (
                Self.seSparseImage.build().bytes,
                [0..<208, 208..<512, 512..<560, 16 * 512..<16 * 512 + 16, 20 * 512..<20 * 512 + 64]
            ),
        ]
        for (good, places) in images {
            var opened = 0
            for _ in 0..<2000 {
                let bytes = flipped(good, in: places, &random)
                let error = imageError { () throws(ImageError) in
                    let image = Image(layer: try openLayer(MemoryFile(bytes)))
                    opened += 1
                    for _ in 0..<8 where image.virtualSize > 0 {
                        let start = UInt64.random(in: 0..<image.virtualSize, using: &random)
                        _ = try image.resolve(at: GuestOffset(start), limit: image.virtualSize - start)
                    }
                    _ = try image.bytes(Int(min(image.virtualSize, 60_000)), at: 0)
                }
                if let error { #expect(error.path == "memory.img") }
            }
            #expect(opened > 200)
        }
    }
}

/// A copy of `good` with one to four bytes of the `places` changed.
func flipped(_ good: [UInt8], in places: [Range<Int>], _ random: inout SeededRandom) -> [UInt8] {
    var bytes = good
    for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = places.randomElement(using: &random)!.randomElement(using: &random)!
        bytes[place] = [0, 1, 0x7f, 0xff, UInt8.random(in: 0...255, using: &random)].randomElement(using: &random)!
    }
    return bytes
}
