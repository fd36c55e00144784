import BlockImage
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import VHDX

/// A change of a good image, and the error that it must lead to.
struct Damage: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var code: ImageError.Code
    var words: String
    var change: @Sendable (VHDXBuilder, inout Pages) -> Void
    var builder: @Sendable () -> VHDXBuilder = {
        var builder = VHDXBuilder(virtualSize: 3 << 20)
        builder.blocks = [0: .present(salt: 1), 1: .state(2), 2: .present(salt: 1)]
        return builder
    }

    init(
        _ name: String, _ code: ImageError.Code, _ words: String,
        _ change: @escaping @Sendable (VHDXBuilder, inout Pages) -> Void
    ) {
        testDescription = name
        self.code = code
        self.words = words
        self.change = change
    }

    /// A builder with another field.
    init(
        _ name: String, _ code: ImageError.Code, _ words: String, built: @escaping @Sendable (inout VHDXBuilder) -> Void
    ) {
        self.init(name, code, words) { _, _ in }
        let usual = builder
        builder = {
            var builder = usual()
            built(&builder)
            return builder
        }
    }
}

private let unknownID = UUID(uuidString: "ABCDEF00-0000-4000-8000-0000000000FF")!

/// Pokes `bytes` into a structure of `size` bytes at `offset`, and mends its check sum.
private func poke(_ bytes: [UInt8], at position: Int, of offset: UInt64, size: Int, _ pages: inout Pages) {
    var structure = pages.bytes(size, at: offset)
    structure.replaceSubrange(position..<position + bytes.count, with: bytes)
    pages.write(VHDXBuilder.summed(structure), at: offset)
}

private func pokeHeaders(_ bytes: [UInt8], at position: Int, _ pages: inout Pages) {
    for offset in [1, 2] as [UInt64] { poke(bytes, at: position, of: offset << 16, size: 4096, &pages) }
}

private func pokeRegions(_ bytes: [UInt8], at position: Int, _ pages: inout Pages) {
    for offset in [3, 4] as [UInt64] { poke(bytes, at: position, of: offset << 16, size: 65536, &pages) }
}

struct `A damaged VHDX image` {
    static let damages: [Damage] = [
        Damage("no identifier", .corrupt, "vhdxfile") { $1.write([0], at: 3) },
        Damage("both headers without a good check sum", .corrupt, "neither header is valid") {
            for offset in [1, 2] as [UInt64] { $1.write([1], at: offset << 16 + 200) }
        },
        Damage("both headers with one number and other contents", .corrupt, "sequence number 1") {
            poke([1], at: 8, of: 2 << 16, size: 4096, &$1)
            poke([9], at: 16, of: 2 << 16, size: 4096, &$1)
        },
        Damage("another version", .unsupported, "version: is 2") { pokeHeaders([2], at: 66, &$1) },
        Damage("both region tables damaged", .corrupt, "neither region table") {
            for offset in [3, 4] as [UInt64] { $1.write([0], at: offset << 16) }
        },
        Damage("too many regions", .corrupt, "entry count") { pokeRegions([0xff, 0xff], at: 8, &$1) },
        Damage("a region at an odd place", .corrupt, "multiple of 1 MiB") { pokeRegions([1], at: 16 + 16, &$1) },
        Damage("a region twice", .corrupt, "is there twice") { builder, pages in
            pokeRegions(pages.bytes(16, at: 3 << 16 + 16), at: 48, &pages)
        },
        Damage("no metadata region", .corrupt, "is missing") { pokeRegions([1], at: 48, &$1) },
        Damage(
            "an unknown region that is required", .unsupported, "abcdef00", built: { $0.regions = [(unknownID, 1)] }),
        Damage("no metadata table", .corrupt, "metadata") { $1.write([0], at: $0.metadataOffset) },
        Damage("too many items", .corrupt, "entry count") { $1.write([0xff, 0xff], at: $0.metadataOffset + 10) },
        Damage("an item past the region", .corrupt, "end of the region") {
            $1.write([0xff, 0xff, 0xff], at: $0.metadataOffset + 32 + 16)
        },
        Damage(
            "an unknown item that is required", .unsupported, "abcdef00", built: { $0.items = [(unknownID, 4, [1])] }),
        Damage("a required item of the user", .unsupported, "of the user", built: { $0.items = [(unknownID, 5, [1])] }),
        Damage(
            "an item twice", .corrupt, "is there twice",
            built: { $0.items = [($0.diskID, 0, [1]), ($0.diskID, 0, [2])] }),
        Damage("no size", .corrupt, "virtual disk size: is missing") {
            $1.write([1], at: $0.metadataOffset + 64)
            $1.write([0], at: $0.metadataOffset + 64 + 24)
        },
        Damage("blocks of 3 MiB", .corrupt, "power of two", built: { $0.blockSize = 3 << 20 }),
        Damage("blocks of 512 MiB", .corrupt, "power of two", built: { $0.blockSize = 512 << 20 }),
        Damage("sectors of 1024 bytes", .corrupt, "must be 512 or 4096", built: { $0.sectorSize = 1024 }),
        Damage("half a sector", .corrupt, "multiple of the logical sector size", built: { $0.virtualSize += 100 }),
        Damage("more than 64 TiB", .corrupt, "at most 64 TiB") {
            $1.write((64 << 40 + 512 as UInt64).littleEndianBytes, at: $0.metadataOffset + 65536 + 8)
        },
        Damage("a table that is too small", .corrupt, "takes") {
            $1.write((1 << 40 as UInt64).littleEndianBytes, at: $0.metadataOffset + 65536 + 8)
        },
        Damage("a state without a meaning", .corrupt, "state 4") { $1.write([4], at: $0.entryOffset(1)) },
        Damage("a partial block without a parent", .corrupt, "but the disk has none") {
            $1.write([7], at: $0.entryOffset(1))
        },
        Damage("a block in the header area", .corrupt, "where none can lie") { $1.write([6], at: $0.entryOffset(1)) },
        Damage("a block past the end", .truncated, "but the file ends at") {
            $1.write((1 << 50 | 6 as UInt64).littleEndianBytes, at: $0.entryOffset(1))
        },
        Damage("a file that is cut in its last block", .truncated, "ends") { $1.size -= 4096 },
        Damage("a file that is cut in its table", .truncated, "BAT") { $1.size = $0.tableOffset + 8 },
        Damage("a file that is cut in its metadata", .truncated, "metadata") { $1.size = $0.metadataOffset + 8 },
        Damage("a parent locator of another type", .corrupt, "type", built: { $0.parent = [("a", "b")] }).changing {
            $1.write([0], at: $0.metadataOffset + 65536 + 40)
        },
        Damage("a text past the locator", .corrupt, "no text in UTF-16", built: { $0.parent = [("a", "b")] }).changing {
            $1.write([0xff, 0xff], at: $0.metadataOffset + 65536 + 40 + 20)
        },
    ]

    @Test(arguments: damages)
    func `is refused with the place and the reason`(damage: Damage) throws {
        let builder = damage.builder()
        var pages = builder.build()
        damage.change(builder, &pages)
        let error = try #require(failure(of: pages))
        #expect(error.code == damage.code && error.message.contains(damage.words), "\(error)")
        #expect(error.path == "memory.vhdx" && error.offset != nil, "\(error)")
    }

    @Test func `is read by the other of what there is twice`() throws {
        var builder = VHDXBuilder(virtualSize: 1 << 20)
        builder.blocks = [0: .present(salt: 3)]
        for offset in [1, 2, 3] as [UInt64] {
            var pages = builder.build()
            pages.write([9], at: offset << 16 + 9)
            let description = try VHDXDescription(of: PagedFile(pages))
            #expect(description.notes.count == 1, "\(description.notes)")
            #expect(try areSame(openVHDX(pages).wholeDisk(), builder.disk()))
            #expect(try check(pages).findingCount > 0)
        }
        // Disk2vhd makes both headers alike.
        var pages = builder.build()
        pages.write(builder.header(sequenceNumber: 2), at: 1 << 16)
        #expect(try areSame(openVHDX(pages).wholeDisk(), builder.disk()))
        // Regions and items that need not be known are passed over.
        builder.regions = [(unknownID, 0)]
        builder.items = [(unknownID, 0, [1, 2])]
        #expect(try areSame(openVHDX(builder.build()).wholeDisk(), builder.disk()))
    }

    @Test func `has only so much lost as an entry stands for`() throws {
        let damage = Self.damages[0]
        let builder = damage.builder()
        var pages = builder.build()
        pages.write([4], at: builder.entryOffset(1))
        let measured = try openVHDX(pages).measure()
        #expect(measured.lost.ranges.map { $0.start..<$0.end } == [1 << 20..<2 << 20])
    }
}

extension Damage {
    /// The same with a change of what was built.
    fileprivate func changing(_ change: @escaping @Sendable (VHDXBuilder, inout Pages) -> Void) -> Damage {
        var damage = self
        damage.change = change
        return damage
    }
}
