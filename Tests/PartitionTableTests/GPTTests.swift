import BlockImage
import PartitionTable
import TestImages
import Testing

struct `A GPT` {
    private let entries = [BuiltDisk.Entry(first: 40, last: 49), BuiltDisk.Entry(first: 60, last: 60)]

    /// A disk of 256 sectors: the usable ones are LBA 34 to 222, the backup is LBA 255.
    private func disk(_ changes: (inout BuiltDisk) -> Void = { _ in }) -> BuiltDisk {
        var disk = BuiltDisk()
        disk.setGPT(entries)
        changes(&disk)
        return disk
    }

    private func ranges(_ table: PartitionTable) -> [String] {
        table.partitions.map { "\($0.number): \($0.start.rawValue / 512)+\($0.size / 512)" }
    }

    @Test func `that is whole has nothing to be noted`() {
        let table = disk().table()
        #expect(table.scheme == .gpt && table.notes == [] && !table.usedBackup)
        #expect(ranges(table) == ["1: 40+10", "2: 60+1"])
        #expect(table.diskID == "a3a2a1a0-a5a4-a7a6-a8a9-aaabacadaeaf")
        #expect(table.partitions[1].uuid == "44434241-4645-4847-494a-4b4c4d4e4f50")
        #expect(table.partitions[0].typeName == nil)
    }

    @Test(arguments: [
        (8, "there is no header: the sector does not begin with 'EFI PART'"),
        (12, "the header's size is 91, but must be 92 to 512"),
        (13, "the header's size is 513, but must be 92 to 512"),
        (16, "the check sum of the header is 0x"),
        (24, "the header says that it lies at LBA 2"),
        (40, "the usable sectors are LBA 256 to 222, but the disk has 256 sectors"),
        (48, "the usable sectors are LBA 34 to 33, but the disk has 256 sectors"),
        (
            72,
            "the entries cannot be read: disk: LBA 18446744073709551615: 16384 bytes are needed there, "
                + "but it has 256 sectors"
        ),
        (73, "the entries cannot be read: disk: LBA 225: 16384 bytes are needed there, but it has 256 sectors"),
        (80, "there are 4294967295 entries of 128 bytes, but must be at least one, and at most 4194304 bytes"),
        (81, "there are 0 entries of 128 bytes, but must be at least one, and at most 4194304 bytes"),
        (84, "the size of an entry is 2147483648, but must be 128, 256, … or 4096"),
        (85, "the size of an entry is 192, but must be 128, 256, … or 4096"),
        (86, "the size of an entry is 0, but must be 128, 256, … or 4096"),
        (88, "the check sum of the entries is 0x"),
    ])
    func `that is damaged at one end is read from the other, and says why`(field: Int, fault: String) throws {
        for lba in [1, 255] {
            let table = disk { damage(&$0, at: lba * 512, field: field) }.table()
            #expect(ranges(table) == ["1: 40+10", "2: 60+1"])
            #expect(table.usedBackup == (lba == 1))
            let end = lba == 1 ? "primary GPT at LBA 1: " : "backup GPT at LBA 255: "
            let first = try #require(table.notes.first)
            #expect(first.hasPrefix(end + fault), "\(first)")
            #expect(Array(table.notes.dropFirst()) == (lba == 1 ? ["the backup GPT at LBA 255 is used"] : []))
        }
    }

    private func damage(_ disk: inout BuiltDisk, at header: Int, field: Int) {
        switch field {
        case 8: disk.poke(UInt8(0), at: header)
        case 12: disk.poke(UInt32(91), at: header + 12)
        case 13: disk.poke(UInt32(513), at: header + 12)
        case 16: disk.poke(UInt8(1), at: header + 60)
        case 24: disk.poke(UInt64(2), at: header + 24)
        case 40: disk.poke(UInt64(256), at: header + 40)
        case 48: disk.poke(UInt64(33), at: header + 48)
        case 72: disk.poke(UInt64.max, at: header + 72)
        case 73: disk.poke(UInt64(225), at: header + 72)
        case 80: disk.poke(UInt32.max, at: header + 80)
        case 81: disk.poke(UInt32(0), at: header + 80)
        case 84: disk.poke(UInt32(1) << 31, at: header + 84)
        case 85: disk.poke(UInt32(192), at: header + 84)
        case 86: disk.poke(UInt32(0), at: header + 84)
        default:
            let array = Int(disk.peek(UInt64.self, at: header + 72)) * 512
            disk.poke(UInt8(1), at: array + 5000)
        }
        if ![12, 13, 16, 88].contains(field) { disk.seal(header / 512, withEntries: false) }
    }

    @Test func `that is damaged at both ends is none, and says why`() {
        let damaged = disk {
            $0.poke(UInt8(0), at: 512 + 60)
            $0.poke(UInt8(0), at: 255 * 512 + 60)
        }
        #expect(damaged.table().scheme == .none && damaged.table().partitions == [])
        #expect(damaged.table().notes.count == 2)
        #expect(
            damaged.table().notes[0]
                == "sector 0 has a protective entry (type 0xee), but there is no GPT that can be used")
        #expect(
            damaged.table().notes[1].hasPrefix("primary GPT at LBA 1 of 512 bytes: the check sum of the header is 0x"))
        let lost = disk { $0.bytes.replaceSubrange(512..., with: Array(repeating: 0, count: 255 * 512)) }
        #expect(lost.table().notes == Array(damaged.table().notes.prefix(1)))
    }

    @Test func `that is longer than this disk, or shorter, is found by what the other copy says`() {
        // Grown: the backup is where the primary says.
        let grown = disk { $0.bytes += Array(repeating: 0, count: 100 * 512) }
        #expect(ranges(grown.table()) == ["1: 40+10", "2: 60+1"] && !grown.table().usedBackup)
        #expect(grown.table().notes == ["the backup GPT is said to be at LBA 255, but the last sector is LBA 355"])
        // … even where the primary's check sum is wrong.
        var damaged = grown
        damaged.poke(UInt8(0), at: 512 + 60)
        #expect(ranges(damaged.table()) == ["1: 40+10", "2: 60+1"] && damaged.table().usedBackup)
        #expect(damaged.table().notes.last == "the backup GPT at LBA 255 is used")
        // Cut.
        let cut = disk { $0.bytes.removeLast(211 * 512) }
        #expect(ranges(cut.table()) == ["1: 40+5"])
        #expect(
            cut.table().notes == [
                "the backup GPT is said to be at LBA 255, but the last sector is LBA 44",
                "the GPT is of a larger disk: its last usable sector is LBA 222, but the disk has 45 sectors",
                "partition 1: ends at LBA 49, but the disk has 45 sectors: it is cut there",
                "partition 2: begins at LBA 60, but the disk has 45 sectors: it is left out",
            ])
    }

    @Test func `whose copies differ says in what`() {
        let differing = disk {
            $0.poke(UInt8(0), at: 255 * 512 + 60)
            $0.poke(UInt64(200), at: 255 * 512 + 48)
            $0.poke(UInt8(1), at: 223 * 512 + 5000)
            $0.seal(255)
        }
        #expect(
            differing.table().notes == [
                "primary and backup GPT differ in the disk's GUID and the usable sectors and the entries"
            ])
    }

    @Test func `with entries that make no sense has the others`() {
        var disk = BuiltDisk()
        disk.setGPT([
            BuiltDisk.Entry(first: 50, last: 49), BuiltDisk.Entry(first: 0, last: .max),
            BuiltDisk.Entry(first: .max, last: .max), BuiltDisk.Entry(first: 34, last: 222),
            BuiltDisk.Entry(first: 33, last: 40, type: Array(repeating: 0, count: 16)),
            BuiltDisk.Entry(first: 33, last: 33),
        ])
        let table = disk.table()
        #expect(ranges(table) == ["2: 0+256", "4: 34+189", "6: 33+1"])
        #expect(
            table.notes == [
                "partition 1: ends at LBA 49, before it begins at LBA 50: it is left out",
                "partition 2: ends at LBA 18446744073709551615, but the disk has 256 sectors: it is cut there",
                "partition 2: is LBA 0 to 18446744073709551615, but the usable sectors are LBA 34 to 222",
                "partition 3: begins at LBA 18446744073709551615, but the disk has 256 sectors: it is left out",
                "partition 6: is LBA 33 to 33, but the usable sectors are LBA 34 to 222",
                "partitions 2 and 6 overlap",
                "partitions 2 and 4 overlap",
            ])
    }

    @Test(
        arguments: [
            ([0x61, 0xd83d, 0xde00, 0x62, 0, 0x63], "a😀b"),
            ([0xd83d, 0x61], "\u{fffd}a"),
            ([0x2f, 0x0a, 0xde00], "/\n\u{fffd}"),
            (Array(repeating: 0x78, count: 36), String(repeating: "x", count: 36)),
            ([], ""),
        ] as [([UInt16], String)])
    func `has names in UTF-16, up to the first zero`(units: [UInt16], name: String) {
        var disk = BuiltDisk()
        disk.setGPT([BuiltDisk.Entry(first: 40, last: 40, name: units)])
        guard case .gpt(_, _, _, let found)? = disk.table().partitions.first?.entry else {
            Issue.record("there is no partition")
            return
        }
        #expect(found == name)
    }

    @Test(arguments: [(4, 128), (1, 4096), (64, 256), (16, 1024)])
    func `may have few entries, or large ones`(count: Int, size: Int) {
        var disk = BuiltDisk()
        disk.setGPT([BuiltDisk.Entry(first: 40, last: 49)], count: count, entrySize: size)
        #expect(ranges(disk.table()) == ["1: 40+10"])
        #expect(disk.table().notes == [])
    }

    @Test func `has at most 1,024 partitions, and few notes on each`() {
        var disk = BuiltDisk(sectors: 2000)
        disk.setGPT(Array(repeating: BuiltDisk.Entry(first: 700, last: 700), count: 1500), count: 1500)
        let table = disk.table()
        #expect(table.partitions.map(\.number) == Array(1...1024))
        #expect(table.notes.count == 65)
        #expect(table.notes[0] == "the GPT has used entries after the first 1024, which are not read")
        #expect(table.notes[1] == "partitions 1 and 2 overlap")
        #expect(table.notes[64] == "960 more faults are not listed")
    }

    @Test func `counts where the MBR names partitions too`() {
        let hybrid = disk {
            $0.setEntry(1, type: 0x07, first: 40, count: 10)
            $0.setEntry(3, type: 0x83, first: 60, count: 1)
        }
        #expect(ranges(hybrid.table()) == ["1: 40+10", "2: 60+1"])
        #expect(
            hybrid.table().notes == [
                "the MBR is a hybrid: its entries 2, 4 name partitions too, but those of the GPT count"
            ])
    }

    @Test func `needs a protective entry`() {
        let note =
            "there is a GPT at LBA 1 of 512 bytes, but sector 0 has no protective entry (type 0xee): it is not used"
        let forgotten = disk { $0.setEntry(0, type: 0x83, first: 100, count: 10) }
        #expect(forgotten.table().scheme == .mbr && forgotten.table().notes.map(\.description) == [note])
        #expect(ranges(forgotten.table()) == ["1: 100+10"])
        let wiped = disk { $0.bytes.replaceSubrange(0..<512, with: Array(repeating: 0, count: 512)) }
        #expect(wiped.table().scheme == .none && wiped.table().notes.map(\.description) == [note])
    }

    @Test(arguments: [512, 4096])
    func `is found by its backup where the first sectors were wiped`(sectorSize: Int) {
        var sound = BuiltDisk(sectors: 2048, sectorSize: sectorSize)
        sound.setGPT([BuiltDisk.Entry(first: 40, last: 49), BuiltDisk.Entry(first: 1000, last: 1999)])
        let note =
            "the first sectors of the disk, where the protective MBR and the primary GPT were, are zeros; the backup GPT at "
            + "LBA 2047 is used"
        // The protective MBR and the header; and the entries, too.
        for count in [2, 34] {
            var wiped = sound
            wiped.bytes.replaceSubrange(0..<count * sectorSize, with: repeatElement(0, count: count * sectorSize))
            let table = wiped.table()
            #expect(ranges(table) == ["1: 40+10", "2: 1000+1000"] || sectorSize == 4096)
            #expect(table.partitions.map(\.size) == [10, 1000].map { UInt64($0 * sectorSize) })
            #expect(table.usedBackup && table.scheme == .gpt && table.notes.map(\.description) == [note])
        }
        // A file system that leaves the first sectors alone was made on the disk since.
        for place in [1080, 4096, 16_383] {
            var formatted = sound
            formatted.bytes.replaceSubrange(0..<16_384, with: repeatElement(0, count: 16_384))
            formatted.bytes[place] = 0xef
            let table = formatted.table()
            #expect(table.scheme == .none && table.partitions == [])
            #expect(table.notes.first?.hasPrefix("there is a backup GPT at LBA 2047") == true)
        }
        var neither = sound
        neither.bytes.replaceSubrange(0..<2 * sectorSize, with: repeatElement(0, count: 2 * sectorSize))
        neither.poke(UInt8(0), at: 2047 * sectorSize + 60)
        #expect(neither.table().scheme == .none && neither.table().notes == [])
    }

    @Test func `is found in sectors of 4096 bytes, at both ends`() {
        var disk = BuiltDisk(sectors: 64, sectorSize: 4096)
        disk.setGPT([BuiltDisk.Entry(first: 10, last: 19)])
        for table in [disk.table(), disk.table(sectorSize: .bytes4096)] {
            #expect(table.notes == [] && table.sectorSize == .bytes4096)
            #expect(table.partitions.map(\.start.rawValue) == [40960] && table.partitions.map(\.size) == [40960])
        }
        #expect(
            disk.table(sectorSize: .bytes512).notes == [
                "sector 0 has a protective entry (type 0xee), but there is no GPT that can be used",
                "primary GPT at LBA 1 of 512 bytes: there is no header: the sector does not begin with 'EFI PART'",
            ])
        disk.poke(UInt8(0), at: 4096)
        let table = disk.table()
        #expect(table.usedBackup && table.sectorSize == .bytes4096 && table.partitions.map(\.size) == [40960])
    }

    @Test func `with partitions of a dynamic disk has a note`() {
        let note = "this is a dynamic disk of Windows (LDM): its volumes are not read, and may span several disks"
        var disk = BuiltDisk()
        disk.setEntry(0, type: 0x42, first: 63, count: 100)
        #expect(disk.table().notes == [])
        disk.bytes.replaceSubrange(6 * 512..<6 * 512 + 8, with: Array("PRIVHEAD".utf8))
        #expect(disk.table().partitions.map(\.number) == [1] && disk.table().notes.map(\.description) == [note])
        var gpt = BuiltDisk()
        let type: [UInt8] = [
            0xa0, 0x60, 0x9b, 0xaf, 0x31, 0x14, 0x62, 0x4f, 0xbc, 0x68, 0x33, 0x11, 0x71, 0x4a, 0x69, 0xad,
        ]
        gpt.setGPT([.init(first: 50, last: 100, type: type)])
        #expect(gpt.table().notes.map(\.description) == [note])
    }
}
