import BlockImage
import Foundation
import HostTools
import PartitionTable
import TestImages
import Testing

struct `What a partition is by its content` {
    /// Bytes at places, which count from the end where they are negative.
    private typealias Marks = [(offset: Int, bytes: [UInt8])]

    private static let raid: [UInt8] = [0xfc, 0x4e, 0x2b, 0xa9]
    private static let size = 4 << 20

    /// The superblock of a RAID of version 1, at `offset`, with its check sum: that of its 32-bit words, carried around.
    private static func superblock(at offset: Int) -> Marks {
        var bytes = raid + [1, 0, 0, 0] + [UInt8](repeating: 0, count: 248)
        let sector = UInt64((offset < 0 ? size + offset : offset) / 512)
        withUnsafeBytes(of: sector.littleEndian) { bytes.replaceSubrange(144..<152, with: $0) }
        bytes[16] = 7
        let sum = stride(from: 0, to: 256, by: 4).reduce(UInt64(0)) { sum, place in
            sum + UInt64(bytes[place..<place + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
        }
        let folded = UInt32(truncatingIfNeeded: (sum & 0xffff_ffff) + sum >> 32)
        withUnsafeBytes(of: folded.littleEndian) { bytes.replaceSubrange(216..<220, with: $0) }
        return [(offset, bytes)]
    }

    private static let bcache: [UInt8] = [
        0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
    ]

    @Test func `is named as blkid names it`() throws {
        let lvm = BuiltLVM(String(repeating: "a", count: 32))
        let uberblocks: Marks = (0..<8).map { (128 << 10 + $0 * 1024, [0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]) }
        let bitLocker = Array("-FVE-FS-".utf8)
        let luks = Array("LUKS".utf8) + [0xba, 0xbe, 0, 1]
        let rows: [(name: String, type: MemberType?, marks: Marks, isJudged: Bool)] = [
            ("nothing", nil, [], false), ("LVM", .lvm, [(0, Array(lvm.bytes.prefix(2048)))], true),
            ("LUKS", .luks, [(0, luks)], true),
            ("BitLocker", .bitLocker, [(0, [0xeb, 0x58, 0x90] + bitLocker)], false),
            (
                "BitLocker to go", .bitLocker,
                [
                    (0, [0xeb, 0x58, 0x90] + Array("MSWIN4.1".utf8)),
                    (
                        424,
                        [
                            0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0,
                            0x01,
                        ]
                    ),
                ], false
            ),
            ("bcache", .bcache, [(4096 + 8, [8]), (4096 + 24, Self.bcache)], false),
            ("RAID 1.1", .raid, Self.superblock(at: 0), true), ("RAID 1.2", .raid, Self.superblock(at: 4096), true),
            ("RAID 1.0", .raid, Self.superblock(at: -8192), true),
            ("RAID 0.90", .raid, [(-65536, Self.raid + [0, 0, 0, 0, 90, 0, 0, 0])], true),
            ("RAID 0.90, big-endian", .raid, [(-65536, Self.raid.reversed() + [0, 0, 0, 0, 0, 0, 0, 90])], true),
            ("ZFS", .zfs, [(16 << 10, [1, 1, 0, 0])] + uberblocks, false),
            ("LVM in a RAID", .raid, Self.superblock(at: -8192) + [(0, Array(lvm.bytes.prefix(2048)))], true),
        ]
        let folder = try TemporaryFolder()
        for row in rows {
            var bytes = [UInt8](repeating: 0, count: Self.size)
            for (offset, mark) in row.marks {
                let start = offset < 0 ? bytes.count + offset : offset
                bytes.replaceSubrange(start..<start + mark.count, with: mark)
            }
            #expect(MemberType(of: Image(layer: RawLayer(file: MemoryFile(bytes)))) == row.type, "\(row.name)")
            guard row.isJudged, Tool.areThere("blkid") else { continue }
            let path = folder.file("disk.raw")
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            let result = try Shell.run("blkid -p -o value -s TYPE \"$1\"", path)
            #expect(result.text == "\(row.type?.rawValue ?? "")\n", "\(row.name): \(result.errors)")
        }
        for size in [0, 1, 511, 8192, 65536] {
            #expect(MemberType(of: Image(layer: RawLayer(file: MemoryFile(Array(repeating: 0, count: size))))) == nil)
        }
    }
}
