import BlockImage
import FormatCore
import HostTools
import TestImages
import Testing

@testable import VHDX

struct `A VHDX disk` {
    @Test(arguments: UInt64(1)...12)
    func `is read as its blocks have it, from anywhere`(seed: UInt64) throws {
        let builder = VHDXBuilder(seed: seed, hasParent: false)
        try expect(openVHDX(builder.build()), toBe: builder.disk(), seed: seed)
    }

    @Test(arguments: UInt64(1)...12)
    func `that is differencing is read over its parent`(seed: UInt64) throws {
        let builder = VHDXBuilder(seed: seed, hasParent: true)
        var base = VHDXBuilder(seed: seed &* 31, hasParent: false)
        base.sectorSize = builder.sectorSize
        // A parent can be smaller.
        base.virtualSize = base.virtualSize / 4096 * 4096
        base.blocks = base.blocks.filter { $0.key < base.blockCount }
        let image = try openVHDX(builder.build(), backing: try openVHDX(base.build()))
        try expect(image, toBe: builder.disk(over: base.disk()), seed: seed)
    }

    private func expect(_ image: Image, toBe disk: [UInt8], seed: UInt64) throws {
        #expect(try areSame(image.wholeDisk(), disk), "seed \(seed)")
        var random = SeededRandom(seed: seed)
        for _ in 0..<40 {
            let start = Int.random(in: 0..<disk.count, using: &random)
            let count = Int.random(in: 1...min(disk.count - start, 70_000), using: &random)
            let found = try image.bytes(count, at: UInt64(start))
            #expect(areSame(found, disk[start..<start + count]), "seed \(seed): \(count) bytes at \(start)")
        }
        let (sum, error) = image.allocation()
        #expect(error == nil)
        #expect(sum.data + sum.zero + sum.unallocated == image.virtualSize)
    }

    @Test func `has blocks that follow each other as one run, across the entry of a sector bitmap`() throws {
        var builder = VHDXBuilder(virtualSize: 40 << 28)
        builder.blockSize = 256 << 20
        // 16 blocks to a chunk. What they have is a hole of the file.
        var pages = builder.build()
        for block in 0..<40 as Range<UInt64> {
            pages.write((builder.dataOffset + block << 28 | 6).littleEndianBytes, at: builder.entryOffset(block))
        }
        pages.size = builder.dataOffset + 40 << 28
        let run = try openVHDX(pages).resolve(at: GuestOffset(0), limit: .max)
        #expect(run.count == 40 << 28)
        guard case .data(_, let offset) = run.extent.storage else { throw ToolFailure(description: "\(run)") }
        #expect(offset.rawValue == builder.dataOffset)
    }

    @Test func `of 64 TiB is opened without its table being read`() throws {
        var builder = VHDXBuilder(virtualSize: 64 << 40)
        builder.blocks = [0: .present(salt: 1), (64 << 20) - 1: .present(salt: 2)]
        let file = PagedFile(builder.build())
        let resources = LayerResources()
        let image = try openVHDX(file, resources: resources)
        #expect(image.virtualSize == 64 << 40)
        #expect(resources.tables.cost == 0)
        let last = VHDXBuilder.content(of: (64 << 20) - 1, size: 1 << 20, 512, salt: 2)
        #expect(try image.bytes(512, at: 64 << 40 - 512) == Array(last.suffix(512)))
        #expect(resources.tables.cost < 100_000)
    }

    @Test func `says what it is`() throws {
        var builder = VHDXBuilder(virtualSize: 3 << 20)
        builder.sectorSize = 4096
        builder.parent = [
            ("parent_linkage", "{20000000-0000-4000-8000-00000000000A}"), ("relative_path", ".\\base.vhdx"),
            ("absolute_win32_path", "D:\\vm\\base.vhdx"),
        ]
        let image = VHDXImage(try VHDXDescription(of: PagedFile(builder.build())))
        #expect("\(image.identity?.description ?? "")" == "20000000-0000-4000-8000-000000000002")
        let backing = try #require(image.backing)
        #expect("\(backing.identity?.description ?? "")" == "20000000-0000-4000-8000-00000000000a")
        #expect(backing.usualFormat == "vhdx" && backing.sought.text == ".\\base.vhdx")
        var info = ImageInfo(path: "x", format: "vhdx", actualSize: 0)
        image.add(to: &info, listsAll: true)
        #expect(info.virtualSize == 3 << 20 && info.clusterSize == 1 << 20 && info.dirtyFlag == false)
    }
}
