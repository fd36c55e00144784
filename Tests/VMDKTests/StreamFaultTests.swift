import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

@Suite struct `Damaged streams of compressed grains` {
    struct Poke: Sendable, CustomTestStringConvertible {
        /// Where, from the start of the file, of the second grain's marker, or of the footer.
        enum Base { case file, grain, footer }
        var base: Base
        var offset: Int
        var value: UInt64
        var size: Int
        var code: ImageError.Code
        var message: String
        var testDescription: String { message }
    }

    static let image = StreamImage(capacity: 60, order: [0, 2, 7])
    static let end = "0x\(String(image.build().bytes.count, radix: 16))"

    static let pokes = [
        Poke(
            base: .file, offset: 8, value: 0x1_0001, size: 4, code: .unsupported,
            message: "flags: bit 16, compressed grains, is not supported without bit 17, markers before them"),
        Poke(
            base: .file, offset: 8, value: 0x2_0001, size: 4, code: .unsupported,
            message: "flags: bit 17, grains with markers, is not supported without bit 16, compression"),
        Poke(
            base: .file, offset: 20, value: 16384, size: 8, code: .unsupported,
            message: "grainSize: is 16384 sectors, which is not supported where grains are compressed; up to 8192 are"),
        Poke(
            base: .file, offset: 77, value: 2, size: 2, code: .unsupported,
            message: "compressAlgorithm: is 2, which is not supported where flags has bit 16, compressed grains; "
                + "1, deflate, is"),
        Poke(
            base: .file, offset: 64, value: 1000, size: 8, code: .truncated,
            message: "overHead: 1000 sectors of metadata, but the file has only \(image.build().bytes.count) bytes"),
        Poke(
            base: .grain, offset: 0, value: 24, size: 8, code: .corrupt,
            message: "grain marker: is that of the grain at sector 24 of the extent, but the grain table has it for "
                + "the one at sector 16"),
        Poke(
            base: .grain, offset: 8, value: 0, size: 4, code: .corrupt,
            message: "grain marker: its size is 0, but must be that of a grain"),
        Poke(
            base: .grain, offset: 8, value: 8193, size: 4, code: .corrupt,
            message: "grain marker: its size is 8193, but must be at most 8192, twice the grain"),
        Poke(
            base: .grain, offset: 8, value: 0xffff_ffff, size: 4, code: .corrupt,
            message: "grain marker: its size is 4294967295, but must be at most 8192, twice the grain"),
        Poke(
            base: .grain, offset: 8, value: 40, size: 4, code: .corrupt,
            message: "grain 2: the zlib stream is damaged, is cut or holds more than 4096 bytes"),
        Poke(
            base: .grain, offset: 100, value: .max, size: 8, code: .corrupt,
            message: "grain 2: the zlib stream is damaged, is cut or holds more than 4096 bytes"),
    ]

    @Test(arguments: pokes)
    func `one wrong field makes the error that names it`(poke: Poke) throws {
        let built = Self.image.build()
        var bytes = built.bytes
        let base =
            switch poke.base {
            case .file: 0
            case .grain: built.grains[2]!
            case .footer: built.footer + 512
            }
        for index in 0..<poke.size {
            bytes[base + poke.offset + index] = UInt8(truncatingIfNeeded: poke.value >> UInt64(index * 8))
        }
        let error = imageError { () throws(ImageError) in
            _ = try Image(layer: openLayer(MemoryFile(bytes))).wholeDisk()
        }
        let offset = poke.base == .grain ? base : poke.offset
        #expect(
            error == ImageError(poke.code, path: "memory.img", offset: HostOffset(UInt64(offset)), "\(poke.message)"))
    }

    @Test func `grains in the tables that the file cuts short are truncated`() throws {
        // The tables come first, as QEMU writes them, so that the cut leaves them.
        let built = Self.image.build()
        let start = built.grains[7]!
        let dataSize = Int(built.bytes[start + 8]) | Int(built.bytes[start + 9]) << 8
        let marker = built.bytes[start..<start + 12 + dataSize]
        var bytes = built.bytes
        let table = built.tables + 512
        let place = bytes.count
        bytes.put(UInt32(place / 512), at: table + 7 * 4)
        bytes.put(UInt64(built.directory / 512 + 1), at: 56)
        for cut in [marker.count - 1, 12, 11, 1] {
            let size = marker.count - cut
            let layer = try openLayer(MemoryFile(bytes + marker.prefix(size)))
            let error = imageError { () throws(ImageError) in _ = try Image(layer: layer).bytes(1, at: 7 * 4096) }
            #expect(error?.code == .truncated)
            #expect(error?.offset == HostOffset(UInt64(place)))
            #expect(
                error?.message.hasPrefix(
                    size < 12 ? "grain marker: takes 12 bytes" : "grain marker: its grain reaches to") == true)
            #expect(try Image(layer: layer).bytes(4096, at: 0) == Array(Self.image.disk[..<4096]))
        }
        let gone = try openLayer(MemoryFile(bytes))
        let error = imageError { () throws(ImageError) in _ = try Image(layer: gone).bytes(1, at: 7 * 4096) }
        #expect(
            error
                == ImageError(
                    .truncated, path: "memory.img", offset: HostOffset(UInt64(table + 28)),
                    "grain table 0, entry 7: points to a grain at \(Self.end), which must lie in the file, "
                        + "but that ends at \(Self.end)"))
    }

    /// The stream with its second grain's data replaced, and its tables to match.
    private func stream(holding content: [UInt8], in index: Int) throws -> [UInt8] {
        var built = Self.image.build()
        built.bytes.put(UInt64(built.directory / 512 + 1), at: 56)
        built.bytes.put(UInt32(built.bytes.count / 512), at: built.tables + 512 + index * 4)
        built.append(grain: index * 8, Compressing.zlib(content))
        return built.bytes
    }

    @Test func `only the disk's last grain may hold less than a grain, and none more`() throws {
        // 60 sectors: the last grain has four.
        for (index, count, needed) in [(2, 4095, 4096), (2, 2048, 4096), (2, 0, 4096), (7, 2047, 2048), (7, 0, 2048)] {
            let bytes = try stream(holding: [UInt8](repeating: 7, count: count), in: index)
            let image = Image(layer: try openLayer(MemoryFile(bytes)))
            let error = imageError { () throws(ImageError) in _ = try image.bytes(1, at: UInt64(index) * 4096) }
            #expect(error?.code == .corrupt)
            #expect(error?.message == "grain \(index): the zlib stream holds \(count) bytes, but must hold \(needed)")
        }
        for count in [2048, 2049, 4096] {
            let bytes = try stream(holding: [UInt8](repeating: 7, count: count), in: 7)
            let image = Image(layer: try openLayer(MemoryFile(bytes)))
            #expect(try image.bytes(2048, at: 7 * 4096) == [UInt8](repeating: 7, count: 2048))
        }
        let bytes = try stream(holding: [UInt8](repeating: 7, count: 4097), in: 7)
        let image = Image(layer: try openLayer(MemoryFile(bytes)))
        #expect(imageError { () throws(ImageError) in _ = try image.bytes(1, at: 7 * 4096) }?.code == .corrupt)
    }

    @Test func `a grain's data is none of another grain's, also when it is in the cache`() throws {
        let built = Self.image.build()
        var bytes = built.bytes
        bytes.put(UInt32(built.grains[0]! / 512), at: built.tables + 512 + 5 * 4)
        let image = Image(layer: try openLayer(MemoryFile(bytes)))
        for _ in 0..<2 {
            #expect(try image.bytes(4096, at: 0) == Array(Self.image.disk[..<4096]))
            let error = imageError { () throws(ImageError) in _ = try image.bytes(1, at: 5 * 4096) }
            #expect(error?.message.hasPrefix("grain marker: is that of the grain at sector 0 of the extent") == true)
        }
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func `every byte may be anything, and the file cut anywhere, without a trap`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let image = StreamImage(
            capacity: 100, grainSize: 4, tableEntryCount: 8, order: [0, 1, 2, 5, 6, 9, 8, 12, 24], progressInterval: 3)
        let built = image.build()
        let grains = built.grains.values.map { $0..<$0 + 16 }
        let places =
            grains + [0..<80, built.tables..<built.tables + 600, built.directory..<built.directory + 560]
            + [built.footer..<built.footer + 16, built.footer + 512..<built.footer + 592]
        var opened = 0
        for round in 0..<1000 {
            var bytes = flipped(built.bytes, in: places, &random)
            if round % 3 == 0 { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            let error = imageError { () throws(ImageError) in
                let image = Image(layer: try openLayer(MemoryFile(bytes)))
                opened += 1
                for _ in 0..<4 where image.virtualSize > 0 {
                    let start = UInt64.random(in: 0..<image.virtualSize, using: &random)
                    _ = try image.resolve(at: GuestOffset(start), limit: image.virtualSize - start)
                    _ = imageError { () throws(ImageError) in _ = try image.bytes(1, at: start) }
                }
                _ = image.allocation(walkLimit: 1000)
                _ = try image.bytes(Int(min(image.virtualSize, 51_200)), at: 0)
            }
            if let error { #expect(error.path == "memory.img" || error.path == "disk") }
        }
        #expect(opened > 400)
    }
}
