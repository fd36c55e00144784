import BlockImage
import FormatCore
import ImageFormats
import TestImages
import Testing

@testable import EWF

struct `An EWF image with damage` {
    private let chunks = (0..<3).map { Pattern.sector(UInt64($0), salt: 4) }

    /// What a check finds of the structures of `segments`, whose disk must be `chunks`.
    private func findings(_ segments: [SegmentImage], chunks: [[UInt8]]) throws -> [CheckFinding] {
        let opened = SegmentImage.open(segments)
        #expect(areSame(try opened.disk.result.get().wholeDisk(), chunks.flatMap { $0 }))
        let result = try #require(try (opened.layers.first?.image as? any CheckableImage)?.check { _ in })
        return result.findings.filter { $0.kind != .digest }
    }

    private func segment(copied: Int?) -> (SegmentImage, table: Int, copy: Int?) {
        var image = SegmentImage()
        image.addVolume("volume", chunks: 3)
        let (table, copy) = image.add(chunks: chunks, copied: copied)
        image.add("done")
        return (image, table, copy)
    }

    @Test func `in the header of a table is the disk of the copy, and damage to a check`() throws {
        var (image, table, _) = segment(copied: 3)
        #expect(try findings([image], chunks: chunks).isEmpty)
        image.damage(table + 8)
        let found = try findings([image], chunks: chunks)
        #expect(found.count == 1 && found.first?.message.contains("section \"table\"") == true, "\(found)")
        (image, table, _) = segment(copied: nil)
        image.damage(table + 8)
        #expect(SegmentImage.open([image]).disk.error?.code == .corrupt)
    }

    @Test func `in the copy of a table, or a copy of other chunks, is damage to a check`() throws {
        var (image, _, copy) = segment(copied: 3)
        image.damage(try #require(copy) + 8)
        var found = try findings([image], chunks: chunks)
        #expect(found.count == 1 && found.first?.message.contains("section \"table2\"") == true, "\(found)")
        found = try findings([segment(copied: 2).0], chunks: chunks)
        #expect(found.count == 1 && found.first?.message.contains("has 2 entries") == true, "\(found)")
    }

    @Test func `in the volume of a later segment is damage to a check, and tables have no copy in another segment`()
        throws
    {
        var first = SegmentImage()
        first.addVolume("volume", chunks: 6)
        _ = first.add(chunks: chunks)
        first.add("next")
        var second = SegmentImage(2)
        let volume = second.addVolume("data", chunks: 6)
        // A copy of a table that has none before it in its segment.
        second.add("table2", [UInt8](repeating: 1, count: 64))
        _ = second.add(chunks: chunks, copied: 3)
        second.add("done")
        #expect(try findings([first, second], chunks: chunks + chunks).isEmpty)
        second.damage(volume + 30)
        let found = try findings([first, second], chunks: chunks + chunks)
        #expect(found.count == 1 && found.first?.message.contains("section \"data\"") == true, "\(found)")
    }
}

struct `A case text` {
    @Test(arguments: ["\n", "\r\n", "\r"], [false, true])
    func `is read with every end of line, in ASCII and UTF-16`(end: String, isWide: Bool) {
        let text = ["1", "main", "c\ta\tzz\te\tt", "case 7\t\tother\tMüller\tfirst\u{301} notes", "", ""].joined(
            separator: end)
        let wide: [UInt8] = text.utf16.reduce(into: [0xff, 0xfe]) { bytes, unit in
            bytes += [UInt8(truncatingIfNeeded: unit), UInt8(unit >> 8)]
        }
        let values = CaseText(text: isWide ? wide : Array(text.utf8)).values
        #expect(values == ["c": "case 7", "e": "Müller", "t": "first\u{301} notes"])
    }

    @Test func `is looked for in the first sections only`() throws {
        func image(damaged count: Int) -> SegmentImage {
            var image = SegmentImage()
            for _ in 0..<count { image.add("header2", [1, 2, 3]) }
            image.add("header2", Compressing.zlib(Array("1\nmain\nc\ncase\n\n".utf8)))
            image.addVolume("volume", chunks: 1)
            _ = image.add(chunks: [Pattern.sector(1, salt: 2)])
            image.add("done")
            return image
        }
        for (count, text) in [(0, "case"), (1, "case"), (2, nil), (40, nil)] {
            let description = try EWFDescription(MemoryFile(image(damaged: count).bytes, path: "disk.E01"))
            #expect(description.caseText.text(of: "c") == text && description.faults.count == min(count, 2))
        }
    }
}
