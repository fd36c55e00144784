import BlockImage
import HostTools
import TestImages
import Testing

/// A layer that stores each of its runs in a way that `seed` chooses. What it encodes can only be told from the place
/// of the extent that it is given to decode.
private final class MixedLayer: ImageLayer {
    private struct Run {
        var end: UInt64
        var kind: Int
    }

    let virtualSize: UInt64
    private let runs: [Run]
    private let stored: MemoryFile
    /// The content of every byte that the layer decides about.
    private let content: [UInt8]
    let isDecided: [Bool]

    init(size: UInt64, seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var runs: [Run] = []
        var content = (0..<Int(size)).map { _ in UInt8.random(in: 1...255, using: &random) }
        var isDecided = Array(repeating: true, count: Int(size))
        var holes: [Range<UInt64>] = []
        var start: UInt64 = 0
        while start < size {
            let run = Run(
                end: min(size, start + .random(in: 1...300, using: &random)), kind: .random(in: 0..<5, using: &random))
            let range = Int(start)..<Int(run.end)
            switch run.kind {
            case 0: isDecided.replaceSubrange(range, with: range.map { _ in false })
            case 1: content.replaceSubrange(range, with: range.map { _ in 0 })
            case 2:
                // A hole of the host file, where data would lie.
                content.replaceSubrange(range, with: range.map { _ in 0 })
                holes.append(start..<run.end)
            default: break
            }
            runs.append(run)
            start = run.end
        }
        virtualSize = size
        self.runs = runs
        self.content = content
        self.isDecided = isDecided
        // Elsewhere than on the disk: behind one byte.
        stored = MemoryFile([0xaa] + content, holes: holes.map { $0.lowerBound + 1..<$0.upperBound + 1 })
    }

    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let offset = start.rawValue
        guard let run = runs.first(where: { $0.end > offset }), limit > 0, offset + limit <= virtualSize else {
            throw ImageError(.outOfRange, path: "test", "asked outside the layer")
        }
        let file = HostOffset(offset + 1)
        let storage: Extent.Storage =
            switch run.kind {
            case 0: .unallocated
            case 1: .zero(explicit: true)
            case 4: .encoded(.compressed, file: stored, offset: HostOffset(run.end), count: 1)
            default: .data(file: stored, offset: file)
            }
        return Extent(start: start, count: min(limit, run.end - offset), storage: storage)
    }

    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        let run = runs.first { $0.end > extent.start.rawValue }
        guard case .encoded(_, _, let offset, _) = extent.storage, offset.rawValue == run?.end else {
            throw ImageError(.corrupt, path: "test", "not an extent of this layer")
        }
        for index in 0..<Int(extent.count) {
            output.append(content[Int(extent.start.rawValue) + index], as: UInt8.self)
        }
    }

    /// What the disk holds over `under`.
    func disk(over under: [UInt8]) -> [UInt8] {
        content.indices.map { isDecided[$0] ? content[$0] : $0 < under.count ? under[$0] : 0 }
    }
}

struct `A part of a disk` {
    @Test(arguments: 1...30 as ClosedRange<UInt64>)
    func `is that part, byte for byte, hole for hole`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let base = MixedLayer(size: .random(in: 1...6000, using: &random), seed: seed &+ 1000)
        let top = MixedLayer(size: 5000, seed: seed)
        let disk = Image(layer: top, backing: Image(layer: base))
        let model = top.disk(over: base.disk(over: []))
        #expect(try disk.wholeDisk() == model)

        let start = UInt64.random(in: 0..<5000, using: &random)
        let size = UInt64.random(in: 1...5000 - start, using: &random)
        let part = disk.slice(from: GuestOffset(start), size: size)
        let expected = Array(model[Int(start)..<Int(start + size)])
        #expect(part.virtualSize == size)
        #expect(try part.wholeDisk() == expected, "seed \(seed)")
        for _ in 0..<30 {
            let from = Int.random(in: 0..<Int(size), using: &random)
            let count = Int.random(in: 1...Int(size) - from, using: &random)
            #expect(try part.bytes(count, at: UInt64(from)) == Array(expected[from..<from + count]), "seed \(seed)")
        }
        for hole in [true, false] {
            for from in stride(from: UInt64(0), to: size, by: 97) {
                let found = try part.next(hole: hole, from: GuestOffset(from))?.rawValue
                // The end of the part is a hole, and no data follows it.
                let onDisk = try disk.next(hole: hole, from: GuestOffset(start + from))?.rawValue
                let end = hole ? size : nil
                #expect(found == onDisk.flatMap { $0 < start + size ? $0 - start : nil } ?? end, "seed \(seed)")
            }
        }
    }

    @Test func `says how it is stored just as the disk does`() throws {
        let disk = Image(layer: MixedLayer(size: 5000, seed: 7))
        let part = disk.slice(from: GuestOffset(1234), size: 2000)
        var position: UInt64 = 0
        while position < part.virtualSize {
            let found = try part.resolve(at: GuestOffset(position), limit: .max)
            let below = try disk.resolve(at: GuestOffset(1234 + position), limit: 2000 - position)
            #expect(found.start.rawValue == position && found.count == below.count)
            #expect("\(found.extent)" == "\(below.extent)" && found.layer === below.layer)
            position += found.count
        }
        #expect(position == 2000)
        // A part of a part.
        let inner = part.slice(from: GuestOffset(500), size: 700)
        #expect(try inner.wholeDisk() == disk.bytes(700, at: 1734))
        let (whole, counted) = (try inner.wholeDisk(), inner.allocation().0)
        #expect(counted.data + counted.compressed + counted.zero + counted.unallocated == UInt64(whole.count))
    }

    @Test func `ends with the disk`() throws {
        let disk = Image(layer: MixedLayer(size: 5000, seed: 3))
        #expect(disk.slice(from: GuestOffset(4990), size: 100).virtualSize == 10)
        #expect(disk.slice(from: GuestOffset(4990), size: .max).virtualSize == 10)
        #expect(disk.slice(from: GuestOffset(5000), size: 1).virtualSize == 0)
        #expect(disk.slice(from: GuestOffset(.max), size: .max).virtualSize == 0)
        let part = disk.slice(from: GuestOffset(10), size: 20)
        for (count, offset) in [(1, 20), (21, 0), (1, UInt64.max)] {
            #expect(throws: ImageError.self) { _ = try part.bytes(count, at: offset) }
        }
        let layer = SliceLayer(of: disk, from: GuestOffset(10), size: 20)
        #expect(throws: ImageError.self) { _ = try layer.extent(at: GuestOffset(20), limit: 1) }
    }

    @Test func `costs a walk as many look-ups as the chain that it is part of`() throws {
        var disk = Image(layer: RawLayer(file: MemoryFile([])))
        for _ in 0..<9 { disk = Image(layer: Scattered(), backing: disk) }
        #expect(disk.layersAsked == 10)
        let part = disk.slice(from: GuestOffset(0), size: disk.virtualSize)
        #expect(part.layersAsked == 10)
        #expect(part.allocation(walkLimit: 100_000).1 == nil)
        #expect(part.allocation(walkLimit: 70_000).1?.code == .unsupported)
    }

    /// 10,000 sectors that are stored nowhere, each an extent of its own.
    private final class Scattered: ImageLayer {
        let virtualSize: UInt64 = 5_120_000

        func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
            Extent(start: start, count: min(limit, 512 - start.rawValue % 512), storage: .unallocated)
        }
    }
}
