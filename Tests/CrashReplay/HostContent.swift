import Foundation

/// A digest of the content of files; two contents that differ have the same one with a chance of 2^-128.
package struct ContentDigest: Hashable, Sendable {
    package var high: UInt64 = 0
    package var low: UInt64 = 0

    /// That of the words at `start`, of which there are `count`, a multiple of four; 0 where all are 0.
    fileprivate init(of start: UnsafePointer<UInt64>, _ count: Int) {
        // Two chains of multiplications with different odd factors, in each of four lanes, so that a processor does them
        // at the same time.
        var any = SIMD4<UInt64>(repeating: 0)
        var first = SIMD4<UInt64>(
            0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0x85eb_ca77_c2b2_ae63)
        var second = first &+ 0x27d4_eb2f_1656_67c5
        for index in stride(from: 0, to: count, by: 4) {
            let words = SIMD4(start[index], start[index + 1], start[index + 2], start[index + 3])
            any |= words
            first = (first ^ words) &* 0xbf58_476d_1ce4_e5b9
            first ^= first &>> 29
            second = (second &+ words) &* 0x94d0_49bb_1331_11eb
            second ^= second &>> 32
        }
        guard any != SIMD4(repeating: 0) else { return }
        for lane in 0..<4 {
            high = Self.mix(high ^ first[lane])
            low = Self.mix(low &+ second[lane])
        }
    }

    fileprivate init() {}

    /// What the page `index` with this digest adds to that of the file.
    fileprivate func placed(_ index: Int) -> ContentDigest {
        guard high | low != 0 else { return self }
        var result = ContentDigest()
        result.high = Self.mix(high ^ Self.mix(UInt64(index) &+ 1))
        result.low = Self.mix(low &+ Self.mix(UInt64(index) ^ 0x5555_5555_5555_5555))
        return result
    }

    fileprivate static func mix(_ value: UInt64) -> UInt64 {
        var mixed = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    fileprivate static func + (left: Self, right: Self) -> Self {
        var sum = left
        sum.high &+= right.high
        sum.low &+= right.low
        return sum
    }

    fileprivate static func - (left: Self, right: Self) -> Self {
        var difference = left
        difference.high &-= right.high
        difference.low &-= right.low
        return difference
    }

    /// The digest of this and `other`, in this order.
    package func followed(by other: ContentDigest) -> ContentDigest {
        var result = ContentDigest()
        result.high = Self.mix(high &* 3 &+ other.high)
        result.low = Self.mix(low &* 5 &+ other.low)
        return result
    }
}

/// The content of a file. A value: copies share their pages, so that a hundred thousand contents that differ in little
/// take little. What of it is a hole is not kept: both read as zeros.
package struct HostContent: Sendable {
    /// The bytes of a page.
    package static let pageSize = 4096

    /// A page that is not all zeros. Never changed once it is made.
    private final class Page: @unchecked Sendable {
        let bytes: UnsafeMutableRawBufferPointer
        var digest = ContentDigest()

        init(copying other: Page?) {
            bytes = .allocate(byteCount: pageSize, alignment: 16)
            if let other {
                bytes.copyMemory(from: UnsafeRawBufferPointer(other.bytes))
            } else {
                memset(bytes.baseAddress!, 0, pageSize)
            }
        }

        deinit { bytes.deallocate() }

        func seal() {
            digest = bytes.withMemoryRebound(to: UInt64.self) { ContentDigest(of: $0.baseAddress!, $0.count) }
        }
    }

    /// The bytes of the file.
    package private(set) var size: UInt64 = 0
    private var pages: [Page?] = []
    private var sum = ContentDigest()

    /// No bytes.
    package init() {}

    /// A file of `bytes`.
    package init(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { write($0, at: 0) }
    }

    /// What tells contents apart.
    package var digest: ContentDigest {
        var digest = sum
        digest.high ^= ContentDigest.mix(size)
        return digest
    }

    /// Writes `bytes` at `offset`; the file grows where they reach past its end.
    package mutating func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        grow(to: offset + UInt64(bytes.count))
        change(Int(offset)..<Int(offset) + bytes.count) { page, place, done in
            UnsafeMutableRawBufferPointer(rebasing: page[place])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[done..<done + place.count]))
        }
    }

    /// Has `count` bytes at `offset` read as zeros; the file does not grow.
    package mutating func zero(_ count: UInt64, at offset: UInt64) {
        guard offset < size else { return }
        let end = Int(min(size, offset + count))
        change(Int(offset)..<end) { page, place, _ in memset(page.baseAddress! + place.lowerBound, 0, place.count) }
    }

    /// Makes the file `new` bytes long; what is added reads as zeros.
    package mutating func setSize(_ new: UInt64) {
        if new < size {
            zero(size - new, at: new)
            size = new
            pages.removeLast(pages.count - Self.pageCount(new))
        } else {
            grow(to: new)
        }
    }

    /// Lets `body` read the `count` bytes at `offset`, which lie in the file, piece by piece; a piece of zeros is nil.
    package func read(
        _ count: Int, at offset: UInt64, _ body: (UnsafeRawBufferPointer?, Int) -> Void
    ) {
        var position = Int(offset)
        let end = position + count
        while position < end {
            let start = position % Self.pageSize
            let part = min(end - position, Self.pageSize - start)
            let page = pages[position / Self.pageSize]
            body(page.map { UnsafeRawBufferPointer(rebasing: $0.bytes[start..<start + part]) }, part)
            position += part
        }
    }

    /// The `count` bytes at `offset`; what lies past the end is zeros.
    package func bytes(_ count: Int, at offset: UInt64) -> [UInt8] {
        let there = offset < size ? Int(min(UInt64(count), size - offset)) : 0
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        read(there, at: offset) { part, count in
            if let part { bytes += part } else { bytes += repeatElement(0, count: count) }
        }
        bytes += repeatElement(0, count: count - there)
        return bytes
    }

    /// The whole file.
    package var bytes: [UInt8] { bytes(Int(size), at: 0) }

    private static func pageCount(_ size: UInt64) -> Int { (Int(size) + pageSize - 1) / pageSize }

    private mutating func grow(to end: UInt64) {
        guard end > size else { return }
        size = end
        let count = Self.pageCount(end)
        if count > pages.count { pages += repeatElement(nil, count: count - pages.count) }
    }

    /// Lets `body` change a copy of each page of `range`: it gets the page, the place in it, and how many bytes of the
    /// range lie before.
    private mutating func change(
        _ range: Range<Int>, _ body: (UnsafeMutableRawBufferPointer, Range<Int>, Int) -> Void
    ) {
        var position = range.lowerBound
        while position < range.upperBound {
            let (index, start) = (position / Self.pageSize, position % Self.pageSize)
            let count = min(range.upperBound - position, Self.pageSize - start)
            let page = Page(copying: pages[index])
            body(page.bytes, start..<start + count, position - range.lowerBound)
            page.seal()
            if let old = pages[index] { sum = sum - old.digest.placed(index) }
            sum = sum + page.digest.placed(index)
            pages[index] = page.digest == ContentDigest() ? nil : page
            position += count
        }
    }
}
