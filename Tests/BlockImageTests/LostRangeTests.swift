import BlockImage
import TestImages
import Testing

@Suite struct `Lost ranges` {
    private func bad(_ words: ErrorText) -> ImageError { ImageError(.corrupt, about: .disk, words) }

    @Test func `are apart where they touch and have other reasons`() {
        func ranges(_ errors: ImageError...) -> [UInt64] {
            var lost = LostRanges()
            for (index, error) in errors.enumerated() { lost.add(UInt64(index) * 512, 512, error) }
            #expect(lost.size == UInt64(errors.count) * 512)
            return lost.ranges.map(\.length)
        }
        #expect(
            ranges(bad("entry 17 points to 0x50200"), bad("entry 9 points to 0xfe00"), bad("entry 1a points to 0")) == [
                1536
            ])
        #expect(
            ranges(bad("cannot be inflated"), bad("cannot be inflated"), bad("points past the end")) == [1024, 512])
        #expect(
            ranges(bad("is lost"), ImageError(.truncated, about: .disk, "is lost"), bad("is lost")) == [512, 512, 512])
        #expect(
            ranges(ImageError(.corrupt, path: "a", "is lost"), ImageError(.corrupt, path: "b", "is lost")) == [
                512, 512,
            ])
        let error = ImageError(.system(errno: 5), path: "a", offset: HostOffset(512), "read: Input/output error")
        #expect(
            ranges(error, ImageError(.system(errno: 5), path: "a", offset: HostOffset(9), "read: Input/output error"))
                == [1024])
    }

    @Test func `are joined where they touch, and are bounded`() {
        var lost = LostRanges()
        #expect(lost.isEmpty && lost.ranges == [])
        lost.add(0, 512, bad("entry 1"))
        lost.add(512, 512, bad("entry 2"))
        #expect(lost.ranges == [LostRange(start: 0, length: 1024, error: bad("entry 1"))] && lost.size == 1024)
        for index in 1...UInt64(LostRanges.limit) + 5 { lost.add(index * 2048, 512, bad("more")) }
        #expect(lost.ranges.count == LostRanges.limit + 1)
        #expect(lost.size == 1024 + 512 * UInt64(LostRanges.limit + 5))
        let last = lost.ranges.last
        #expect(
            last?.start == UInt64(LostRanges.limit) * 2048 && last?.end == UInt64(LostRanges.limit + 5) * 2048 + 512)
        #expect(last?.error.detail == "6 more ranges in here cannot be read, 3072 bytes")
    }

    @Test func `of a file with bad sectors are reported to the sector, and all else is read`() throws {
        let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 512 + 1) }
        let bad = [512..<1024, 51_200..<52_224]
        let image = Image(layer: RawLayer(file: FaultyFile(bytes, bad: bad)))
        var lost = LostRanges()
        let buffer = AlignedBuffer(capacity: bytes.count, alignment: 64)
        buffer.fill(bytes.count) { output in image.read(0..<UInt64(bytes.count), into: &output, &lost) }
        var expected = bytes
        for range in bad { expected.replaceSubrange(range, with: Array(repeating: 0, count: range.count)) }
        #expect(areSame(buffer.array, expected))
        #expect(lost.ranges.map { Int($0.start)..<Int($0.end) } == bad)
        #expect(lost.ranges.allSatisfy { $0.error.description.contains("Input/output error") })
    }

    @Test func `have the length that a layer tells, through a chain and a part of the disk`() throws {
        let backing = Image(layer: HalfLost())
        let disk = Image(layer: Unwritten(), backing: backing).slice(from: GuestOffset(512), size: 1 << 40)
        let measured = disk.measure()
        #expect(measured.error == nil && measured.sum.unallocated == 512)
        #expect(measured.lost.ranges.map { $0.start..<$0.end } == [512..<(1 << 40) - 512])
    }
}

/// A disk of which all but the first KiB is lost.
private final class HalfLost: ImageLayer {
    let virtualSize: UInt64 = 1 << 40

    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        guard start.rawValue < 1024 else { throw ImageError(.truncated, path: "half", "is lost") }
        return Extent(start: start, count: min(limit, 1024 - start.rawValue), storage: .unallocated)
    }

    func lost(at start: GuestOffset, limit: UInt64) -> UInt64 { limit }
}

/// A disk to which nothing was written.
private final class Unwritten: ImageLayer {
    let virtualSize: UInt64 = 1 << 40

    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        Extent(start: start, count: limit, storage: .unallocated)
    }
}
