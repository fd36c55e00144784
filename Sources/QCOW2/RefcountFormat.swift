import ByteFormat

/// An entry of the refcount table: docs/interop/qcow2 "Refcount table entry".
///
///     BIT   FIELD
///      0-8  reserved
///      9-63 offset of the refcount block; 0: none, and all its refcounts are 0
struct RefcountTableEntry: RawRepresentable, Hashable {
    let rawValue: UInt64

    static let reserved = BitField<UInt64>(0...8)
    static let offset = BitField<UInt64>(9...63)

    /// Where the refcount block begins; 0 where there is none.
    var blockOffset: UInt64 { Self.offset.masked(in: rawValue) }
}

/// How a refcount block stores its refcounts: docs/interop/qcow2 "Host cluster management".
///
/// A refcount has 2^refcount_order bits. Those of a byte or more are big-endian; smaller ones share a byte, the first in
/// its lowest bits.
struct RefcountFormat: Hashable {
    /// log2 of the bits of a refcount: 0 to 6.
    let order: UInt64

    /// The largest refcount.
    var limit: UInt64 { .max >> (64 - (1 << order)) }
    /// How many refcounts a block of one cluster has.
    func count(clusterSize: UInt64) -> UInt64 { (clusterSize * 8) >> order }

    /// The bytes of the big-endian integer that a refcount is, or that it shares with others.
    var unitSize: Int { max(1, (1 << order) / 8) }
    /// Where in the block the integer of the refcount `index` begins.
    func unitOffset(of index: UInt64) -> UInt64 { (index << order) / 8 }
    /// The lowest bit of the refcount `index` in its integer.
    func shift(of index: UInt64) -> UInt64 { index << order & 7 }
    /// The refcount `index`, whose integer is `unit` in the low bits.
    func refcount(_ index: UInt64, inUnit unit: UInt64) -> UInt64 { unit >> shift(of: index) & limit }

    /// How many refcounts a word of 64 bits has.
    var perWord: UInt64 { 64 >> order }
    /// The refcount `index` of the block, which lies in the big-endian word `word`.
    func refcount(_ index: UInt64, inWord word: UInt64) -> UInt64 {
        refcount(index, inUnit: word >> (64 - 8 * (unitOffset(of: index) & 7 + UInt64(unitSize))))
    }
}

extension Header {
    /// How refcounts are stored. Only where refcount_order is at most 6.
    var refcountFormat: RefcountFormat { RefcountFormat(order: UInt64(refcountOrder)) }
}

/// A refcount block that is being made.
struct RefcountBlock {
    /// The block as it is stored; one cluster.
    private(set) var bytes: [UInt8]
    /// How its refcounts are stored.
    let format: RefcountFormat

    /// A block of `clusterSize` bytes, all of whose refcounts are 0.
    init(clusterSize: UInt64, _ format: RefcountFormat) {
        bytes = Array(repeating: 0, count: Int(clusterSize))
        self.format = format
    }

    /// How many refcounts it has.
    var count: Int { Int(format.count(clusterSize: UInt64(bytes.count))) }

    /// Makes the refcount `index`, which is 0, `refcount`, which fits.
    mutating func set(_ index: Int, to refcount: UInt64) {
        let index = UInt64(index)
        let unit = refcount << format.shift(of: index)
        let last = Int(format.unitOffset(of: index)) + format.unitSize - 1
        for byte in 0..<format.unitSize { bytes[last - byte] |= UInt8(truncatingIfNeeded: unit >> UInt64(8 * byte)) }
    }
}
