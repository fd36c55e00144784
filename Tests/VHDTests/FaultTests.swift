import BlockImage
import FormatCore
import HostTools
import TestImages
import Testing

@testable import VHD

struct `A damaged VHD` {
    /// The sound file: the table is at 1536, its blocks from 2048 on.
    static let good = VHDBuilder.small.build()

    @Test(
        arguments: [
            (12, 0x20000, .unsupported, "footer: file format version: is 2.0, which is not supported; 1.0 is"),
            (
                60, 5, .unsupported,
                "footer: disk type: is 5, which is not supported; 2 (fixed), 3 (dynamic) and 4 (differencing) are"
            ),
            (48, 0x8000_0000, .corrupt, "footer: current size: is 9223372036854788608, but must be less than 2^63"),
            (20, 0x7fff_fff0, .truncated, "dynamic header: takes 1024 bytes, but the file ends at 0x2e00"),
        ] as [(Int, UInt32, ImageError.Code, String)])
    func `whose footer cannot be is refused`(
        offset: Int, value: UInt32, code: ImageError.Code, message: String
    ) {
        var built = Self.good
        for start in [0, built.footer] { built.poke(value, at: start + offset) }
        let error = failure(of: built.bytes)
        #expect(error?.code == code && error?.message == message, "\(error?.description ?? "read")")
    }

    @Test(
        arguments: [
            (0, 0x6378_7370, 512, "dynamic header: cookie: is no dynamic header's, which must be \"cxsparse\""),
            (24, 0x20000, 536, "dynamic header: header version: is 2.0, which is not supported; 1.0 is"),
            (32, 3000, 544, "dynamic header: block size: is 3000, but must be a power of two from 512 to 2147483648"),
            (32, 256, 544, "dynamic header: block size: is 256, but must be a power of two from 512 to 2147483648"),
            (28, 3, 540, "dynamic header: max table entries: is 3, but a disk of 12800 bytes has 4 blocks of 4096"),
            (16, 1, 528, "dynamic header: table offset: is 0x100000600, but the file ends at 0x2e00"),
        ] as [(Int, UInt32, UInt64, String)])
    func `whose header cannot be is refused`(offset: Int, value: UInt32, place: UInt64, message: String) {
        var built = Self.good
        // The first letters of the cookie in another order.
        built.poke(offset == 0 ? value.byteSwapped : value, at: built.header + offset)
        let error = failure(of: built.bytes)
        #expect(error?.message == message && error?.offset == HostOffset(place), "\(error?.description ?? "read")")
    }

    @Test func `whose header has a wrong checksum is refused`() {
        var built = Self.good
        built.poke(UInt32(9), at: built.header + 56, keepsSums: true)
        let error = failure(of: built.bytes)
        #expect(error?.code == .corrupt && error?.offset == HostOffset(512 + 36))
        #expect(error?.message.hasPrefix("dynamic header: checksum: is 0x") == true)
    }

    @Test func `is read but for blocks that do not lie in its file`() throws {
        var built = Self.good
        built.poke(UInt32(0x0fff_ffff), at: built.table)
        let image = try openVHD(built.bytes)
        let error = imageError { _ = try image.bytes(1, at: 0) }
        #expect(error?.code == .truncated && error?.offset == HostOffset(1536))
        #expect(image.lost(at: GuestOffset(0), limit: .max) == 4096)
        #expect(try image.bytes(1, at: 8192) == [9])
        // The data of the last block is cut.
        let cut = try openVHD(Array(Self.good.bytes.prefix(Self.good.footer - 512)))
        #expect(try cut.bytes(1, at: 3 * 4096 - 513) == [9])
        #expect(imageError { _ = try cut.bytes(1, at: 3 * 4096 - 512) }?.code == .truncated)
        let fixed = try openVHD(
            {
                var builder = VHDBuilder(size: 4096)
                builder.kind = 2
                return Array(builder.build().bytes.dropFirst(1024))
            }())
        #expect(try fixed.bytes(3072, at: 0).count == 3072)
        #expect(imageError { _ = try fixed.bytes(1, at: 3072) }?.code == .truncated)
    }

    @Test(arguments: [0, 1, 3] as [UInt32])
    func `is not read where its table leads to its headers or to itself`(sector: UInt32) throws {
        var built = Self.good
        built.poke(sector, at: built.table)
        let error = imageError { _ = try openVHD(built.bytes).bytes(1, at: 0) }
        #expect(error?.code == .corrupt && error?.offset == HostOffset(1536))
        #expect(error?.message.hasSuffix("where the headers or the table lie, and no block") == true)
        #expect(try describeVHD(built.bytes).check { _ in }?.findings.contains { $0.kind == .overlap } == true)
    }

    private func findings(_ change: (inout VHDBuilder.Built) -> Void) throws -> [CheckFinding] {
        var built = Self.good
        change(&built)
        return try describeVHD(built.bytes).check { _ in }?.findings ?? []
    }

    @Test func `is found by its check`() throws {
        #expect(try findings { _ in }.map(\.kind) == [.bitmap])
        let overlap = try findings { $0.poke(UInt32($0.bitmaps[2]! / 512 + 1), at: $0.table) }
        #expect(overlap.map(\.kind).contains(.overlap), "\(overlap)")
        let inTable = try findings { $0.poke(UInt32(3), at: $0.table) }
        #expect(inTable.contains { $0.message.description.contains("inside the block allocation table") }, "\(inTable)")
        let outside = try findings { $0.poke(UInt32(5000), at: $0.table + 4) }
        #expect(outside.map(\.kind).contains(.outOfFile), "\(outside)")
        let footer = try findings { $0.poke(UInt32(1), at: 24) }
        #expect(footer.map(\.kind).contains(.redundancy), "\(footer)")
    }

    static let extremes: [UInt64] = [
        0, 1, 2, 4, 511, 512, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 55, (1 << 62) - 1,
        1 << 62, (1 << 63) - 1, 1 << 63, .max - 511, .max,
    ]

    /// Opens the image, reads the ends of its disk, walks its runs, checks it and lists its structures.
    private func exercise(_ bytes: [UInt8]) {
        let layout = try? VHDLayout(MemoryFile(bytes))
        try? layout?.list(to: NoConsumer(), LayoutOptions(showsEntries: true, entryLimit: 100))
        guard let described = try? describeVHD(bytes), let layer = described.layer else { return }
        let image = Image(layer: layer)
        _ = try? image.bytes(Int(min(image.virtualSize, 40000)), at: 0)
        if image.virtualSize > 512 { _ = try? image.bytes(512, at: image.virtualSize - 512) }
        var position = GuestOffset(0)
        for _ in 0..<50 where position.rawValue < image.virtualSize {
            guard let found = try? image.resolve(at: position, limit: .max) else {
                position = position.advanced(by: image.lost(at: position, limit: .max))
                continue
            }
            position = position.advanced(by: found.extent.count)
        }
        if image.virtualSize < 1 << 30 { _ = try? described.check { _ in } }
    }

    @Test(arguments: [2, 3, 4] as [UInt32])
    func `with every field at its extremes ends in an error, never in a trap`(kind: UInt32) {
        var builder = VHDBuilder.small
        builder.kind = kind
        builder.parent = (Array(2...17), 0, "base.vhd")
        builder.locators = [("W2ru", ".\\base.vhd".utf16LittleBytes)]
        let good = builder.build()
        let starts = kind == 2 ? [good.footer] : [0, 512, good.table]
        for offset in starts.flatMap({ stride(from: $0, to: $0 + 96, by: 4) })
            + (kind == 2 ? [] : [512 + 576, 512 + 584, 512 + 592])
        {
            for value in Self.extremes {
                var damaged = good
                damaged.poke(UInt32(truncatingIfNeeded: value), at: offset)
                // Both copies, so that the change is meant.
                if kind != 2, offset < 512 { damaged.poke(UInt32(truncatingIfNeeded: value), at: good.footer + offset) }
                exercise(damaged.bytes)
                guard offset + 8 <= damaged.bytes.count else { continue }
                damaged = good
                damaged.poke(value, at: offset)
                if kind != 2, offset < 504 { damaged.poke(value, at: good.footer + offset) }
                exercise(damaged.bytes)
            }
        }
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `with noise in it ends in an error, never in a trap`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<200 {
            var bytes = Self.good.bytes
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            exercise(bytes)
        }
    }
}

/// Takes everything, and does nothing with it.
final class NoConsumer: LayoutConsumer {
    func begin(_ structure: LayoutStructure) {}
    func add(_ field: LayoutField) {}
    func add(_ entry: LayoutEntry) {}
    func fault(_ message: ErrorText) {}
    func note(_ message: ErrorText) {}
    func omit(_ count: UInt64, _ what: String) {}
    func end() {}
}
