import BlockImage
import TestImages
import Testing

@testable import QCOW2

struct `A check of a QCOW2 image` {
    /// Six clusters of 4 KiB, with the refcount of each host cluster in order.
    private static func image() -> BuiltQCOW2 {
        var builder = QCOW2Builder(
            size: 6 << 12, clusterBits: 12, clusters: [.data, .data, .unallocated, .zero, .preallocatedZero, .data])
        builder.isShuffled = false
        var image = builder.build()
        for cluster in 0..<image.bytes.count / image.clusterSize {
            image.poke(UInt16(1), at: UInt64(2 * image.clusterSize + cluster * 2))
        }
        return image
    }

    private static func check(_ image: BuiltQCOW2) throws -> CheckResult {
        let file = MemoryFile(image.bytes, path: "image.qcow2")
        return try QCOW2Description(file).check(file)
    }

    @Test func `counts clusters, and finds nothing in a sound image`() throws {
        let result = try Self.check(Self.image())
        #expect(result.findings == [] && result.corruptions == 0 && result.leaks == 0)
        // Header, refcount table and block, L1, L2, and four clusters.
        #expect(result.imageEndOffset == 9 << 12)
        #expect(result.totalClusters == 6 && result.allocatedClusters == 4)
        // The last two do not lie behind their neighbours' places, as only two of the six are missing.
        #expect(result.fragmentedClusters == 0 && result.compressedClusters == 0)
    }

    @Test func `says what each damage is, and where`() throws {
        typealias Expected = (CheckFinding.Kind, HostOffset?, GuestOffset?, String)
        let sound = Self.image()
        let entry = { HostOffset(sound.entryOffset(of: $0)) }
        let data = { HostOffset(sound.hostOffsets[$0] ?? 0) }
        let cases: [((inout BuiltQCOW2) -> Void, [Expected])] = [
            (
                { $0.poke(UInt64(0), at: $0.entryOffset(of: 1)) },
                [(.leak, data(1), nil, "cluster at \(data(1)): refcount 1, but nothing uses it")]
            ),
            (
                { $0.poke(data(1).rawValue, at: $0.entryOffset(of: 1)) },
                [
                    (
                        .copiedFlag, entry(1), GuestOffset(4096),
                        "L2 entry for guest offset 0x1000 at \(entry(1)): COPIED is not set, but must be, as the "
                            + "refcount is 1, of the cluster at \(data(1))"
                    )
                ]
            ),
            (
                { $0.poke(data(0).rawValue | 1 << 63, at: $0.entryOffset(of: 1)) },
                [
                    (
                        .refcount, data(0), nil,
                        "cluster at \(data(0)): refcount 1, but it is used 2 times: the data of guest offset 0x0; the "
                            + "data of guest offset 0x1000"
                    ), (.leak, data(1), nil, "cluster at \(data(1)): refcount 1, but nothing uses it"),
                ]
            ),
            (
                {
                    $0.poke(UInt16(2), at: 2 << 12 | 2)
                    $0.poke(1 << 12 | 0 as UInt64, at: $0.entryOffset(of: 2))
                },
                [
                    (
                        .overlap, HostOffset(1 << 12), nil,
                        "cluster at 0x1000: used 2 times, by what must not share a cluster: the refcount table; the "
                            + "data of guest offset 0x2000"
                    )
                ]
            ),
            (
                { $0.poke(UInt64(1) << 20 | 1 << 63, at: $0.entryOffset(of: 2)) },
                [
                    (
                        .copiedFlag, entry(2), GuestOffset(8192),
                        "L2 entry for guest offset 0x2000 at \(entry(2)): COPIED is set, but must not be, as the "
                            + "refcount is 0, of the cluster at 0x100000"
                    ),
                    (
                        .outOfFile, HostOffset(1 << 20), GuestOffset(8192),
                        "the data of guest offset 0x2000: is said to be 4096 bytes at 0x100000, but the file ends at "
                            + "0x9000"
                    ),
                ]
            ),
            (
                { $0.poke(UInt64(3) << 12, at: $0.refcountTableOffset + 8) },
                [
                    (
                        .refcountBlock, HostOffset(3 << 12), nil,
                        "refcount block 1 at 0x3000: its cluster is used 2 times, but must be used once: the active L1 "
                            + "table; refcount block 1"
                    ),
                    (
                        .refcount, HostOffset(3 << 12), nil,
                        "cluster at 0x3000: refcount 1, but it is used 2 times: the active L1 table; refcount block 1"
                    ),
                ]
            ),
        ]
        for (damage, expected) in cases {
            var image = sound
            damage(&image)
            let findings = try Self.check(image).findings
            #expect(findings.map(\.kind) == expected.map(\.0))
            #expect(findings.map(\.hostOffset) == expected.map(\.1))
            #expect(findings.map(\.guestOffset) == expected.map(\.2))
            #expect(findings.map(\.message.description) == expected.map(\.3))
        }
    }

    @Test func `refuses what would take more than the limits`() throws {
        let file = MemoryFile(Self.image().bytes, path: "image.qcow2")
        let description = try QCOW2Description(file)
        var limits = QCOW2CheckLimits()
        limits.entries = 0
        #expect(throws: ImageError.self) { try description.check(file, limits: limits) }
        limits = QCOW2CheckLimits()
        limits.tables = 0
        #expect(throws: ImageError.self) { try description.check(file, limits: limits) }
    }

    @Test func `keeps a bounded number of findings, and counts all`() {
        var result = CheckResult()
        for index in 0..<3000 { result.add(CheckFinding(.leak, .leak, path: "", times: 2, "\(index)")) }
        #expect(result.findings.count == CheckResult.findingLimit && result.findingCount == 3000)
        #expect(result.leaks == 6000)
        result.add(CheckFinding(.entry, .corruption, path: "", times: .max, ""))
        result.add(CheckFinding(.entry, .corruption, path: "", times: .max, ""))
        #expect(result.corruptions == .max)
        #expect(result.findings.count == CheckResult.findingLimit + 2 && result.omitted == [.leak: 2000])
    }

    @Test func `of many findings in one table tells the first, and counts the others with them`() {
        var result = CheckResult()
        for index in 0..<37_000 as Range<UInt64> {
            let place = HostOffset(index)
            result.add(.leak, .leak, in: index / 30_000, at: place) {
                CheckFinding(.leak, .leak, path: "", at: place, "\(index)")
            }
            if index == 20_000 { result.add(CheckFinding(.entry, .corruption, path: "", "rare")) }
        }
        #expect(result.leaks == 37_000 && result.findingCount == 37_001 && result.omitted.isEmpty)
        #expect(
            result.findings.map(\.message.description) == (0..<10).map { "\($0)" } + ["rare"]
                + (30_000..<30_010).map { "\($0)" })
        #expect(result.findings[9].more == 29_990 && result.findings[9].lastOffset == HostOffset(29_999))
        #expect(result.findings[20].more == 6990 && result.findings[20].lastOffset == HostOffset(36_999))
    }
}

struct `Use counts` {
    @Test func `give up the highest clusters where memory is short, and say how far they go`() {
        // Two pages of 128 KiB.
        var counts = UseCounts(from: 0, end: 10 << 16, budget: 2 << 17)
        for page in [0, 7, 3, 9, 1] as [UInt64] { counts.add(page << 16 | 5, times: 1, as: .data) }
        #expect(counts.upper == 3 << 16 && counts.usedEnd == 9 << 16 | 6)
        #expect(counts.uses(of: 5).count == 1 && counts.uses(of: 1 << 16 | 5).count == 1)
        var rest = UseCounts(from: counts.upper, end: 10 << 16, budget: 2 << 17)
        for page in [0, 7, 3, 9, 1] as [UInt64] { rest.add(page << 16 | 5, times: 1, as: .data) }
        #expect(rest.upper == 9 << 16 && rest.uses(of: 3 << 16 | 5).count == 1 && rest.isPageUnused(4 << 16))
    }

    @Test func `go on beyond 13 bits, and end at 29`() {
        var counts = UseCounts(from: 0, end: 100)
        counts.add(7, times: 0x1fff, as: .data)
        counts.add(8, times: 3, as: .l2Table)
        counts.add(7, times: 2, as: .exclusive)
        #expect(counts.uses(of: 7) == (0x2001, [.data, .exclusive]) && counts.uses(of: 8) == (3, .l2Table))
        counts.add(7, times: .max, as: [])
        #expect(counts.uses(of: 7).count == UseCounts.countLimit)
        #expect(!UseCounts.Roles.l2Table.overlap(count: 5) && UseCounts.Roles.exclusive.overlap(count: 2))
    }
}
