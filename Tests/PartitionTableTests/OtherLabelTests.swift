import BlockImage
import Foundation
import HostTools
import PartitionTable
import TestImages
import Testing

struct `A VTOC of Solaris in an MBR partition` {
    private typealias Slice = (tag: UInt16, first: UInt32, count: UInt32)

    private func disk(type: UInt8 = 0x82, _ slices: [Slice], count: UInt16 = 16, version: UInt32 = 1) -> BuiltDisk {
        var disk = BuiltDisk(sectors: 4000)
        disk.setEntry(1, type: type, first: 64, count: 2000)
        let start = 65 * 512
        disk.poke(UInt32(0x600d_deee), at: start + 12)
        disk.poke(version, at: start + 16)
        disk.poke(count, at: start + 30)
        for (index, slice) in slices.enumerated() {
            disk.poke(slice.tag, at: start + 72 + 12 * index)
            disk.poke(slice.first, at: start + 76 + 12 * index)
            disk.poke(slice.count, at: start + 80 + 12 * index)
        }
        return disk
    }

    private func ranges(_ table: PartitionTable) -> [String] {
        table.partitions.map { "\($0.number): \($0.start.rawValue / 512)+\($0.size / 512)" }
    }

    @Test func `has its slices after the logical partitions, counted from the partition`() throws {
        let disk = disk([(2, 16, 300), (3, 316, 100), (0, 0, 0), (8, 416, 200), (1, 0, 8)])
        let table = disk.table()
        #expect(
            ranges(table) == ["2: 64+2000", "5: 80+300", "6: 380+100", "7: 480+200", "8: 64+8"] && table.notes.isEmpty)
        #expect(
            table.partitions.map(\.typeName) == [
                "Linux swap / Solaris", "Solaris root", "Solaris swap", "Solaris home", "Solaris boot",
            ])
        guard Tool.areThere("partx") else { return }
        let folder = try TemporaryFolder()
        let path = folder.file("disk.raw")
        try Data(disk.bytes).write(to: URL(fileURLWithPath: path))
        #expect(table.rows() == (try Partx.rows(path)))
    }

    @Test func `has slices beside the whole, and 8 or 16 of them`() {
        // Linux gives the whole a number; partx does not.
        #expect(
            ranges(disk(type: 0xbf, [(2, 16, 300), (5, 0, 2000), (8, 416, 200)]).table()) == [
                "2: 64+2000", "5: 80+300", "6: 64+2000", "7: 480+200",
            ])
        #expect(disk([(2, 16, 300), (5, 0, 2000), (8, 416, 200)]).table().notes.isEmpty)
        let many: [Slice] = (0..<20).map { (2, 20 + $0 * 10, 10) }
        #expect(disk(many).table().partitions.count == 17 && disk(many, count: 8).table().partitions.count == 9)
    }

    @Test func `is left out where it is none, and its slices where they are not in it`() {
        #expect(disk(type: 0x83, [(2, 16, 300)]).table().partitions.count == 1)
        #expect(disk([(2, 16, 300)], version: 2).table().partitions.count == 1)
        let table = disk([(2, 1990, 11), (2, .max, .max), (8, 16, 1)]).table()
        #expect(ranges(table) == ["2: 64+2000", "7: 80+1"])
        #expect(
            table.notes.map(\.description) == [
                "partition 2: slice 0 of its Solaris VTOC is 11 sectors from LBA 2054 on, not wholly in it: it is left out",
                "partition 2: slice 1 of its Solaris VTOC is 4294967295 sectors from LBA 4294967359 on, not wholly in it: it is left out",
            ])
    }
}

struct `A table of another system` {
    @Test func `is named for a dynamic disk of Windows`() {
        var disk = BuiltDisk(sectors: 4000)
        disk.setEntry(0, type: 0x42, first: 63, count: 3000)
        #expect(disk.table().partitions.map(\.typeName) == ["SFS"] && disk.table().notes.isEmpty)
        disk.bytes.replaceSubrange(6 * 512..<6 * 512 + 8, with: "PRIVHEAD".utf8)
        #expect(disk.table().partitions.map(\.typeName) == ["Windows dynamic disk (LDM)"])
        #expect(
            disk.table().notes.map(\.description).first?.hasPrefix("this is a dynamic disk of Windows (LDM)") == true)
    }

    @Test(arguments: [512, 2048]) func `is named for an Apple partition map`(block: Int) {
        var disk = BuiltDisk(sectors: 4000)
        disk.bytes.replaceSubrange(0..<4, with: Array("ER".utf8) + [UInt8(block >> 8), UInt8(block & 255)])
        #expect(disk.table().scheme == .none)
        disk.bytes.replaceSubrange(block..<block + 2, with: "PM".utf8)
        let table = disk.table()
        #expect(table.scheme == .apple && table.partitions.isEmpty)
        #expect(
            table.notes.map(\.description) == [
                "this disk has an Apple partition map (APM), whose partitions are not read"
            ])
        // A hybrid: other systems go by the MBR.
        disk.setEntry(0, type: 0x83, first: 100, count: 100)
        #expect(disk.table().scheme == .mbr)
    }
}
