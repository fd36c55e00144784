import BlockImage
import ByteFormat
import HostTools
import Synchronization
import TestImages
import Testing

@testable import VMDK

@Suite struct `Extents of ESX` {
    private static let head = DescriptorTests.head

    @Test(arguments: [1, 2, 16], 1...6 as ClosedRange<UInt64>)
    func `VMFSSPARSE reads as the bytes that it was made of`(grainSize: Int, seed: UInt64) throws {
        var random = SeededRandom(seed: seed &+ UInt64(grainSize) << 8)
        var image = COWDImage(capacity: Int.random(in: 1...9000, using: &random), grainSize: grainSize)
        let count = (image.capacity + grainSize - 1) / grainSize
        image.order = pieces(of: (0..<count).filter { _ in Int.random(in: 0..<8, using: &random) > 0 }, &random)
        let layer = try openLayer(
            Self.head + "RW \(image.capacity) VMFSSPARSE \"d\"", ["d": MemoryFile(image.build().bytes, path: "d")])
        #expect(try wrongReads(of: Image(layer: layer), image.disk, &random) == [], "seed \(seed)")
        #expect(layer.clusterSize == grainSize * 512)
        #expect(layer.notes == [])
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `SESPARSE reads as the bytes that it was made of`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        // Grains of 4 KiB; the second table begins at the sector 32768.
        var image = SESparseImage(capacity: Int.random(in: 1...(seed % 2 == 0 ? 36_000 : 900), using: &random))
        while image.grains.count * 8 < image.capacity {
            let count = min((image.capacity + 7) / 8 - image.grains.count, Int.random(in: 1...9, using: &random))
            image.grains += Array(repeating: SESparseImage.Grain.allCases.randomElement(using: &random)!, count: count)
        }
        image.order = pieces(of: Array(image.grains.indices), &random)
        let layer = try openLayer(
            Self.head + "RW \(image.capacity) SESPARSE \"d\"", ["d": MemoryFile(image.build().bytes, path: "d")])
        #expect(try wrongReads(of: Image(layer: layer), image.disk, &random) == [], "seed \(seed)")
        #expect(layer.clusterSize == 4096)
        for (index, grain) in image.grains.enumerated() {
            let extent = try layer.extent(at: GuestOffset(UInt64(index) * 4096), limit: 512)
            switch (extent.storage, grain) {
            case (.unallocated, .absent), (.zero(explicit: true), .unmapped), (.zero(explicit: true), .zeroed),
                (.data, .data):
                break
            default: Issue.record("grain \(index), \(grain): \(extent.storage)")
            }
        }
    }

    /// The indices in runs, shuffled.
    private func pieces(of indices: [Int], _ random: inout SeededRandom) -> [Int] {
        var pieces: [[Int]] = []
        var rest = indices[...]
        while !rest.isEmpty {
            let count = Int.random(in: 1...40, using: &random)
            pieces.append(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        }
        return pieces.shuffled(using: &random).flatMap { $0 }
    }

    @Test func `grains of one sector are merged as far as their table goes`() throws {
        let image = COWDImage(capacity: 9000, order: Array(100..<4500))
        let (bytes, sectorOfGrain) = image.build()
        let file = MemoryFile(bytes)
        let layer = try openLayer(file)
        func run(_ sector: UInt64) throws -> (UInt64, HostOffset?) {
            let extent = try layer.extent(at: GuestOffset(sector * 512 + 7), limit: .max / 2)
            if case .data(_, let offset) = extent.storage { return (extent.count, offset) }
            return (extent.count, nil)
        }
        let host = UInt64(sectorOfGrain[100]! * 512) + 7
        #expect(try run(0) == (100 * 512 - 7, nil))
        #expect(try run(100) == ((4096 - 100) * 512 - 7, HostOffset(host)))
        #expect(try run(4096) == ((4500 - 4096) * 512 - 7, HostOffset(host + (4096 - 100) * 512)))
        #expect(try run(4500) == ((8192 - 4500) * 512 - 7, nil))
        #expect(try run(8192) == ((9000 - 8192) * 512 - 7, nil))
        let before = file.reads.load(ordering: .relaxed)
        _ = try Image(layer: layer).bytes(4096 * 512 - 512 * 100, at: 51_200)
        #expect(file.reads.load(ordering: .relaxed) == before + 1)
    }

    @Test func `an extent without its descriptor is a disk, with a note that a parent may be missing`() throws {
        func note(_ kind: String) -> ErrorText {
            "memory.img: the \(kind) extent comes without its descriptor, so it is taken for a whole disk: what it "
                + "does not hold belongs to a parent, which only the descriptor names, and is read as zeros"
        }
        let cowd = COWDImage(capacity: 77, order: [5])
        let layer = try openLayer(MemoryFile(cowd.build().bytes))
        #expect(try Image(layer: layer).wholeDisk() == cowd.disk)
        #expect(layer.notes == [note("VMFSSPARSE")])
        #expect(layer.extents.map(\.kindName) == [""])
        let description = layer.description
        #expect(description.virtualSize == 77 * 512)
        #expect(description.createType == nil && description.cid == nil && description.sparseHeader == nil)
        let seSparse = SESparseImage(capacity: 78, grains: [.data])
        let other = try openLayer(MemoryFile(seSparse.build().bytes))
        #expect(try Image(layer: other).wholeDisk() == seSparse.disk)
        #expect(other.notes == [note("SESPARSE")])
        #expect(other.description.virtualSize == 78 * 512)
    }

    @Test func `a geometry in the place of the parent's name is none, and an open file is noted`() throws {
        var bytes = COWDImage(capacity: 77, order: [5]).build().bytes
        for (index, value) in [1023, 255, 63].enumerated() { bytes.put(UInt32(value), at: 32 + index * 4) }
        bytes[1648] = 1
        let notes = try openLayer(MemoryFile(bytes)).notes
        #expect(notes.count == 2)
        #expect(notes.first?.hasSuffix("is read as zeros") == true)
        #expect(notes.last == "memory.img: its last writer did not close it (uncleanShutdown)")
    }

    @Test func `extents without sectors are empty`() throws {
        for bytes in [COWDImage(capacity: 0).build().bytes, SESparseImage(capacity: 0).build().bytes] {
            #expect(try openLayer(MemoryFile(bytes)).virtualSize == 0)
        }
    }

    @Test func `the fields of the entries of SESPARSE tile them`() {
        #expect(SESparseAreas.tableMark.mask | SESparseAreas.tableNumber.mask == .max)
        #expect(SESparseAreas.tableMark.mask & SESparseAreas.tableNumber.mask == 0)
        let fields = [SESparseAreas.grainType, SESparseAreas.grainNumberLow, SESparseAreas.grainNumberHigh]
        #expect(fields.reduce(0) { $0 ^ $1.mask } == .max)
        #expect(fields.map(\.width).reduce(0, +) == 64)
    }

    @Test(
        arguments: [
            (0, .unallocated), (1, .invalid), (1 << 60, .zeroed), (2 << 60 | 5, .zeroed),
            (3 << 60, .allocated(sector: 1000)), (3 << 60 | 5 << 48, .allocated(sector: 1040)),
            (3 << 60 | 1, .allocated(sector: 1000 + 4096 * 8)),
            (3 << 60 | 0xfff << 48 | 1, .allocated(sector: 1000 + 8191 * 8)), (3 << 60 | 2, .invalid),
            (3 << 60 | UInt64(1) << 47, .invalid), (4 << 60, .invalid), (.max, .invalid),
        ] as [(UInt64, GrainMapping)])
    func `an entry of a SESPARSE grain table means one thing`(entry: UInt64, mapping: GrainMapping) {
        let areas = SESparseAreas(tablesOffset: 0, tablesSize: 64, grainsOffset: 1000, grainsSize: 8192 * 8)
        #expect(TableFormat.seSparse(areas).grain(entry) == mapping)
    }

    @Test func `an entry of 0 or 1 means what the kind has it mean`() {
        #expect(TableFormat.cowd.grain(0) == .unallocated && TableFormat.cowd.grain(1) == .invalid)
        #expect(TableFormat.hosted(hasZeroedGrains: true).grain(1) == .zeroed)
        #expect(TableFormat.hosted(hasZeroedGrains: false).grain(1) == .invalid)
        #expect(TableFormat.cowd.grain(2) == .allocated(sector: 2))
    }
}
