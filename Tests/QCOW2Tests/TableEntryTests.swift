import BlockImage
import ByteFormat
import Testing

@testable import QCOW2

struct `Table entries` {
    /// The second half of an entry that has none.
    private let none = SubclusterBitmap(rawValue: 0)

    private func format(_ clusterBits: UInt32, version: UInt32 = 3) -> L2Format {
        L2Format(clusterBits: clusterBits, version: version, isExtended: false, hasDataFile: false)
    }

    @Test(arguments: [
        ("L1", [L1Entry.reservedLow, L1Entry.offset, L1Entry.reservedHigh, L1Entry.copied]),
        (
            "L2",
            [
                L2Entry.zero, L2Entry.reservedLow, L2Entry.offset, L2Entry.reservedHigh, L2Entry.compressed,
                L2Entry.copied,
            ]
        ),
    ])
    func `have fields that tile the word`(name: String, fields: [BitField<UInt64>]) {
        #expect(fields.reduce(0) { $0 | $1.mask } == .max, "\(name) leaves bits out")
        #expect(fields.reduce(0) { $0 + $1.width } == 64, "\(name) has bits twice")
    }

    @Test func `of the L1 keep only the offset`() {
        #expect(L1Entry(rawValue: .max).l2TableOffset == 0x00ff_ffff_ffff_fe00)
        #expect(L1Entry(rawValue: 1 << 63 | 0x30000).l2TableOffset == 0x30000)
        #expect(L1Entry(rawValue: 0xff00_0000_0000_01ff).l2TableOffset == 0)
    }

    @Test(
        arguments: [
            (0, .unallocated),
            (1 << 63, .unallocated),
            (0x3f00_0000_0000_01fe, .unallocated),
            (1, .zero(preallocated: nil)),
            (1 << 63 | 0x50001, .zero(preallocated: HostOffset(0x50000))),
            (1 << 63 | 0x50000, .data(HostOffset(0x50000))),
            (0x50000, .data(HostOffset(0x50000))),
            (0x3f00_0000_0005_01fe, .data(HostOffset(0x50000))),
            (0x00ff_ffff_ffff_0000, .data(HostOffset(0x00ff_ffff_ffff_0000))),
        ] as [(UInt64, ClusterMapping)])
    func `of the L2 say what each bit pattern means`(entry: UInt64, mapping: ClusterMapping) throws {
        #expect(try L2Entry(rawValue: entry).mapping(format(16), bitmap: none) == mapping)
    }

    /// Hand-computed from the specification: x = 62 - (cluster_bits - 8).
    @Test(
        arguments: [
            (9, 1 << 62 | 1000, 1000, 512 - 488),
            (9, 1 << 62 | 1 << 61 | 1000, 1000, 1024 - 488),
            (12, 1 << 62 | 15 << 58 | 4096, 4096, 16 * 512),
            (16, 1 << 62 | 0x50010, 0x50010, 512 - 16),
            (16, 1 << 62 | 255 << 54 | 0x501ff, 0x501ff, 256 * 512 - 511),
            (21, 1 << 62 | 8191 << 49 | 0x200000, 0x200000, 8192 * 512),
        ] as [(UInt32, UInt64, UInt64, UInt64)])
    func `of compressed clusters split where the cluster size says`(
        clusterBits: UInt32, entry: UInt64, offset: UInt64, count: UInt64
    ) throws {
        let mapping = try L2Entry(rawValue: entry).mapping(format(clusterBits, version: 2), bitmap: none)
        #expect(mapping == .compressed(HostOffset(offset), count: count))
    }

    @Test(
        arguments: [
            (1 << 63 | 0x50200, 16, 3, "points to 0x50200, which is not aligned to the cluster size (65536)"),
            (0x200 | 1, 12, 3, "points to 0x200, which is not aligned to the cluster size (4096)"),
            (1, 16, 2, "has the zero flag, which version 2 does not have"),
            (
                1 << 62 | 1 << 56, 9, 3,
                "points to compressed data at 0x100000000000000, beyond the format's 56 bits"
            ),
        ] as [(UInt64, UInt32, UInt32, String)])
    func `that contradict the format are faults`(entry: UInt64, bits: UInt32, version: UInt32, message: String) {
        let fault = #expect(throws: ParseFault.self) {
            _ = try L2Entry(rawValue: entry).mapping(format(bits, version: version), bitmap: none)
        }
        #expect(fault?.message == message)
    }
}
