import BlockImage
import HostTools
import TestImages
import Testing

@testable import VHDX

struct `A check of a VHDX image` {
    private let builder: VHDXBuilder = {
        var builder = VHDXBuilder(virtualSize: 6 << 20)
        builder.parent = [("parent_linkage", "{20000000-0000-4000-8000-000000000002}")]
        builder.blocks = [
            0: .present(salt: 1), 1: .present(salt: 1), 2: .state(2),
            3: .partial(salt: 1, sectors: Array(repeating: true, count: 9)),
        ]
        return builder
    }()

    @Test(arguments: UInt64(1)...10)
    func `finds nothing in a sound one`(seed: UInt64) throws {
        for hasParent in [false, true] {
            let builder = VHDXBuilder(seed: seed, hasParent: hasParent)
            let result = try check(builder.build())
            #expect(result.findings.map(\.message) == [], "seed \(seed)")
        }
    }

    @Test func `finds what entries cannot be`() throws {
        let other = builder.dataOffset | 6
        let cases: [(entry: UInt64, words: String, kind: CheckFinding.Kind)] = [
            (4, "state 4", .entry), (other, "overlaps", .overlap), (1 << 20 | 6, "overlaps the log", .overlap),
            (0 | 6, "overlaps the header area", .overlap), (1 << 40 | 6, "must lie in the file", .outOfFile),
            (1 << 3, "bits 3 to 19", .reservedBits), (builder.tableOffset | 7, "overlaps the region BAT", .overlap),
        ]
        for (entry, words, kind) in cases {
            var pages = builder.build()
            pages.write(entry.littleEndianBytes, at: builder.entryOffset(4))
            let result = try check(pages)
            let finding = try #require(result.findings.first)
            #expect(result.findingCount == 1 && finding.kind == kind, "\(result.findings)")
            #expect(
                finding.severity == .corruption && finding.message.description.contains(words), "\(finding.message)")
            #expect(finding.hostOffset?.rawValue == builder.entryOffset(4))
            #expect(finding.guestOffset?.rawValue == 4 << 20)
        }
    }

    @Test func `finds a partial block without its bitmap`() throws {
        var pages = builder.build()
        pages.write([0], at: builder.tableOffset + builder.chunkRatio * 8)
        #expect(try check(pages).findings.contains { $0.message.description.contains("has no sector bitmap") })
        pages.write([3], at: builder.tableOffset + builder.chunkRatio * 8)
        #expect(try check(pages).findings.contains { $0.message.description.contains("must be 0 or 6") })
    }

    @Test func `finds regions that lie in each other, or past the end`() throws {
        for (offset, words) in [(builder.metadataOffset, "overlaps the region metadata"), (1 << 30, "but the file at")]
        {
            var builder = builder
            builder.blocks = [:]
            var pages = builder.build()
            for table in [3, 4] as [UInt64] {
                var bytes = pages.bytes(65536, at: table << 16)
                // A third region, which need not be known.
                bytes.replaceSubrange(8..<12, with: UInt32(3).littleEndianBytes)
                bytes.replaceSubrange(
                    80..<112,
                    with: Array(repeating: 9, count: 16) + UInt64(offset).littleEndianBytes + [0, 0, 16, 0, 0, 0, 0, 0])
                pages.write(VHDXBuilder.summed(bytes), at: table << 16)
            }
            let result = try check(pages)
            #expect(result.findings.contains { $0.message.description.contains(words) }, "\(result.findings)")
        }
    }
}
