import BlockImage
import HostStorage
import ImageTools
import Reports
import SystemPackage
import Testing

@Suite(.enabled(if: !Corpus.rows.isEmpty))
struct `The layout of images that other products made` {
    @Test(arguments: Corpus.rows)
    func `is listed as a whole, without a fault where the image is sound`(row: Corpus.Row) throws {
        let policy = try ConfinedOpenPolicy(images: FilePath(Corpus.folder))
        let file = try policy.openImage(at: FilePath("\(Corpus.folder)/\(row.path)"))
        let image = try InspectedImage(file)
        var lines: [String] = []
        let text = LayoutText(TextStyle()) { (line) throws(ImageError) in lines.append(line) }
        try image.list(to: text, LayoutOptions(showsEntries: true, entryLimit: 20_000))
        #expect(!lines.isEmpty)
        let map = try image.hostMap(cellLimit: 1000)
        #expect(map.totals.reduce(0) { $0 + $1.count } == image.file.size)
        guard row.expectedError.isEmpty, !row.sha256.isEmpty else { return }
        // A line of a descriptor beside grains may be none: it is passed over.
        let faults = lines.filter { $0.contains("!! ") && !$0.contains("!! extent line") }
        #expect(faults.isEmpty && map.bytes(.overlap) == 0, "\(faults)")
    }
}

extension HostMap {
    /// The bytes of `use`.
    fileprivate func bytes(_ use: HostUse) -> UInt64 { totals.first { $0.use == use }?.count ?? 0 }
}
