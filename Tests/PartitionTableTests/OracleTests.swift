import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import PartitionTable

/// Real tables, by sfdisk and fdisk, judged by sfdisk and partx.
@Suite(.enabled(if: Tool.areThere("sfdisk", "fdisk", "partx", "qemu-img")))
struct `The partitions of a disk are those that Linux's tools see` {
    /// What both judges and this program say of `disk`, whose sectors have 512 bytes; no notes are expected.
    @discardableResult
    private func agree(on disk: TestDisk, sourceLocation: SourceLocation = #_sourceLocation) throws -> PartitionTable {
        let table = try disk.table()
        #expect(table.notes == [] && table.fault == nil && !table.usedBackup, sourceLocation: sourceLocation)
        #expect(table.sectorSize == .bytes512, sourceLocation: sourceLocation)
        #expect(try table.rows(containers: true) == Partx.rows(disk.path), sourceLocation: sourceLocation)
        let judge = try Sfdisk(disk.path)
        let rows = table.rows(containers: true).map { row in
            var row = row
            // sfdisk has no names for partitions of an MBR, and its own for attributes.
            if judge.label == "dos" { row.uuid = "" } else { row.attributes = 0 }
            return row
        }
        #expect(rows == judge.rows, sourceLocation: sourceLocation)
        #expect(table.diskID == judge.id, sourceLocation: sourceLocation)
        #expect(table.scheme == (judge.label == "dos" ? .mbr : .gpt), sourceLocation: sourceLocation)
        return table
    }

    @Test func `with four primary partitions`() throws {
        let disk = try TestDisk()
        try disk.partition(
            """
            label: dos
            label-id: 0xc0ffee01
            size=1M, type=7, bootable
            size=3M, type=82
            size=5M, type=8e
            type=83
            """)
        let table = try agree(on: disk)
        #expect(table.diskID == "0xc0ffee01")
        #expect(table.partitions.map(\.number) == [1, 2, 3, 4])
        #expect(
            table.partitions.map(\.typeName) == ["HPFS/NTFS/exFAT", "Linux swap / Solaris", "Linux LVM", "Linux"])
        #expect(table.partition(3)?.uuid == "c0ffee01-03")
        #expect(table.partition(5) == nil)
    }

    @Test func `with primaries that are missing`() throws {
        let disk = try TestDisk()
        try disk.partition("label: dos\n\(disk.path)2: size=1M\n\(disk.path)4: size=1M, type=ef")
        #expect(try agree(on: disk).partitions.map(\.number) == [2, 4])
    }

    @Test(arguments: ["5", "f", "85"])
    func `with many logical ones`(type: String) throws {
        let disk = try TestDisk(size: 128 << 20)
        var lines = ["label: dos", "\(disk.path)1: size=4M", "\(disk.path)2: size=110M, type=\(type)"]
        for number in 5..<45 {
            lines.append("\(disk.path)\(number): size=\(500 + number % 3 * 100)K, type=\(number % 2 == 0 ? "83" : "b")")
        }
        lines.append("\(disk.path)3: size=1M")
        try disk.partition(lines.joined(separator: "\n"))
        let table = try agree(on: disk)
        #expect(table.partitions.map(\.number) == [1, 3] + Array(5...44))
        #expect(table.extendedPartitions.map(\.number) == [2])
        #expect(table.extendedPartitions.allSatisfy(\.isExtended) && !table.partitions.contains(where: \.isExtended))
    }

    @Test func `with an extended partition that is empty`() throws {
        let disk = try TestDisk()
        try disk.partition("label: dos\nsize=4M\ntype=f")
        #expect(try agree(on: disk).partitions.map(\.number) == [1])
        // As zeros it is no less empty.
        let start = try #require(try disk.table().extendedPartitions.first?.start.rawValue)
        try disk.poke(Array(repeating: 0, count: 512), at: Int(start))
        try agree(on: disk)
    }

    @Test func `with a GPT`() throws {
        let disk = try TestDisk()
        try disk.partition(
            """
            label: gpt
            size=1M, type=21686148-6449-6E6F-744E-656564454649, name="BIOS"
            size=8M, type=U, name="EFI System Partition"
            size=8M, type=S, name="Größe/日本語", attrs="RequiredPartition,LegacyBIOSBootable,GUID:50,GUID:63"
            type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name="abcdefghijklmnopqrstuvwxyz0123456789"
            """)
        let table = try agree(on: disk)
        #expect(
            table.partitions.map(\.typeName) == ["BIOS boot", "EFI System", "Linux swap", "Microsoft basic data"])
        guard case .gpt(_, let unique, let attributes, let name)? = table.partition(3)?.entry else {
            Issue.record("partition 3 is missing")
            return
        }
        #expect(name == "Größe/日本語" && attributes == 0x8004_0000_0000_0005)
        #expect(table.partition(3)?.uuid == unique.description)
    }

    @Test(arguments: [4, 128, 256, 300])
    func `with as many as a GPT can have, and with gaps`(length: Int) throws {
        let disk = try TestDisk()
        let numbers = length == 128 ? Array(1...128) : [1, 3, length - 1, length]
        let lines = Set(numbers).sorted().map { "\(disk.path)\($0): size=64K, name=\"no. \($0)\"" }
        try disk.partition("label: gpt\ntable-length: \(length)\ngrain: 64K\n" + lines.joined(separator: "\n"))
        #expect(try agree(on: disk).partitions.map(\.number) == Set(numbers).sorted())
    }

    @Test func `with no partitions at all`() throws {
        for label in ["dos", "gpt"] {
            let disk = try TestDisk()
            try disk.partition("label: \(label)")
            #expect(try agree(on: disk).partitions == [])
        }
    }

    @Test func `in sectors of 4096 bytes`() throws {
        let gpt = try TestDisk()
        try gpt.type("g n 1  +1M n 7  +2M n 128   w", sectorSize: 4096)
        let mbr = try TestDisk()
        try mbr.type("o n p 1  +8M n e 2   n l  +4M n l  +4M w", sectorSize: 4096)
        for (disk, scheme, numbers) in [(gpt, PartitionTable.Scheme.gpt, [1, 7, 128]), (mbr, .mbr, [1, 5, 6])] {
            for sectorSize in [nil, SectorSize.bytes4096] {
                let table = try disk.table(sectorSize: sectorSize)
                #expect(table.notes == [] && table.sectorSize == .bytes4096 && table.scheme == scheme)
                #expect(table.partitions.map(\.number) == numbers)
                #expect(try table.rows(containers: true) == Partx.rows(disk.path, sectorSize: 4096))
            }
        }
        // In the wrong sectors neither has anything to read.
        #expect(try gpt.table(sectorSize: .bytes512).partitions == [])
        let wrong = try mbr.table(sectorSize: .bytes512)
        #expect(wrong.partitions.map(\.number) == [1])
    }

    @Test func `while a disk that is no multiple of a sector ends with its last whole one`() throws {
        let disk = try TestDisk(size: 10 << 20 + 100)
        try disk.partition("label: gpt\n")
        try agree(on: disk)
    }

    @Test func `and also inside a compressed image, whose partitions are disks themselves`() throws {
        let disk = try TestDisk(size: 16 << 20)
        try Pattern.writeDisk(disk.path, size: 16 << 20, seed: 5)
        try disk.partition("label: gpt\nsize=3M\nsize=513K\n")
        try QemuImg.convert(disk.path, to: disk.folder.file("disk.qcow2"), compressed: true)
        let image = try disk.image("disk.qcow2")
        let table = PartitionTable(of: image)
        #expect(table == (try disk.table()))
        #expect(table.partitions.count == 2)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: disk.path))
        for partition in table.partitions {
            let part = partition.image(in: image)
            let range = Int(partition.start.rawValue)..<Int(partition.end.rawValue)
            #expect(try areSame(part.wholeDisk(), bytes[range]))
            let (sum, error) = part.allocation()
            #expect(error == nil && sum.compressed > 0)
            #expect(sum.data + sum.compressed + sum.zero + sum.unallocated == partition.size)
        }
    }

    @Test(arguments: ["gpt", "dos"])
    func `and their types have the names that sfdisk knows`(label: String) throws {
        let lines = try Shell.check("sfdisk --list-types --label \"$1\"", label).split(separator: "\n").dropFirst()
        var names: [String: String] = [:]
        for line in lines {
            let words = line.split(separator: " ", maxSplits: 1)
            guard words.count == 2 else { continue }
            names[words[0].lowercased()] = words[1].trimmingCharacters(in: .whitespaces)
        }
        let ours =
            label == "gpt"
            ? TypeNames.gpt : Dictionary(uniqueKeysWithValues: TypeNames.mbr.map { (String($0, radix: 16), $1) })
        #expect(ours.count > 30)
        // This version of sfdisk does not know it.
        for (type, name) in ours where name != "LUKS partition" { #expect(names[type] == name) }
    }
}
