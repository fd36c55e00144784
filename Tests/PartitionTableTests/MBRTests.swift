import BlockImage
import PartitionTable
import TestImages
import Testing

struct `An MBR` {
    private func ranges(_ table: PartitionTable) -> [String] {
        table.partitions.map { "\($0.number): \($0.start.rawValue / 512)+\($0.size / 512)" }
    }

    @Test func `numbers logical partitions on from 5, and passes over empty records of the chain`() {
        var disk = BuiltDisk()
        disk.setEntry(1, type: 0x0f, first: 50, count: 150)
        disk.setEntry(0, of: 50, type: 0x83, first: 1, count: 4)
        disk.setEntry(1, of: 50, type: 0x05, first: 20, count: 10)
        disk.setEntry(1, of: 70, type: 0x05, first: 40, count: 10)
        disk.setEntry(0, of: 90, type: 0x07, first: 2, count: 5)
        let table = disk.table()
        #expect(ranges(table) == ["5: 51+4", "6: 92+5"])
        #expect(table.extendedPartitions.map(\.number) == [2])
        #expect(table.notes == [])
    }

    @Test func `may have up to four entries in each record of the chain, if the last two make sense`() {
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0x05, first: 50, count: 150)
        disk.setEntry(0, of: 50, type: 0x05, first: 60, count: 20)
        disk.setEntry(1, of: 50, type: 0x83, first: 1, count: 4)
        disk.setEntry(2, of: 50, type: 0x83, first: 10, count: 5)
        disk.setEntry(3, of: 50, type: 0x83, first: 140, count: 11)
        disk.setEntry(0, of: 110, type: 0x83, first: 1, count: 4)
        disk.setEntry(2, of: 110, type: 0x83, first: 10, count: 11)
        disk.setEntry(3, of: 110, type: 0x83, first: 10, count: 10)
        let table = disk.table()
        #expect(ranges(table) == ["5: 51+4", "6: 60+5", "7: 111+4", "8: 120+10"])
        #expect(table.notes == [])
    }

    @Test func `whose chain comes back ends there`() {
        for target in [50, 70] {
            var disk = BuiltDisk()
            disk.setEntry(3, type: 0x05, first: 50, count: 150)
            disk.setEntry(0, of: 50, type: 0x83, first: 1, count: 4)
            disk.setEntry(1, of: 50, type: 0x05, first: 20, count: 10)
            disk.setEntry(0, of: 70, type: 0x83, first: 1, count: 4)
            disk.setEntry(1, of: 70, type: 0x05, first: UInt32(target - 50), count: 10)
            let table = disk.table()
            #expect(ranges(table) == ["5: 51+4", "6: 71+4"])
            #expect(
                table.notes == [
                    "extended partition 4: the chain of boot records comes back to LBA \(target): it ends there"
                ])
        }
        var disk = BuiltDisk()
        disk.setEntry(3, type: 0x05, first: 0, count: 150)
        #expect(
            disk.table().notes == ["extended partition 4: the chain of boot records comes back to LBA 0: it ends there"]
        )
    }

    @Test func `whose chain leaves the disk, or finds no record, ends there`() {
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0x05, first: 50, count: 150)
        disk.setEntry(0, of: 50, type: 0x83, first: 1, count: 4)
        disk.setEntry(1, of: 50, type: 0x05, first: .max, count: .max)
        #expect(ranges(disk.table()) == ["5: 51+4"])
        #expect(
            disk.table().notes == [
                "extended partition 1: the boot record at LBA 4294967345 cannot be read: "
                    + "disk: LBA 4294967345: 512 bytes are needed there, but it has 256 sectors"
            ])
        disk.setEntry(1, of: 50, type: 0x05, first: 20, count: 10)
        #expect(
            disk.table().notes == [
                "extended partition 1: the boot record at LBA 70: the signature is 0x0000, but must be 0x55aa"
            ])
    }

    @Test func `has at most 256 records in its chains`() {
        var disk = BuiltDisk(sectors: 1000)
        disk.setEntry(0, type: 0x05, first: 10, count: 990)
        for index in 0..<300 {
            disk.setEntry(0, of: 10 + index * 3, type: 0x83, first: 1, count: 2)
            disk.setEntry(1, of: 10 + index * 3, type: 0x05, first: UInt32(index * 3 + 3), count: 3)
        }
        let table = disk.table()
        #expect(table.partitions.map(\.number) == Array(5..<261))
        #expect(table.notes == ["extended partition 1: has more than 256 boot records: the rest is not read"])
    }

    @Test func `with two extended partitions has both, and a note`() {
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0x05, first: 50, count: 50)
        disk.setEntry(2, type: 0x85, first: 150, count: 50)
        disk.setEntry(0, of: 50, type: 0x83, first: 1, count: 4)
        disk.setEntry(0, of: 150, type: 0x83, first: 1, count: 4)
        let table = disk.table()
        #expect(ranges(table) == ["5: 51+4", "6: 151+4"])
        #expect(table.extendedPartitions.map(\.number) == [1, 3])
        #expect(table.notes == ["there are 2 extended partitions, but an MBR must have one at most"])
    }

    @Test func `of a larger disk has what is on this one`() {
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0x83, first: 200, count: 56)
        disk.setEntry(1, type: 0x83, first: 100, count: 157)
        disk.setEntry(2, type: 0x83, first: 256, count: 1)
        disk.setEntry(3, type: 0x83, first: .max, count: .max)
        let table = disk.table()
        #expect(ranges(table) == ["1: 200+56", "2: 100+156"])
        #expect(
            table.notes == [
                "partition 2: ends at LBA 256, but the disk has 256 sectors: it is cut there",
                "partition 3: begins at LBA 256, but the disk has 256 sectors: it is left out",
                "partition 4: begins at LBA 4294967295, but the disk has 256 sectors: it is left out",
                "partitions 1 and 2 overlap",
            ])
    }

    @Test func `without a signature names no UUIDs`() {
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0x83, first: 10, count: 5, indicator: 0x80)
        #expect(disk.table().diskID == nil)
        #expect(
            disk.table().partitions == [
                Partition(
                    number: 1, start: GuestOffset(5120), size: 2560, entry: .mbr(type: 0x83, isActive: true), uuid: nil)
            ])
        disk.poke(UInt32(0xabcd), at: 440)
        #expect(disk.table().diskID == "0x0000abcd")
        #expect(disk.table().partitions[0].uuid == "0000abcd-01")
        disk.setEntry(1, type: 0x55, first: 20, count: 5)
        #expect(disk.table().partitions.map(\.typeName) == ["Linux", nil])
    }

    @Test func `needs its signature, and boot indicators that are some`() {
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0x83, first: 10, count: 5)
        disk.setEntry(3, type: 0, first: 0, count: 0, indicator: 1)
        #expect(disk.table().scheme == .none)
        disk.poke(UInt8(0x80), at: 494)
        #expect(disk.table().scheme == .mbr)
        disk.poke(UInt8(0), at: 511)
        #expect(disk.table() == BuiltDisk().table())
    }

    @Test func `is not there on a disk of less than a sector, or on one that cannot be read`() {
        var disk = BuiltDisk(sectors: 1)
        disk.setEntry(0, type: 0x83, first: 0, count: 1)
        #expect(ranges(disk.table()) == ["1: 0+1"])
        disk.bytes.removeLast()
        #expect(disk.table().scheme == .none && disk.table().fault == nil)

        final class Broken: ImageLayer {
            let virtualSize: UInt64 = 1 << 20
            func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
                throw ImageError(.corrupt, path: "broken.img", "no good")
            }
        }
        let table = PartitionTable(of: Image(layer: Broken()))
        #expect(table.scheme == .none && table.partitions == [])
        #expect(table.fault == ImageError(.corrupt, path: "broken.img", "no good"))
    }

    /// The start of a FAT boot sector as mkfs.fat writes it for a disk of `sectors`.
    private func setFAT(_ disk: inout BuiltDisk) {
        disk.bytes.replaceSubrange(0..<11, with: [0xeb, 0x3c, 0x90] + Array("mkfs.fat".utf8))
        disk.bytes.replaceSubrange(11..<24, with: [0, 2, 4, 4, 0, 2, 0, 2, 0, 1, 0xf8, 10, 0])
        disk.sign()
    }

    @Test func `is not the boot sector of a file system`() {
        var fat = BuiltDisk()
        setFAT(&fat)
        #expect(fat.table().scheme == .none)
        // What mkfs.fat --mbr=y adds: the whole file system as a partition of itself.
        fat.setEntry(0, type: 6, first: 0, count: 256, indicator: 0x80)
        #expect(fat.table() == BuiltDisk().table())
        // A byte of a boot program that looks like a protective entry.
        fat.setEntry(0, type: 0xee, first: 0x2020_2020, count: 256)
        #expect(fat.table() == BuiltDisk().table())

        var ntfs = BuiltDisk()
        ntfs.bytes.replaceSubrange(0..<14, with: [0xeb, 0x52, 0x90] + Array("NTFS    ".utf8) + [0, 2, 8])
        ntfs.sign()
        #expect(ntfs.table() == BuiltDisk().table())
        var exFAT = BuiltDisk()
        exFAT.bytes.replaceSubrange(0..<11, with: [0xeb, 0x76, 0x90] + Array("EXFAT   ".utf8))
        exFAT.sign()
        #expect(exFAT.table() == BuiltDisk().table())
        // Without any of that it is an MBR that names nothing.
        exFAT.poke(UInt8(1), at: 20)
        #expect(exFAT.table().scheme == .mbr)
    }

    @Test func `stays one where a boot loader left the parameters of a former file system`() {
        var disk = BuiltDisk()
        setFAT(&disk)
        disk.setEntry(0, type: 0x83, first: 63, count: 100)
        #expect(ranges(disk.table()) == ["1: 63+100"])
        #expect(disk.table().notes == ["sector 0 is an MBR, but also the boot sector of a FAT file system"])
    }
}
