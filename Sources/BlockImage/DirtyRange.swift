/// A part of the disk that a bitmap marks as written to.
public struct DirtyRange: Hashable, Sendable {
    /// Where it begins.
    public var start: GuestOffset
    /// Its bytes; at least one.
    public var count: UInt64

    /// The `count` bytes from `start` on.
    public init(start: GuestOffset, count: UInt64) {
        self.start = start
        self.count = count
    }
}

/// The parts of a disk that one bitmap marks as written to, in order, found while they are asked for.
public protocol DirtyRangeReader: Sendable {
    /// The next range, which does not touch the one before; nil at the end. Throws what is wrong with the bitmap.
    mutating func next() throws(ImageError) -> DirtyRange?
}
