import BlockImage
import Foundation
import HostTools
import PartitionTable
import Synchronization
import TestImages
import Testing

/// Real tables that something happened to, and disks that have none, judged by partx.
@Suite(.enabled(if: Tool.areThere("sfdisk", "partx", "mkfs.fat", "mkfs.ext4")))
struct `A damaged disk has the partitions that Linux's tools still see` {
    private func gpt() throws -> TestDisk {
        let disk = try TestDisk()
        try disk.partition("label: gpt\nsize=1M, type=U\nsize=2M, name=\"two\"\n")
        return disk
    }

    private let zeros = Array(repeating: UInt8(0), count: 512)

    @Test func `when a GPT lost its primary, or its backup`() throws {
        let whole = try gpt()
        let rows = try Partx.rows(whole.path)
        #expect(rows.count == 2)
        let last = (64 << 20) / 512 - 1
        let cases: [(offset: Int, count: Int, usesBackup: Bool, note: String)] = [
            (512, 33, true, "primary GPT at LBA 1: there is no header: the sector does not begin with 'EFI PART'"),
            (1024, 1, true, "primary GPT at LBA 1: the check sum of the entries is 0x"),
            (512 + 60, 1, true, "primary GPT at LBA 1: "),
            (
                -512, 1, false,
                "backup GPT at LBA \(last): there is no header: the sector does not begin with 'EFI PART'"
            ),
            (-33 * 512, 1, false, "backup GPT at LBA \(last): the check sum of the entries is 0x"),
        ]
        for (offset, count, usesBackup, note) in cases {
            let disk = try TestDisk()
            try Tool.check("cp", "--sparse=always", whole.path, disk.path)
            let bytes = Array(repeating: zeros, count: count).flatMap { $0 }
            try disk.poke(offset == 512 + 60 ? [1, 2, 3] : bytes, at: offset)
            let table = try disk.table()
            #expect(table.usedBackup == usesBackup)
            #expect(try table.rows() == rows && Partx.rows(disk.path) == rows)
            #expect(table.notes.first?.hasPrefix(note) == true, "\(table.notes)")
            #expect(table.notes.count == (usesBackup ? 2 : 1))
        }
    }

    @Test func `when a GPT lost its protective MBR with the primary, which partx needs`() throws {
        let disk = try gpt()
        let rows = try disk.table().rows()
        try disk.poke(zeros + zeros, at: 0)
        let table = try disk.table()
        #expect(table.rows() == rows && table.usedBackup && rows.count == 2)
        #expect(try Partx.rows(disk.path) == [])
        // What was formatted as a whole since is a file system, and no partitions.
        try Tool.check("mkfs.ext4", "-q", "-F", disk.path)
        #expect(try disk.table().partitions == [])
    }

    @Test func `when a GPT lost both`() throws {
        let disk = try gpt()
        try disk.poke(zeros, at: 512)
        try disk.poke(zeros, at: -512)
        #expect(try Partx.rows(disk.path) == [])
        let table = try disk.table()
        #expect(table.scheme == .none && table.partitions == [] && table.diskID == nil)
        #expect(
            table.notes == ["sector 0 has a protective entry (type 0xee), but there is no GPT that can be used"])
    }

    @Test func `when its MBR is a hybrid`() throws {
        let disk = try gpt()
        // Entry 2 names what is partition 2 of the GPT.
        try disk.poke([0, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 0, 0], at: 462)
        #expect(try disk.table().rows() == Partx.rows(disk.path))
        #expect(
            try disk.table().notes == [
                "the MBR is a hybrid: its entries 2 name partitions too, but those of the GPT count"
            ])
    }

    @Test func `when the disk grew`() throws {
        let disk = try gpt()
        let rows = try Partx.rows(disk.path)
        try disk.resize(80 << 20)
        #expect(try disk.table().rows() == rows && Partx.rows(disk.path) == rows)
        #expect(
            try disk.table().notes == [
                "the backup GPT is said to be at LBA 131071, but the last sector is LBA 163839"
            ])
    }

    @Test func `when it has a file system and no table`() throws {
        let commands = [
            "mkfs.fat \"$1\"", "mkfs.fat -F 32 -s 1 \"$1\"", "mkfs.fat --mbr=y \"$1\"",
            "mkfs.fat -F 32 --mbr=n -S 4096 \"$1\"",
            "mkfs.ext4 -q -F \"$1\"", "mkswap \"$1\"", "head -c 1000000 /dev/zero | tr '\\0' '\\377' >\"$1\"",
        ]
        for command in commands {
            let disk = try TestDisk(size: 40 << 20)
            try Shell.check(command, disk.path)
            let table = try disk.table()
            #expect(table.scheme == .none && table.notes == [] && table.partitions == [], "\(command)")
            #expect(try Partx.rows(disk.path) == [], "\(command)")
        }
    }

    /// Changes bytes of the table of an MBR with logical partitions, and compares what is then seen.
    @Test(arguments: 1...60 as ClosedRange<UInt64>)
    func `whatever byte of an MBR changed`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = try TestDisk(size: 1 << 20)
        let records = [0, 100, 300, 500]
        var bytes = BuiltDisk(sectors: 2048)
        bytes.poke(UInt32(0x1234_5678), at: 440)
        bytes.setEntry(0, type: 0x83, first: 20, count: 50)
        bytes.setEntry(2, type: 0x05, first: 100, count: 1900)
        for (index, record) in records.enumerated().dropFirst() {
            bytes.setEntry(0, of: record, type: 0x83, first: 3, count: 100)
            if index < 3 { bytes.setEntry(1, of: record, type: 0x05, first: UInt32(200 * index), count: 200) }
        }
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            let record = records.randomElement(using: &random) ?? 0
            let field = [0, 4, 8, 9, 12, 13].randomElement(using: &random) ?? 0
            let values: [UInt8] = [0, 1, 5, 0x0f, 0x80, 0x85, 0xff, .random(in: 0...255, using: &random)]
            let offset = record * 512 + 446 + Int.random(in: 0..<4, using: &random) * 16 + field
            bytes.poke(values.randomElement(using: &random) ?? 0, at: offset)
        }
        try disk.poke(bytes.bytes, at: 0)
        let table = try disk.table()
        // partx shows what is past the end of the disk as well, where Linux cuts.
        let judged = try Partx.rows(disk.path).filter { $0.start < 1 << 20 }.map { row in
            var row = row
            row.size = min(row.size, 1 << 20 - row.start)
            // Of a boot indicator's bits only one has a meaning.
            row.attributes &= 0x80
            return row
        }
        let rows = table.rows(containers: true)
        if Set(rows.map(\.start)).count == rows.count {
            #expect(rows == judged, "seed \(seed): \(table.notes)")
        } else {
            // libblkid, other than Linux, has no second partition that begins where another does.
            #expect(places(rows) == places(judged), "seed \(seed): \(table.notes)")
        }
    }

    /// Where partitions begin, the first of each place only, with what else is known of it whatever its number.
    private func places(_ rows: [Row]) -> [UInt64: String] {
        Dictionary(rows.map { ($0.start, "+\($0.size) \($0.type) \($0.attributes)") }) { first, _ in first }
    }
}

struct `No table, however hostile,` {
    /// What must be true of whatever a table says.
    private func isSound(_ table: PartitionTable, of disk: BuiltDisk) -> Bool {
        let size = UInt64(disk.bytes.count)
        let all = table.partitions + table.extendedPartitions
        return all.allSatisfy { $0.size > 0 && $0.start.rawValue < size && $0.size <= size - $0.start.rawValue }
            && table.partitions.map(\.number) == Set(table.partitions.map(\.number)).sorted()
            && table.notes.count <= 65 && table.fault == nil
    }

    private func mbr() -> BuiltDisk {
        var disk = BuiltDisk(sectors: 200)
        disk.setEntry(0, type: 0x83, first: 2, count: 5)
        disk.setEntry(1, type: 0x05, first: 10, count: 180)
        for index in 0..<10 {
            disk.setEntry(0, of: 10 + index * 4, type: 0x83, first: 1, count: 3)
            disk.setEntry(1, of: 10 + index * 4, type: 0x05, first: UInt32(index * 4 + 4), count: 4)
        }
        return disk
    }

    private func gpt(_ sectorSize: Int) -> BuiltDisk {
        var disk = BuiltDisk(sectors: 200, sectorSize: sectorSize)
        disk.setGPT(
            (0..<20).map { BuiltDisk.Entry(first: 40 + $0 * 3, last: 42 + $0 * 3, name: [0x61, 0x62]) }, count: 32)
        return disk
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `does more than be wrong`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let originals = [mbr(), gpt(512), gpt(4096)]
        for round in 0..<60 {
            var disk = originals[round % 3]
            let edge = min(64 * 512, disk.bytes.count / 2)
            for _ in 0..<Int.random(in: 1...30, using: &random) {
                let near = Int.random(in: 0..<(Bool.random(using: &random) ? 600 : edge), using: &random)
                let offset = Bool.random(using: &random) ? near : disk.bytes.count - 1 - near
                disk.bytes[offset] = [0, 1, 0x7f, 0x80, 0xff, .random(in: 0...255, using: &random)][round % 6]
            }
            #expect(isSound(disk.table(), of: disk), "seed \(seed), round \(round)")
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `does so with check sums that are right`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let wild: [UInt64] = [0, 1, 2, 127, 128, 4096, 1 << 31, 1 << 32 - 1, 1 << 32, 1 << 63, .max - 1, .max]
        for round in 0..<60 {
            let sectorSize = round % 2 == 0 ? 512 : 4096
            var disk = gpt(sectorSize)
            for lba in [1, disk.sectorCount - 1] {
                for _ in 0..<Int.random(in: 0...2, using: &random) {
                    let value = wild.randomElement(using: &random) ?? 0
                    let array = Int(disk.peek(UInt64.self, at: lba * sectorSize + 72)) * sectorSize
                    switch Int.random(in: 0..<9, using: &random) {
                    case 0...3:
                        let field = [32, 40].randomElement(using: &random) ?? 0
                        disk.poke(value, at: array + Int.random(in: 0..<20, using: &random) * 128 + field)
                    case 4: disk.poke(value, at: lba * sectorSize + 32)
                    case 5: disk.poke(value, at: lba * sectorSize + 40)
                    case 6: disk.poke(value, at: lba * sectorSize + 48)
                    default: break
                    }
                }
                disk.seal(lba)
                // These lead away from the entries, so that there is no check sum to make right but the header's.
                if Bool.random(using: &random) {
                    let value = wild.randomElement(using: &random) ?? 0
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: disk.poke(value, at: lba * sectorSize + 72)
                    case 1: disk.poke(UInt32(truncatingIfNeeded: value), at: lba * sectorSize + 80)
                    case 2: disk.poke(UInt32(truncatingIfNeeded: value), at: lba * sectorSize + 84)
                    default: disk.poke(UInt32(truncatingIfNeeded: value), at: lba * sectorSize + 12)
                    }
                    if disk.peek(UInt32.self, at: lba * sectorSize + 12) == 92 { disk.seal(lba, withEntries: false) }
                }
            }
            #expect(isSound(disk.table(), of: disk), "seed \(seed), round \(round)")
        }
    }

    @Test func `reads much of a disk`() {
        // A circle of boot records; and a GPT that says its entries fill the disk.
        var circle = mbr()
        circle.setEntry(1, of: 46, type: 0x05, first: 0, count: .max)
        var large = BuiltDisk(sectors: 40_000)
        large.setGPT([BuiltDisk.Entry(first: 20_000, last: 20_000)], count: 4096)
        large.poke(UInt32(32_769), at: 512 + 80)
        large.seal(1, withEntries: false)
        for (disk, limit) in [(circle, 30), (large, 12)] {
            let file = MemoryFile(disk.bytes)
            let table = PartitionTable(of: Image(layer: RawLayer(file: file)))
            #expect(table.partitions.count == (disk.bytes.count == circle.bytes.count ? 11 : 1))
            #expect(file.reads.load(ordering: .relaxed) <= limit)
        }
    }
}
