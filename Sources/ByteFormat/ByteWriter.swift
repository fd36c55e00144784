/// The bytes of one on-disk structure, built field by field in the order of the disk. Byte order is part of every write.
public struct ByteWriter: Sendable {
    @usableFromInline var written: [UInt8] = []

    /// What was written so far.
    @inlinable public var bytes: [UInt8] { written }

    /// An empty structure, with space for `capacity` bytes before it has to grow.
    public init(capacity: Int = 0) {
        written.reserveCapacity(capacity)
    }

    /// Where the next byte goes, counted from the structure's start.
    public var position: Int { bytes.count }

    /// Writes one integer in `order`.
    @inlinable public mutating func write<Value: FixedWidthInteger>(_ value: Value, _ order: ByteOrder) {
        let size = Value.bitWidth / 8
        for index in 0..<size {
            let shift = 8 * (order == .big ? size - 1 - index : index)
            written.append(UInt8(truncatingIfNeeded: value >> Value(truncatingIfNeeded: shift)))
        }
    }

    /// Writes `bytes` as they are.
    @inlinable public mutating func write(bytes: some Sequence<UInt8>) {
        written.append(contentsOf: bytes)
    }

    /// Writes zeros up to `position`; none where the structure has that many bytes already.
    public mutating func pad(to position: Int) {
        written.append(contentsOf: repeatElement(0, count: max(0, position - bytes.count)))
    }

    /// Writes zeros up to the next multiple of `alignment` from the structure's start.
    public mutating func align(to alignment: Int) {
        pad(to: (bytes.count + alignment - 1) / alignment * alignment)
    }
}
