/// How much a walk over a disk may do before it has to say that the disk is stored in too many runs: in proportion to the
/// files that hold it.
///
/// A small hostile image can have any number of runs, if all its L1 entries name one L2 table; walks over an image that
/// names each of its tables and clusters once do not come to these limits.
public struct WalkBudget: Sendable {
    private var lookUps: UInt64
    private var plainBytes: UInt64
    private var compressedBytes: UInt64
    /// Whether more look-ups were wanted than there were: there are none from then on.
    public private(set) var isUsedUp = false

    /// The budget of a disk whose files have `hostSize` bytes together.
    ///
    /// Four bytes, as a grain table entry has, for every look-up. An extended L2 entry of 16 bytes can have 32 runs, but
    /// their data takes more than that. The bytes of the files are read at most once, if they are not compressed; zlib
    /// makes at most 1032 of one. What is there besides is for small images, and of compressed bytes 1 GiB, which takes
    /// about a second: zstd makes any number of one byte, as of a disk that is filled with one letter, and only its
    /// clusters' tables take space.
    public init(hostSize: UInt64, mostLookUps: UInt64 = .max) {
        lookUps = min(mostLookUps, Self.lookUpLimit(hostSize: hostSize))
        plainBytes = 64 << 20 + Self.product(hostSize, 4)
        compressedBytes = 1 << 30 + Self.product(hostSize, 1032)
    }

    /// The most look-ups of a disk whose files have `hostSize` bytes together.
    public static func lookUpLimit(hostSize: UInt64) -> UInt64 { 1 << 16 + hostSize / 4 }

    private static func product(_ size: UInt64, _ factor: UInt64) -> UInt64 {
        let (product, overflow) = size.multipliedReportingOverflow(by: factor)
        // Space for what is added to it.
        return overflow ? .max / 2 : min(product, .max / 2)
    }

    /// Takes `count` look-ups; false where there are not so many left.
    public mutating func takeLookUps(_ count: Int) -> Bool {
        isUsedUp = isUsedUp || !Self.take(UInt64(clamping: count), of: &lookUps)
        return !isUsedUp
    }

    /// What it costs to have asked `layers` layers of `image` for a run that came to `count` bytes: each looked at the
    /// entries of one page of a table at most, eight of which take as long as a look-up.
    public static func lookUps(in layers: Int, of image: Image, for count: UInt64) -> Int {
        let entries = min(UInt64(TableCache.pageEntries), count / image.granuleSize)
        return layers.multipliedReportingOverflow(by: 1 + Int(entries) / 8).partialValue
    }

    /// Takes the reading of `extent`; false where there is not so much left.
    public mutating func takeReading(_ extent: Extent) -> Bool {
        switch extent.storage {
        case .zero, .unallocated: true
        case .data, .encoded(.encrypted, _, _, _), .encoded(.checked, _, _, _): Self.take(extent.count, of: &plainBytes)
        case .encoded(.compressed, _, _, _): Self.take(extent.count, of: &compressedBytes)
        }
    }

    private static func take(_ count: UInt64, of left: inout UInt64) -> Bool {
        guard count <= left else { return false }
        left -= count
        return true
    }
}
