import BlockImage
import HostTools
import ImageTools
import Testing

struct `Ranges for pictures` {
    @Test(arguments: 1...8)
    func `are no more than their limit, and lose no byte`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var list = RangeList(limit: 100)
        var totals = [UInt64](repeating: 0, count: 4)
        for _ in 0..<5000 {
            let kind = UInt8.random(in: 0..<4, using: &random)
            let count = UInt64.random(in: 1...4096, using: &random) << UInt64.random(in: 0...12, using: &random)
            list.append(kind, count: count)
            totals[Int(kind)] += count
        }
        #expect(list.parts.count <= 100 && list.step > 0)
        #expect(list.parts.reduce(0) { $0 + $1.count } == list.end && list.end == totals.reduce(0, +))
        for part in list.parts { #expect(part.mix.reduce(0) { $0 + $1.count } == part.count) }
        for kind in 0..<UInt8(4) {
            let sum = list.parts.flatMap(\.mix).filter { $0.kind == kind }.reduce(0) { $0 + $1.count }
            #expect(sum == totals[Int(kind)])
        }
    }

    @Test func `are as they came where they are few, and long ones stay as they are`() {
        var list = RangeList(limit: 4)
        for (kind, count) in [(0, 10), (0, 5), (1, 7)] as [(UInt8, UInt64)] { list.append(kind, count: count) }
        #expect(list.parts.map(\.count) == [15, 7] && list.step == 0)
        list.append(2, count: 1 << 40)
        for _ in 0..<10 { for kind in 0..<UInt8(3) { list.append(kind, count: 1000) } }
        #expect(list.parts.count <= 4 && list.parts.contains { $0.count >= 1 << 40 && $0.mix.count == 1 })
    }

    @Test(arguments: 1...8)
    func `of what is stored where are no more than their limit, and within their bounds`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let limit = 400
        var list = StoredRanges(limit: limit)
        var all: [StoredRange] = []
        for cluster in (0..<UInt64(3000)).shuffled(using: &random) {
            let range = StoredRange(
                .data, at: HostOffset(cluster << 16), count: 1 << 16,
                start: UInt64.random(in: 0..<1 << 20, using: &random) << 16, covered: 1 << 16,
                snapshot: Bool.random(using: &random) ? nil : 3)
            all.append(range)
            list.add(range)
        }
        let finished = list.finished
        #expect(finished.parts.count <= limit && finished.step > 0)
        #expect(finished.parts.reduce(0) { $0 + $1.pieces } == 3000)
        #expect(zip(finished.parts, finished.parts.dropFirst()).allSatisfy { $0.range.offset <= $1.range.offset })
        for range in all {
            #expect(
                finished.parts.contains { part in
                    part.range.offset <= range.offset
                        && part.range.offset.rawValue + part.range.count >= range.offset.rawValue + range.count
                        && part.range.start <= range.start
                        && part.range.start + part.range.covered >= range.start + range.covered
                        && (part.isJoined || part.range == range)
                })
        }
    }

    @Test func `of what is stored where are one where they go on in the file and on the disk`() {
        var list = StoredRanges(limit: 400)
        for index in 0..<UInt64(10) {
            list.add(
                StoredRange(
                    .data, at: HostOffset(index << 16), count: 1 << 16, start: (index + 5) << 16, covered: 1 << 16))
        }
        list.add(StoredRange(.data, at: HostOffset(10 << 16), count: 1 << 16, start: 0, covered: 1 << 16))
        // Compressed clusters end within a sector, where the next begins.
        list.add(StoredRange(.compressed, at: HostOffset(0xb0000), count: 1024, start: 1 << 30, covered: 1 << 16))
        list.add(
            StoredRange(.compressed, at: HostOffset(0xb0300), count: 256, start: 1 << 30 + 1 << 16, covered: 1 << 16))
        let parts = list.finished.parts
        #expect(parts.map(\.pieces) == [10, 1, 2] && list.finished.step == 0)
        #expect(parts[0].range.covered == 10 << 16 && parts[2].range.covered == 2 << 16)
        #expect(parts[2].range.count == 1024)
    }
}
