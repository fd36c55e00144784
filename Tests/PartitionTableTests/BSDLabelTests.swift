import BlockImage
import Foundation
import HostTools
import PartitionTable
import TestImages
import Testing

struct `A BSD disklabel in an MBR partition` {
    private typealias Slice = (size: UInt32, offset: UInt32, type: UInt8)

    private func setLabel(_ disk: inout BuiltDisk, at sector: Int, _ slices: [Slice], count: Int? = nil) {
        let start = (sector + 1) * 512
        disk.poke(UInt32(0x8256_4557), at: start)
        disk.poke(UInt32(0x8256_4557), at: start + 132)
        disk.poke(UInt16(count ?? slices.count), at: start + 138)
        for (index, slice) in slices.enumerated() {
            let entry = start + 148 + 16 * index
            disk.poke(slice.size, at: entry)
            disk.poke(slice.offset, at: entry + 4)
            disk.poke(slice.type, at: entry + 12)
        }
        // partx, unlike the kernel, looks only at labels whose words are 0 together, and on no disk of 1.44 MB or less.
        let words = stride(from: start, to: start + 148 + 16 * slices.count, by: 2).map {
            disk.peek(UInt16.self, at: $0)
        }
        disk.poke(words.reduce(0, ^), at: start + 136)
    }

    private func ranges(_ table: PartitionTable) -> [String] {
        table.partitions.map { "\($0.number): \($0.start.rawValue / 512)+\($0.size / 512)" }
    }

    /// What partx says of `disk`; nil where it is not there.
    private func judged(_ disk: BuiltDisk) throws -> [Row]? {
        guard Tool.areThere("partx") else { return nil }
        let folder = try TemporaryFolder()
        let path = folder.file("disk.raw")
        try Data(disk.bytes).write(to: URL(fileURLWithPath: path))
        return try Partx.rows(path)
    }

    private func expect(
        _ disk: BuiltDisk, _ expected: [String], notes: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let table = disk.table()
        #expect(ranges(table) == expected, sourceLocation: sourceLocation)
        #expect(table.notes.map(\.description) == notes, sourceLocation: sourceLocation)
        if let rows = try judged(disk) {
            #expect(table.rows(containers: true) == rows, sourceLocation: sourceLocation)
        }
    }

    @Test(arguments: [UInt8(0xa5), 0xa6, 0xa9])
    func `has its slices behind the logical partitions, counted from the disk's start`(type: UInt8) throws {
        var disk = BuiltDisk(sectors: 4000)
        disk.poke(UInt32(0xc0ff_ee01), at: 440)
        disk.setEntry(0, type: type, first: 63, count: 400, indicator: 0x80)
        setLabel(&disk, at: 63, [(100, 79, 7), (50, 179, 1), (400, 63, 0), (400, 63, 7), (30, 433, 0x1b)])
        try expect(disk, ["1: 63+400", "5: 79+100", "6: 179+50", "7: 433+30"])
        let table = disk.table()
        #expect(table.partition(5)?.entry == .bsd(type: 7) && table.partition(5)?.uuid == nil)
        #expect(table.partitions.map(\.typeName).suffix(3) == ["4.2BSD", "BSD swap", "ZFS"])

        disk.setEntry(1, type: 0x05, first: 500, count: 100)
        disk.setEntry(0, of: 500, type: 0x83, first: 1, count: 4)
        #expect(
            ranges(disk.table()) == ["1: 63+400", "5: 501+4", "6: 79+100", "7: 179+50", "8: 433+30"])
    }

    @Test func `of FreeBSD may count from the partition`() throws {
        var disk = BuiltDisk(sectors: 4000)
        disk.setEntry(2, type: 0xa5, first: 63, count: 100)
        setLabel(&disk, at: 63, [(20, 16, 7), (10, 36, 1), (100, 0, 0)])
        try expect(disk, ["3: 63+100", "5: 79+20", "6: 99+10"])
        disk.setEntry(2, type: 0xa6, first: 63, count: 100)
        #expect(ranges(disk.table()) == ["3: 63+100"])
        // As its third entry says, also where the label does not count that one.
        disk.setEntry(2, type: 0xa5, first: 63, count: 100)
        setLabel(&disk, at: 63, [(20, 16, 7), (10, 36, 1)])
        #expect(ranges(disk.table()) == ["3: 63+100", "5: 79+20", "6: 99+10"])
    }

    @Test func `leaves out what is not wholly in the partition, and reads 16 entries`() throws {
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0xa6, first: 63, count: 100)
        setLabel(&disk, at: 63, [(20, 62, 7), (20, 143, 7), (21, 143, 7), (.max, .max, 7)])
        let left = [("a", "20", "62"), ("c", "21", "143"), ("d", "4294967295", "4294967295")].map {
            "partition 1: \($0) of its BSD disklabel is \($1) sectors from LBA \($2) on, not wholly in it: it is left out"
        }
        #expect(ranges(disk.table()) == ["1: 63+100", "5: 143+20"])
        #expect(disk.table().notes.map(\.description) == left)
        setLabel(&disk, at: 63, (0..<20).map { (1, 70 + UInt32($0), 7) }, count: 0xffff)
        #expect(disk.table().partitions.map(\.number) == [1] + Array(5..<21))
        setLabel(&disk, at: 63, [(20, 70, 7), (20, 80, 7)])
        #expect(disk.table().notes == ["partitions 5 and 6 overlap"])
        setLabel(&disk, at: 63, [(0, 70, 7), (20, 80, 7)])
        #expect(ranges(disk.table()) == ["1: 63+100", "6: 80+20"])
    }

    @Test func `is not looked for in a partition of another type, of one sector, or past the end of the disk`() {
        for (type, count, sector) in [(UInt8(0x83), UInt32(100), 63), (0xa5, 1, 63), (0xa5, 100, 255)] {
            var disk = BuiltDisk(sectors: sector == 255 ? 256 : 300)
            disk.setEntry(0, type: type, first: UInt32(sector), count: count)
            if sector < 255 { setLabel(&disk, at: sector, [(1, UInt32(sector), 7)]) }
            #expect(disk.table().partitions.map(\.number) == [1])
        }
    }
}
