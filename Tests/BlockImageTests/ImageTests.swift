import BlockImage
import TestImages
import Testing

/// A layer whose extents a test lists: each a count and how it is stored. Its data lies in a file as long as the disk.
private final class ListedLayer: ImageLayer {
    enum Kind { case data, zero, unallocated, encoded }
    let virtualSize: UInt64
    private let runs: [(end: UInt64, kind: Kind)]
    private let file: MemoryFile

    init(_ runs: [(UInt64, Kind)], byte: UInt8, holes: [Range<UInt64>] = []) {
        var end: UInt64 = 0
        self.runs = runs.map { count, kind in
            end += count
            return (end, kind)
        }
        virtualSize = end
        file = MemoryFile(Array(repeating: byte, count: Int(end)), holes: holes)
    }

    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let offset = start.rawValue
        guard let run = runs.first(where: { $0.end > offset }), limit > 0 else {
            throw ImageError(.outOfRange, path: "test", "asked outside the layer")
        }
        let count = min(limit, run.end - offset)
        let storage: Extent.Storage =
            switch run.kind {
            case .data: .data(file: file, offset: HostOffset(offset))
            case .zero: .zero(explicit: true)
            case .unallocated: .unallocated
            case .encoded: .encoded(.compressed, file: file, offset: HostOffset(offset), count: 1)
            }
        return Extent(start: start, count: count, storage: storage)
    }

    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        for _ in 0..<extent.count { output.append(0xee, as: UInt8.self) }
    }
}

struct `A disk` {
    /// Bytes as runs, so that expectations can be read.
    private func runs(_ bytes: [UInt8]) -> [String] {
        var result: [(UInt8, Int)] = []
        for byte in bytes {
            if result.last?.0 == byte { result[result.count - 1].1 += 1 } else { result.append((byte, 1)) }
        }
        return result.map { "\($0.1) of \($0.0)" }
    }

    @Test func `reads through its layers`() throws {
        let base = Image(layer: ListedLayer([(10, .data), (10, .zero), (20, .encoded)], byte: 1))
        let top = ListedLayer(
            [(5, .unallocated), (3, .data), (12, .unallocated), (5, .zero), (15, .unallocated)], byte: 2)
        let image = Image(layer: top, backing: base)
        #expect(
            try runs(image.wholeDisk()) == ["5 of 1", "3 of 2", "2 of 1", "15 of 0", "15 of 238"])
        #expect(try runs(image.bytes(4, at: 6)) == ["2 of 2", "2 of 1"])
        #expect(try image.resolve(at: GuestOffset(8), limit: .max).depth == 1)
        #expect(try image.resolve(at: GuestOffset(8), limit: .max).extent.count == 2)
        #expect(try image.resolve(at: GuestOffset(6), limit: 1).depth == 0)
    }

    @Test func `shows zeros where its backing disk is shorter, and not what is behind where that is longer`() throws {
        let short = Image(layer: ListedLayer([(7, .data)], byte: 1))
        let image = Image(layer: ListedLayer([(20, .unallocated)], byte: 2), backing: short)
        #expect(try runs(image.wholeDisk()) == ["7 of 1", "13 of 0"])
        let long = Image(layer: ListedLayer([(100, .data)], byte: 1))
        let cut = Image(layer: ListedLayer([(20, .unallocated)], byte: 2), backing: long)
        #expect(cut.virtualSize == 20)
        #expect(try runs(cut.wholeDisk()) == ["20 of 1"])
        #expect(throws: ImageError.self) { _ = try cut.bytes(1, at: 20) }
        // In the middle of three: what it cuts off does not come back below it.
        let middle = Image(layer: ListedLayer([(7, .unallocated)], byte: 3), backing: long)
        let top = Image(layer: ListedLayer([(20, .unallocated)], byte: 2), backing: middle)
        #expect(try runs(top.wholeDisk()) == ["7 of 1", "13 of 0"])
    }

    @Test(arguments: [(0, 21), (20, 1), (21, 1), (1, 20), (.max, 1), (19, 1 << 20)] as [(UInt64, Int)])
    func `says what was read before it ended`(start: UInt64, count: Int) throws {
        let image = Image(layer: ListedLayer([(20, .data)], byte: 2))
        let buffer = AlignedBuffer(capacity: count)
        let error = #expect(throws: ImageError.self) {
            try buffer.fill(count) { output throws(ImageError) in
                try image.read(count, at: GuestOffset(start), into: &output)
            }
        }
        #expect(error?.code == .outOfRange)
        #expect(buffer.count == (start < 20 ? 20 - Int(start) : 0))
    }

    @Test func `of no bytes has nothing to read`() throws {
        let image = Image(layer: RawLayer(file: MemoryFile([])))
        #expect(try image.wholeDisk() == [])
        #expect(throws: ImageError.self) { _ = try image.resolve(at: GuestOffset(0), limit: 1) }
        #expect(image.allocation().0 == Allocation())
        #expect(try image.next(hole: true, from: GuestOffset(0)) == GuestOffset(0))
        #expect(try image.next(hole: false, from: GuestOffset(0)) == nil)
    }

    @Test func `adds up how it is stored, holes of the host included`() {
        let base = Image(layer: ListedLayer([(30, .data)], byte: 1, holes: [10..<15]))
        let kinds: [(UInt64, ListedLayer.Kind)] = [(20, .unallocated), (5, .encoded), (7, .zero), (50, .unallocated)]
        let image = Image(layer: ListedLayer(kinds, byte: 2), backing: base)
        var expected = Allocation()
        expected.data = 15
        expected.zero = 5 + 7
        expected.compressed = 5
        expected.unallocated = 50
        let (sum, error) = image.allocation()
        #expect(sum == expected)
        #expect(error == nil)
        #expect(sum.allocated == 20)
    }

    @Test func `of more runs than anybody counts is counted in part, and looked through in part`() throws {
        // Zeros and what was never written are both holes, but no single run.
        let holes = ListedLayer((0..<1000).map { (512, $0.isMultiple(of: 2) ? .zero : .unallocated) }, byte: 1)
        let image = Image(layer: holes)
        let (sum, error) = image.allocation(walkLimit: 100)
        #expect(sum.zero == 50 * 512)
        #expect(sum.unallocated == 50 * 512)
        #expect(error?.code == .unsupported)
        #expect(image.allocation().1 == nil)
        // Data is never denied: where the search ends, it may be.
        #expect(try image.next(hole: false, from: GuestOffset(0), walkLimit: 100) == GuestOffset(100 * 512))
        #expect(try image.next(hole: false, from: GuestOffset(0)) == nil)
    }

    @Test func `finds the next hole and the next data as lseek does`() throws {
        let kinds: [(UInt64, ListedLayer.Kind)] = [(10, .zero), (20, .data), (5, .encoded), (5, .unallocated)]
        let image = Image(layer: ListedLayer(kinds, byte: 2, holes: [15..<18]))
        let table: [(UInt64, hole: UInt64?, data: UInt64?)] = [
            (0, 0, 10), (9, 9, 10), (10, 15, 10), (14, 15, 14), (15, 15, 18), (17, 17, 18), (18, 35, 18),
            (29, 35, 29), (34, 35, 34), (35, 35, nil), (39, 39, nil),
        ]
        for (start, hole, data) in table {
            #expect(try image.next(hole: true, from: GuestOffset(start))?.rawValue == hole, "from \(start)")
            #expect(try image.next(hole: false, from: GuestOffset(start))?.rawValue == data, "from \(start)")
        }
        let full = Image(layer: ListedLayer([(10, .data)], byte: 1))
        #expect(try full.next(hole: true, from: GuestOffset(3)) == GuestOffset(10))
    }
}

struct `Aligned memory` {
    @Test func `lies at a page, and has what was filled last`() {
        let buffer = AlignedBuffer(capacity: 100)
        #expect(buffer.capacity == 100 && buffer.count == 0)
        buffer.fill(10) { $0.appendZeros(3) }
        #expect(buffer.array == [0, 0, 0])
        buffer.fill(100) { output in for _ in 0..<100 { output.append(7, as: UInt8.self) } }
        #expect(buffer.array == Array(repeating: 7, count: 100))
        buffer.bytes.withUnsafeBytes { #expect(UInt(bitPattern: $0.baseAddress) % 4096 == 0) }
        buffer.fill(0) { _ in }
        #expect(buffer.array == [] && buffer.bytes.byteCount == 0)
    }

    @Test func `keeps what was written before an error`() {
        let buffer = AlignedBuffer(capacity: 10)
        let failure = ImageError(.corrupt, path: "x", "y")
        #expect(throws: failure) {
            try buffer.fill(10) { output throws(ImageError) in
                output.appendZeros(4)
                throw failure
            }
        }
        #expect(buffer.array == [0, 0, 0, 0])
    }

    @Test func `takes copies of other bytes, and none of nothing`() {
        let source = AlignedBuffer(capacity: 3)
        source.fill(3) { output in for byte in UInt8(1)...3 { output.append(byte, as: UInt8.self) } }
        let buffer = AlignedBuffer(capacity: 10)
        buffer.fill(10) { output in
            output.append(copying: source.bytes)
            output.append(copying: source.bytes.extracting(1..<1))
            output.append(copying: source.bytes.extracting(1..<3))
        }
        #expect(buffer.array == [1, 2, 3, 2, 3])
    }
}

struct `Offsets` {
    @Test func `are held to the largest one, and print in hexadecimal`() {
        #expect(GuestOffset(5).advanced(by: .max).rawValue == .max)
        #expect(HostOffset(.max).advanced(by: 1).rawValue == .max)
        #expect(GuestOffset(0x1_0000).description == "0x10000")
        #expect(HostOffset(1) < HostOffset(2))
    }

    @Test func `stand in errors where there are some`() {
        let error = ImageError(.corrupt, path: "a.img", offset: HostOffset(255), "broken – must not be")
        #expect(error.description == "a.img: at 0xff: broken – must not be")
        #expect(ImageError(.denied, path: "a.img", "no").description == "a.img: no")
    }
}
