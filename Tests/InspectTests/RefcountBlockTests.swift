import BlockImage
import ImageFormats
import ImageTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

struct `A refcount block that all entries of a table name` {
    @Test func `is counted once`() throws {
        let count = 8192
        let built = QCOW2Builder(size: 4 << 16, clusters: [.data]).build()
        var image = built
        let start = Int(built.refcountTableOffset)
        let block = Array(built.bytes[start..<start + 8])
        let table = (built.bytes.count + 65535) & ~65535
        image.bytes += Array(repeating: 0, count: table - built.bytes.count)
        for _ in 0..<count { image.bytes += block }
        image.poke(UInt64(table), at: 48)
        // The builder counts nothing.
        for cluster in 0..<6 { image.poke(UInt16(1), at: UInt64((2 << 16) + cluster * 2)) }

        let file = MemoryFile(image.bytes)
        let layout = RecordedLayout()
        try QCOW2Layout(file).list(to: layout, LayoutOptions())
        let entries = try #require(layout.structure("refcount table")).entries
        #expect(entries.reduce(0) { $0 + $1.count } == UInt64(count))
        #expect(entries.allSatisfy { $0.number("used") == entries.first?.number("used") })
        #expect(entries.first?.number("used") == 6)
        #expect(file.reads.load(ordering: .relaxed) < 100)
    }
}
