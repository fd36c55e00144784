import BlockImage
import HostTools
import Synchronization
import TestImages
import Testing

private final class Box: Sendable {
    let number: Int
    init(_ number: Int) { self.number = number }
}

struct `A bounded cache` {
    @Test func `keeps what was put in until there is no more room`() {
        let cache = BoundedCache<Int, Box>(capacity: 100)
        for number in 0..<10 { cache.insert(Box(number), cost: 10, for: number) }
        #expect(cache.cost == 100)
        #expect((0..<10).allSatisfy { cache.value(for: $0)?.number == $0 })
        cache.insert(Box(10), cost: 10, for: 10)
        #expect(cache.cost == 100)
        #expect(cache.value(for: 10)?.number == 10)
    }

    @Test func `drops what was not used before what was`() {
        let cache = BoundedCache<Int, Box>(capacity: 40)
        for number in 0..<4 { cache.insert(Box(number), cost: 10, for: number) }
        for number in [0, 2, 3] { _ = cache.value(for: number) }
        cache.insert(Box(4), cost: 10, for: 4)
        #expect(cache.value(for: 1) == nil)
        #expect([0, 2, 3, 4].allSatisfy { cache.value(for: $0) != nil })
    }

    @Test func `keeps the first of two values for a key, and answers it`() {
        let cache = BoundedCache<Int, Box>(capacity: 40)
        let first = Box(1)
        #expect(cache.insert(first, cost: 10, for: 7) === first)
        #expect(cache.insert(Box(2), cost: 10, for: 7) === first)
        #expect(cache.cost == 10)
    }

    @Test func `answers, but does not keep, what costs more than all its room`() {
        let cache = BoundedCache<Int, Box>(capacity: 40)
        cache.insert(Box(0), cost: 10, for: 0)
        #expect(cache.insert(Box(1), cost: 41, for: 1).number == 1)
        #expect(cache.value(for: 1) == nil)
        #expect(cache.value(for: 0) != nil)
        #expect(cache.insert(Box(2), cost: 40, for: 2).number == 2)
        #expect(cache.cost == 40)
        #expect(cache.value(for: 0) == nil)
    }

    @Test func `drops all that a condition fits, and no more`() {
        let cache = BoundedCache<Int, Box>(capacity: 1000)
        for number in 0..<20 { cache.insert(Box(number), cost: number, for: number) }
        cache.removeAll { $0 % 3 == 0 }
        #expect((0..<20).allSatisfy { (cache.value(for: $0) == nil) == ($0 % 3 == 0) })
        #expect(cache.cost == (0..<20).filter { $0 % 3 != 0 }.reduce(0, +))
        cache.removeAll { _ in true }
        #expect(cache.cost == 0)
        #expect(cache.insert(Box(1), cost: 1000, for: 1).number == 1)
    }

    @Test(arguments: [UInt64(1), 2, 3])
    func `holds its bound and never mixes up its values, whatever is done to it`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let cache = BoundedCache<Int, Box>(capacity: 500)
        for _ in 0..<20_000 {
            let key = Int.random(in: 0..<80, using: &random)
            switch Int.random(in: 0..<20, using: &random) {
            case 0: cache.removeAll { $0 % 7 == key % 7 }
            case 1..<10: cache.insert(Box(key), cost: Int.random(in: 0...60, using: &random), for: key)
            default: if let box = cache.value(for: key) { #expect(box.number == key) }
            }
            #expect(cache.cost <= 500 && cache.cost >= 0, "seed \(seed)")
        }
    }

    @Test func `may be used by many threads at once`() async {
        let cache = BoundedCache<Int, Box>(capacity: 100)
        await withTaskGroup(of: Bool.self) { group in
            for task in 0..<8 {
                group.addTask {
                    var random = SeededRandom(seed: UInt64(task))
                    return (0..<5000).allSatisfy { _ in
                        let key = Int.random(in: 0..<30, using: &random)
                        let box = cache.value(for: key) ?? cache.insert(Box(key), cost: 7, for: key)
                        return box.number == key && cache.cost <= 100
                    }
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}

struct `The table cache` {
    private func table(_ file: MemoryFile, count: Int, at offset: UInt64 = 0) -> TableLocation {
        TableLocation(file: file, offset: HostOffset(offset), count: count, entrySize: 1, name: "test table") { bytes in
            (0..<bytes.byteCount).map { UInt64(bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self)) }
        }
    }

    @Test func `reads a page once, and knows the entries in it`() throws {
        let file = MemoryFile((0..<10_000).map { UInt8(truncatingIfNeeded: $0 % 251) })
        let cache = TableCache(capacity: 1 << 20)
        let counters = ReadCounters()
        let table = table(file, count: 10_000)
        for index in [0, 1, 4095, 4096, 8191, 8192, 9999, 5, 5000] {
            let (page, found) = try cache.page(of: table, at: index, counters: counters)
            #expect(page.entries[found] == UInt64(index % 251))
        }
        #expect(file.reads.load(ordering: .relaxed) == 3)
        #expect(counters.tableMisses.load(ordering: .relaxed) == 3)
        #expect(counters.tableHits.load(ordering: .relaxed) == 6)
        cache.removeTables(of: file.id)
        _ = try cache.page(of: table, at: 0, counters: counters)
        #expect(file.reads.load(ordering: .relaxed) == 4)
    }

    @Test func `has the entries that the file has, and an error for the others`() throws {
        let file = MemoryFile(Array(repeating: 1, count: 100))
        let cache = TableCache(capacity: 1 << 20)
        let table = table(file, count: 5000, at: 90)
        #expect(try cache.page(of: table, at: 9, counters: ReadCounters()).page.entries.count == 10)
        for (index, offset) in [(10, 100), (4095, 4185), (4096, 4186)] as [(Int, UInt64)] {
            let error = #expect(throws: ImageError.self) {
                _ = try cache.page(of: table, at: index, counters: ReadCounters())
            }
            #expect(error?.code == .truncated)
            #expect(error?.offset == HostOffset(offset))
            #expect(error?.message == "test table: entry \(index) lies past the end of the file at 0x64")
        }
    }

    @Test func `tells the tables of one file from those of another`() throws {
        let cache = TableCache(capacity: 1 << 20)
        let files = [MemoryFile([1, 2]), MemoryFile([3, 4])]
        for (file, expected) in zip(files, [1, 3] as [UInt64]) {
            let (page, index) = try cache.page(of: table(file, count: 2), at: 0, counters: ReadCounters())
            #expect(page.entries[index] == expected)
        }
    }
}

struct `The cluster cache` {
    private static func read(
        _ cache: ClusterCache, _ range: Range<Int>, of size: Int, at offset: UInt64 = 0, in file: MemoryFile,
        decode: (inout OutputRawSpan) throws(ImageError) -> Void
    ) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: range.count)
        try buffer.fill(range.count) { output throws(ImageError) in
            try cache.read(
                range.count, skipping: range.lowerBound, of: size, encodedAt: HostOffset(offset), in: file,
                into: &output, decode: decode)
        }
        return buffer.array
    }

    @Test func `decodes a cluster once, and gives any part of it`() throws {
        let cache = ClusterCache(capacity: 1 << 16)
        let file = MemoryFile([])
        var decodings = 0
        for range in [0..<1000, 10..<20, 999..<1000, 5..<5] {
            let found = try Self.read(cache, range, of: 1000, in: file) { output in
                decodings += 1
                for byte in 0..<1000 { output.append(UInt8(truncatingIfNeeded: byte), as: UInt8.self) }
            }
            #expect(found == range.map { UInt8(truncatingIfNeeded: $0) })
        }
        #expect(decodings == 1)
        cache.removeClusters(of: file.id)
        _ = try Self.read(cache, 0..<1, of: 1000, in: file) { output in
            decodings += 1
            output.appendZeros(1000)
        }
        #expect(decodings == 2)
    }

    @Test func `tries again what could not be decoded`() throws {
        let cache = ClusterCache(capacity: 1 << 16)
        let file = MemoryFile([])
        let failure = ImageError(.corrupt, path: "x", "damaged")
        #expect(throws: failure) {
            _ = try Self.read(cache, 0..<10, of: 10, in: file) { _ throws(ImageError) in throw failure }
        }
        #expect(try Self.read(cache, 0..<10, of: 10, in: file) { $0.appendZeros(10) } == Array(repeating: 0, count: 10))
    }

    @Test func `works where a cluster is larger than all its room`() throws {
        let cache = ClusterCache(capacity: 100)
        let file = MemoryFile([])
        for _ in 0..<2 {
            #expect(try Self.read(cache, 0..<500, of: 500, in: file) { $0.appendZeros(500) }.count == 500)
        }
    }

    @Test func `lets one reader decode while the others wait for it`() async {
        let cache = ClusterCache(capacity: 1 << 20)
        let file = MemoryFile([])
        let decodings = ReadCounters()
        await withTaskGroup(of: Bool.self) { group in
            for task in 0..<16 {
                group.addTask {
                    (0..<20).allSatisfy { cluster in
                        let offset = UInt64(cluster * 512)
                        let found = try? Self.read(cache, task..<task + 1, of: 512, at: offset, in: file) { output in
                            decodings.decompressions.add(1, ordering: .relaxed)
                            for index in 0..<512 {
                                output.append(UInt8(truncatingIfNeeded: index + cluster), as: UInt8.self)
                            }
                        }
                        return found == [UInt8(truncatingIfNeeded: task + cluster)]
                    }
                }
            }
            for await isRight in group { #expect(isRight) }
        }
        #expect(decodings.decompressions.load(ordering: .relaxed) == 20)
    }
}
