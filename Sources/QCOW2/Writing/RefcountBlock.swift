/// A refcount block that is being made: docs/interop/qcow2 "Host cluster management".
///
/// A refcount has 2^refcount_order bits. Those of a byte or more are big-endian; smaller ones share a byte, the first in
/// its lowest bits.
struct RefcountBlock {
    /// The block as it is stored; one cluster.
    private(set) var bytes: [UInt8]
    /// log2 of the bits of a refcount.
    let order: Int

    /// A block of `clusterSize` bytes for refcounts of 2^`order` bits, all of which are 0.
    init(clusterSize: Int, order: Int) {
        bytes = Array(repeating: 0, count: clusterSize)
        self.order = order
    }

    /// How many refcounts it has.
    var count: Int { (bytes.count * 8) >> order }

    /// Makes the refcount `index`, which is 0, `refcount`, which fits.
    mutating func set(_ index: Int, to refcount: UInt64) {
        let bit = index << order
        if order < 3 {
            bytes[bit / 8] |= UInt8(truncatingIfNeeded: refcount << UInt64(bit % 8))
        } else {
            let size = 1 << (order - 3)
            for byte in 0..<size {
                bytes[bit / 8 + byte] = UInt8(truncatingIfNeeded: refcount >> UInt64(8 * (size - 1 - byte)))
            }
        }
    }
}
