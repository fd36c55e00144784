/// Sectors that follow each other.
public struct SectorRange: Hashable, Sendable, Encodable {
    /// The number of the first; the first of the disk is 0.
    public var start: UInt64
    /// How many; at least one.
    public var count: UInt64

    /// The `count` sectors from `start` on.
    public init(start: UInt64, count: UInt64) {
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
