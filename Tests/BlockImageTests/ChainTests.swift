import HostTools
import TestImages
import Testing

@testable import BlockImage

/// A layer made of runs of random sizes and kinds, each byte of which tells the layer.
private final class RandomLayer: ImageLayer {
    let virtualSize: UInt64
    private let kinds: [UInt8]
    private let file: MemoryFile
    private let lookUps: Counter

    final class Counter: Sendable {
        private let count = Guarded(0)
        var value: Int { count.withLock { $0 } }
        func add() { count.withLock { $0 += 1 } }
    }

    /// Of all bytes, `share` in ten are stored in this layer.
    init(size: Int, byte: UInt8, share: Int, counting lookUps: Counter, using random: inout SeededRandom) {
        var kinds: [UInt8] = []
        while kinds.count < size {
            let kind = Int.random(in: 0..<10, using: &random) < share ? UInt8.random(in: 1...3, using: &random) : 0
            kinds += Array(repeating: kind, count: min(size - kinds.count, Int.random(in: 1...900, using: &random)))
        }
        self.kinds = kinds
        virtualSize = UInt64(size)
        file = MemoryFile((0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) ^ byte })
        self.lookUps = lookUps
    }

    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        lookUps.add()
        let first = Int(start.rawValue)
        let end = min(Int(start.rawValue + limit), kinds.count)
        guard first < end else { throw ImageError(.outOfRange, path: "test", "asked outside the layer") }
        let count = UInt64(kinds[first..<end].prefix { $0 == kinds[first] }.count)
        let storage: Extent.Storage =
            switch kinds[first] {
            case 0: .unallocated
            case 1: .data(file: file, offset: HostOffset(start.rawValue))
            case 2: .zero(explicit: true)
            default: .encoded(.compressed, file: file, offset: HostOffset(0), count: 1)
            }
        return Extent(start: start, count: count, storage: storage)
    }

    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard case .encoded(_, let file, _, _) = extent.storage else { return }
        try file.read(Int(extent.count), at: HostOffset(extent.start.rawValue), into: &output)
    }
}

struct `A long chain` {
    private func chain(_ depth: Int, size: Int, share: Int, seed: UInt64) -> (Image, RandomLayer.Counter) {
        var random = SeededRandom(seed: seed)
        let lookUps = RandomLayer.Counter()
        var image: Image?
        for number in 0..<depth {
            // The images below are sometimes shorter.
            let own = number == depth - 1 ? size : Int.random(in: size / 2...size, using: &random)
            let layer = RandomLayer(
                size: own, byte: UInt8(number), share: share, counting: lookUps, using: &random)
            image = Image(layer: layer, backing: image)
        }
        return (image!, lookUps)
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `resolves a range to what each of its places resolves to`(seed: UInt64) throws {
        let size = 60_000
        var random = SeededRandom(seed: seed)
        let depth = Int.random(in: 1...9, using: &random)
        let (image, _) = chain(depth, size: size, share: Int.random(in: 1...7, using: &random), seed: seed)
        for _ in 0..<20 {
            let start = Int.random(in: 0..<size, using: &random)
            let count = Int.random(in: 1...size - start, using: &random)
            let runs = try image.resolveAll(count, from: GuestOffset(UInt64(start))).runs
            var position = UInt64(start)
            for run in runs {
                #expect(run.start.rawValue == position, "seed \(seed)")
                let one = try image.resolve(at: run.start, limit: run.count)
                #expect(one.depth == run.depth && one.layer === run.layer, "seed \(seed) at \(position)")
                switch (one.extent.storage, run.extent.storage) {
                case (.data(let one, let here), .data(let other, let there)):
                    #expect(one === other && here == there, "seed \(seed) at \(position)")
                case (.zero(let one), .zero(let other)): #expect(one == other, "seed \(seed) at \(position)")
                case (.encoded(_, _, let here, _), .encoded(_, _, let there, _)):
                    #expect(here == there, "seed \(seed) at \(position)")
                default: Issue.record("seed \(seed) at \(position): \(one.extent) and \(run.extent)")
                }
                // The run ends no later than the layers say.
                #expect(one.extent.count == run.extent.count, "seed \(seed) at \(position)")
                position += run.extent.count
            }
            #expect(position == UInt64(start + count), "seed \(seed)")
        }
    }

    @Test func `reads the same in one piece and byte by byte`() throws {
        let size = 100_000
        let (image, _) = chain(8, size: size, share: 2, seed: 7)
        let whole = try image.bytes(size, at: 0)
        for start in stride(from: 0, to: size, by: 211) {
            let count = min(211, size - start)
            #expect(try image.bytes(count, at: UInt64(start)) == Array(whole[start..<start + count]))
        }
    }

    @Test func `asks each layer for its own runs, and not for those of the others`() throws {
        let size = 100_000
        let (image, lookUps) = chain(64, size: size, share: 1, seed: 3)
        _ = try image.resolveAll(size, from: GuestOffset(0))
        let together = lookUps.value
        var position: UInt64 = 0
        while position < UInt64(size) {
            position += try image.resolve(at: GuestOffset(position), limit: UInt64(size) - position).extent.count
        }
        #expect(together * 3 < lookUps.value - together, "\(together) and \(lookUps.value - together)")
    }

    @Test func `refuses what is past the end of the disk`() throws {
        let (image, _) = chain(3, size: 1000, share: 5, seed: 1)
        #expect(throws: ImageError.self) { try image.resolveAll(1001, from: GuestOffset(0)) }
        #expect(throws: ImageError.self) { try image.resolveAll(1, from: GuestOffset(.max)) }
        #expect(throws: ImageError.self) { try image.bytes(70_000, at: 0) }
    }
}
