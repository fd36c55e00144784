import BlockImage

/// Sectors that a list names: as `rblock diff --sectors` prints them, a number a line, or as `rblock diff` does, the
/// first and the last one of a range.
package struct SectorList: Sendable {
    /// What is said of lines that cannot be read.
    private let path: String
    private let sectorSize: UInt64
    private var ranges: [SectorRange] = []
    private var lineCount = 0
    private var line: [UInt8] = []

    /// An empty list, of sectors of `sectorSize` bytes, that stands in `path`.
    package init(sectorSize: Int, path: String) {
        self.sectorSize = UInt64(sectorSize)
        self.path = path
    }

    /// Reads `bytes`, which go on where those before them ended. Throws `corrupt` for a line that names no sectors.
    package mutating func add(_ bytes: some Sequence<UInt8>) throws(ImageError) {
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                try endLine()
            } else {
                line.append(byte)
                if line.count > 128 { try endLine() }
            }
        }
    }

    private mutating func endLine() throws(ImageError) {
        lineCount += 1
        let words = String(decoding: line, as: UTF8.self).split { $0 == " " || $0 == "\t" || $0 == "\r" }
        line.removeAll(keepingCapacity: true)
        guard let word = words.first else { return }
        let ends = word.split(separator: "-", omittingEmptySubsequences: false).map { UInt64($0) }
        guard let found = ends.first, let first = found, let second = ends.last, let last = second, first <= last,
            last < .max / sectorSize, ends.count <= 2, words.dropFirst().allSatisfy({ UInt64($0) != nil })
        else {
            throw ImageError(
                .corrupt, path: path,
                "line \(lineCount): must be the number of a sector, or first-last\(hint: ", as rblock diff --sectors prints them")"
            )
        }
        let range = SectorRange(start: first, count: last - first + 1)
        if let before = ranges.last, before.start <= first, ranges[ranges.count - 1].join(range) { return }
        ranges.append(range)
    }

    /// The bytes of a disk of `size` bytes that all lines name, in order. Throws what the last line throws, and
    /// `outOfRange` for sectors that the disk does not have.
    package mutating func parts(of size: UInt64) throws(ImageError) -> [Range<UInt64>] {
        try endLine()
        var parts: [Range<UInt64>] = []
        for range in ranges.sorted(by: { $0.start < $1.start }) {
            let end = range.end * sectorSize
            // The disk may end inside of its last sector.
            guard end < size + sectorSize else {
                throw ImageError(
                    .outOfRange, path: path,
                    "sector \(range.end - 1): the disk ends before it, at \(counted(size, "byte"))")
            }
            let part = range.start * sectorSize..<min(end, size)
            if let last = parts.last, part.lowerBound <= last.upperBound {
                parts[parts.count - 1] = last.lowerBound..<max(last.upperBound, part.upperBound)
            } else {
                parts.append(part)
            }
        }
        return parts
    }
}

/// Sectors that follow each other.
package struct SectorRange: Hashable, Sendable, Encodable {
    /// The number of the first; the first of the disk is 0.
    package var start: UInt64
    /// How many; at least one.
    package var count: UInt64

    /// The `count` sectors from `start` on.
    package init(start: UInt64, count: UInt64) {
        self.start = start
        self.count = count
    }

    /// The number of the sector behind the last one.
    var end: UInt64 { start + count }

    /// Takes in `next`, which begins no earlier, if there is no gap between; answers whether it did.
    mutating func join(_ next: SectorRange) -> Bool {
        guard next.start <= end else { return false }
        count = max(end, next.end) - start
        return true
    }
}
