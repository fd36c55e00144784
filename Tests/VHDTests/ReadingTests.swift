import BlockImage
import FormatCore
import HostTools
import TestImages
import Testing

@testable import VHD

struct `A VHD is read` {
    @Test(arguments: [3, 4] as [UInt32], 1...12 as ClosedRange<UInt64>)
    func `by its table and its bitmaps`(kind: UInt32, seed: UInt64) throws {
        var random = SeededRandom(seed: seed &* 2 &+ UInt64(kind))
        let blockSize = [512, 4096, 65536].randomElement(using: &random) ?? 4096
        let size = Int.random(in: 1...200, using: &random) * 512
        let parent = (0..<size).map { UInt8(truncatingIfNeeded: $0 / 512 &* 31 &+ 2) }
        let (builder, disk) = VHDBuilder.random(
            kind: kind, size: size, blockSize: blockSize, over: parent, using: &random)
        var made = builder
        if kind == 4 { made.parent = (Array(2...17), 0, "base.vhd") }
        let backing = kind == 4 ? Image(layer: RawLayer(file: MemoryFile(parent))) : nil
        let image = try openVHD(made.build().bytes, over: backing)
        #expect(image.virtualSize == UInt64(size))
        #expect(areSame(try image.wholeDisk(), disk), "seed \(seed)")
        for _ in 0..<200 {
            let start = Int.random(in: 0..<size, using: &random)
            let count = Int.random(in: 1...min(3000, size - start), using: &random)
            let found = try image.bytes(count, at: UInt64(start))
            #expect(areSame(found, disk[start..<start + count]), "\(count) at \(start), seed \(seed)")
        }
        #expect(try describeVHD(made.build().bytes).check { _ in }?.corruptions == 0)
    }

    @Test(arguments: [512, 511])
    func `byte for byte where it is fixed`(footerSize: Int) throws {
        var builder = VHDBuilder(size: 70000)
        builder.kind = 2
        builder.footerSize = footerSize
        let bytes = (0..<70000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        builder.blocks[0] = VHDBuilder.Block(written: [], bytes: bytes)
        let image = try openVHD(builder.build().bytes)
        #expect(areSame(try image.wholeDisk(), bytes))
    }

    @Test func `with a footer of 511 bytes also in blocks`() throws {
        var builder = VHDBuilder.small
        builder.footerSize = 511
        let whole = try openVHD(VHDBuilder.small.build().bytes).wholeDisk()
        #expect(areSame(try openVHD(builder.build().bytes).wholeDisk(), whole))
    }

    @Test func `by the copy at its beginning where its footer is damaged or cut off`() throws {
        let built = VHDBuilder.small.build()
        let whole = try openVHD(built.bytes).wholeDisk()
        var damaged = built
        damaged.poke(UInt8(1), at: built.footer + 50, keepsSums: true)
        for bytes in [damaged.bytes, Array(built.bytes.dropLast(512))] {
            let image = try describeVHD(bytes)
            #expect(image.notes.count == 1 && image.notes[0].description.contains("the copy at the beginning is read"))
            #expect(areSame(try openVHD(bytes).wholeDisk(), whole))
            #expect(try image.check { _ in }?.corruptions == 1)
        }
        var fixed = VHDBuilder(size: 4096)
        fixed.kind = 2
        // A fixed disk may begin with a VHD, which is the guest's.
        fixed.blocks[0] = VHDBuilder.Block(written: [], bytes: Array(built.bytes.prefix(4096)))
        #expect(areSame(try openVHD(fixed.build().bytes).wholeDisk(), Array(built.bytes.prefix(4096))))
    }

    @Test func `by no copy that the guest of a fixed disk may have written`() throws {
        for kind: UInt32 in [3, 4] {
            var inner = VHDBuilder.small
            inner.kind = kind
            if kind == 4 { inner.parent = ([UInt8](repeating: 7, count: 16), 0, "other.vhd") }
            let guest = Array(inner.build().bytes.prefix(4096))
            var fixed = VHDBuilder(size: 4096)
            fixed.kind = 2
            fixed.identity = [UInt8](repeating: 9, count: 16)
            fixed.blocks[0] = VHDBuilder.Block(written: [], bytes: guest)
            let built = fixed.build()
            var damaged = built
            damaged.poke(UInt8(1), at: built.footer + 100, keepsSums: true)
            #expect(try describeVHD(damaged.bytes).backing == nil)
            #expect(areSame(try openVHD(damaged.bytes).wholeDisk(), guest))
            // The type of the footer itself is damaged.
            damaged = built
            damaged.poke(UInt32(3), at: built.footer + 60, keepsSums: true)
            #expect(failure(of: damaged.bytes)?.code == .corrupt)
            // Without a footer it cannot be told from a dynamic disk that was cut; it names no other file.
            let cut = Array(built.bytes.dropLast(512))
            if kind == 4 {
                #expect(failure(of: cut)?.message.contains("could have written it there") == true)
            } else {
                #expect(try describeVHD(cut).notes.first?.description.contains("has no footer at its end") == true)
            }
        }
    }

    @Test func `where both copies have the same wrong checksum, as a program that knows of none leaves it`() throws {
        var built = VHDBuilder.small.build()
        for start in [0, built.footer] { built.poke(UInt32(1), at: start + 24, keepsSums: true) }
        let image = try describeVHD(built.bytes)
        #expect(image.notes.count == 1 && image.notes[0].description.contains("it is read as it stands"))
        built.poke(UInt32(2), at: built.footer + 24, keepsSums: true)
        #expect(failure(of: built.bytes)?.message.hasPrefix("footer: checksum: is 0x") == true)
    }

    @Test func `in the size of its field, and QEMU's other one is noted`() throws {
        var builder = VHDBuilder.small
        builder.creator = "vbox"
        let image = try describeVHD(builder.build().bytes)
        #expect(image.description.virtualSize == builder.size)
        #expect(image.notes.count == 1 && image.notes[0].description.contains("a geometry of 34816"))
        builder.geometry = (.max, 16, 255)
        #expect(try describeVHD(builder.build().bytes).notes.isEmpty)
        #expect(try describeVHD(VHDBuilder.small.build().bytes).notes.isEmpty)
    }

    @Test func `and space is set aside where a bitmap says that nothing was written`() throws {
        let built = VHDBuilder.small.build()
        let layer = try #require(try describeVHD(built.bytes).layer)
        let extent = try layer.extent(at: GuestOffset(2 * 4096 + 1024), limit: 4096)
        guard case .zero(explicit: true) = extent.storage else {
            Issue.record("\(extent.storage)")
            return
        }
        #expect(extent.count == 3 * 512)
        #expect(extent.reserved?.offset == HostOffset(UInt64(try #require(built.bitmaps[2])) + 512 + 1024))
    }
}
