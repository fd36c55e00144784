/// Builds a new image from the start of its disk to its end.
///
/// Pieces come in the order of the disk, none twice. What no piece covers is not allocated: it reads as the backing
/// image's bytes, and without one as zeros. Used by one thread at a time.
public protocol ImageWriter: AnyObject {
    /// The bytes that pieces are made of: a piece begins at a multiple of them, and ends at one or at the end of the disk.
    /// A power of two: a cluster (with extended L2 entries a subcluster), a grain, a sector.
    var granularity: Int { get }

    /// Encodes what is written; nil where it is stored as it is.
    var encoder: (any UnitEncoder)? { get }

    /// Stores `bytes`, which the caller knows not to be all zeros, as they are.
    ///
    /// `stored`: where the same bytes lie already, for hosts that can share them.
    func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError)

    /// Stores what the encoder made of the unit at `start`.
    func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError)

    /// Has `count` bytes read as zeros, also where a backing image has others. Only for a writer of an image that has one:
    /// elsewhere, zeros are what no piece covers.
    func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError)

    /// Writes what is left to write: nothing can be written afterwards. The files are complete then, and not yet in their
    /// places.
    func finish() throws(ImageError)
}

/// How a new image encodes the units of its disk. Any number of threads encode at once.
public protocol UnitEncoder: Sendable {
    /// The bytes of the disk that are encoded as one: a cluster, a grain. A multiple of the writer's granularity. The
    /// last unit of a disk that ends inside of it is filled up with zeros.
    var unitSize: Int { get }

    /// Appends the encoded form of `unit`, which has `unitSize` bytes, to `output`, which has space for as many; answers
    /// false, with nothing appended, where it would take no less room than `unit` itself: then the unit is written as
    /// it is.
    ///
    /// A format that can only store encoded units always answers true; then `encodedLimit` says how much room it wants.
    func encode(_ unit: RawSpan, into output: inout OutputRawSpan) throws(ImageError) -> Bool

    /// The room that `encode` needs at most.
    var encodedLimit: Int { get }
}
