import Catalog
import Testing

struct `The names of snapshots` {
    private func names(_ names: [[UInt8]]) -> [[UInt8]] {
        SnapshotNames.unique(of: names.enumerated().map { (name: $1, id: Array("\($0 + 1)".utf8)) })
    }

    @Test func `that only look the same are distinguished by what they are`() {
        let composed = Array("\u{e9}".utf8)
        let decomposed = Array("e\u{301}".utf8)
        #expect(names([composed, decomposed]) == [composed, decomposed])
        #expect(names([composed, composed]) == [composed + Array("%@1".utf8), composed + Array("%@2".utf8)])
    }

    @Test func `that are not UTF-8 are bytes in a mount, and have a text for exports that no other has`() {
        let odd: [[UInt8]] = [[0x6e, 0xfc], [0x6e, 0xfd], Array("n%FC".utf8), Array("n\u{fffd}".utf8)]
        let found = names(odd)
        #expect(found[0] == odd[0] && found[1] == odd[1] && found[2] == Array("n%25FC".utf8))
        #expect(found.map(SnapshotNames.text(of:)) == ["n%FC", "n%FD", "n%25FC", "n\u{fffd}"])
    }
}
