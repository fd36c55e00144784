import BlockImage
import ByteFormat

/// An entry of an L1 table: docs/interop/qcow2 "Cluster mapping", "L1 table entry".
///
///     BIT   FIELD
///      0-8  reserved
///      9-55 offset of the L2 table; 0: none
///     56-62 reserved
///     63    COPIED: the L2 table's refcount is exactly one (active table only)
public struct L1Entry: RawRepresentable, Hashable, Sendable {
    /// The entry as stored.
    public let rawValue: UInt64
    /// The entry stored as `rawValue`.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    static let reservedLow = BitField<UInt64>(0...8)
    static let offset = BitField<UInt64>(9...55)
    static let reservedHigh = BitField<UInt64>(56...62)
    static let copied = BitField<UInt64>(63)

    /// The entry of an active table for the L2 table at `offset`, which nothing else uses.
    init(l2TableAt offset: HostOffset) {
        self.init(rawValue: offset.rawValue | Self.copied.mask)
    }

    /// Where the L2 table begins; 0 where there is none. Reserved bits are ignored, as QEMU ignores them.
    var l2TableOffset: UInt64 { Self.offset.masked(in: rawValue) }
}

/// What of an image decides how its L2 entries are read.
struct L2Format: Hashable {
    /// log2 of the cluster size.
    var clusterBits: UInt32
    /// The version of the image.
    var version: UInt32
    /// Whether entries have 16 bytes, and clusters subclusters.
    var isExtended: Bool
    /// Whether clusters lie in a file of their own, each at its guest offset.
    var hasDataFile: Bool
}

extension L2Format {
    /// What the header says.
    init(_ header: Header) {
        clusterBits = header.clusterBits
        version = header.version
        isExtended = header.incompatibleFeatures.contains(.extendedL2)
        hasDataFile = header.incompatibleFeatures.contains(.externalDataFile)
    }

    /// The bytes of a cluster.
    var clusterSize: UInt64 { 1 << UInt64(clusterBits) }
    /// The 64-bit words of one entry.
    var wordsPerEntry: Int { isExtended ? 2 : 1 }
}

/// How a cluster of the disk is stored.
enum ClusterMapping: Hashable {
    /// Not in this image.
    case unallocated
    /// All zeros; a host cluster may be set aside for it.
    case zero(preallocated: HostOffset?)
    /// Byte for byte in the host cluster.
    case data(HostOffset)
    /// In at most `count` bytes from the offset on; the stream may end earlier.
    case compressed(HostOffset, count: UInt64)
    /// Each subcluster in its own way; those that are data in the host cluster, which is there if any is.
    case subclusters(SubclusterBitmap, host: HostOffset?)
}

/// An entry of an L2 table of 8-byte entries, and the first half of an extended one: docs/interop/qcow2 "L2 table
/// entry".
///
///     BIT   FIELD (standard cluster)
///      0    ZERO: reads as zeros (version 3; not in extended entries, whose bitmap says it)
///      1-8  reserved
///      9-55 offset of the host cluster; 0: unallocated, unless it lies in a data file and COPIED is set
///     56-61 reserved
///     62    COMPRESSED: 0 here; else the bits below are those of a compressed cluster descriptor
///     63    COPIED: the cluster's refcount is exactly one
///
/// In a compressed cluster descriptor, x = 62 - (cluster_bits - 8): bits 0 to x-1 are the host offset, to the byte, and
/// bits x to 61 the number of 512-byte sectors after the one that it begins in.
struct L2Entry: RawRepresentable, Hashable {
    let rawValue: UInt64

    static let zero = BitField<UInt64>(0)
    static let reservedLow = BitField<UInt64>(1...8)
    static let offset = BitField<UInt64>(9...55)
    static let reservedHigh = BitField<UInt64>(56...61)
    static let compressed = BitField<UInt64>(62)
    static let copied = BitField<UInt64>(63)

    /// The largest host offset that the format can address: 2^56 - 1.
    static let lastHostOffset: UInt64 = (1 << 56) - 1

    /// What the entry says in an image of such a format; reserved bits are ignored, as QEMU ignores them.
    ///
    /// `bitmap` is the second half of an extended entry, and not looked at otherwise. Throws a message of what is wrong
    /// with the entry.
    func mapping(_ format: L2Format, bitmap: SubclusterBitmap) throws(ParseFault) -> ClusterMapping {
        if Self.compressed.isSet(in: rawValue) {
            guard !format.hasDataFile else {
                throw ParseFault(at: 0, "is of a compressed cluster, which an image with a data file cannot have")
            }
            return try compressedMapping(clusterBits: format.clusterBits)
        }
        let host = try hostCluster(format)
        if format.isExtended { return try bitmap.mapping(host: host) }
        if Self.zero.isSet(in: rawValue) {
            guard format.version >= 3 else {
                throw ParseFault(at: 0, "has the zero flag, which version 2 does not have")
            }
            // Offset 0 sets nothing aside, in a data file either.
            return .zero(preallocated: host == HostOffset(0) ? nil : host)
        }
        return host.map { .data($0) } ?? .unallocated
    }

    /// The host cluster that the entry of a standard cluster names; nil: none.
    private func hostCluster(_ format: L2Format) throws(ParseFault) -> HostOffset? {
        let host = Self.offset.masked(in: rawValue)
        guard host % format.clusterSize == 0 else {
            throw ParseFault(
                at: 0, "points to \(HostOffset(host)), which is not aligned to the cluster size (\(format.clusterSize))"
            )
        }
        // A data file has no header in its first cluster, so that guest offset 0 lies at host offset 0.
        if host == 0, !(format.hasDataFile && Self.copied.isSet(in: rawValue)) { return nil }
        return HostOffset(host)
    }

    private func compressedMapping(clusterBits: UInt32) throws(ParseFault) -> ClusterMapping {
        let (host, count) = compressedData(clusterBits: clusterBits)
        guard host <= Self.lastHostOffset else {
            throw ParseFault(at: 0, "points to compressed data at \(HostOffset(host)), beyond the format's 56 bits")
        }
        return .compressed(HostOffset(host), count: count)
    }

    /// Where the entry of a compressed cluster says that its data begins, and the most bytes that this has.
    func compressedData(clusterBits: UInt32) -> (offset: UInt64, count: UInt64) {
        let split = 62 - (Int(clusterBits) - 8)
        let host = BitField<UInt64>(0...split - 1).value(in: rawValue)
        let sectors = BitField<UInt64>(split...61).value(in: rawValue) + 1
        return (host, sectors * 512 - (host & 511))
    }
}

extension L2Entry {
    /// The entry of an active table for a cluster that is stored so, in a host cluster that nothing else uses.
    init(_ mapping: ClusterMapping, _ format: L2Format) {
        switch mapping {
        case .unallocated: self.init(rawValue: 0)
        case .zero(let host):
            self.init(host: host, flags: format.isExtended ? 0 : Self.zero.mask)
        case .data(let host): self.init(host: host, flags: 0)
        case .subclusters(_, let host): self.init(host: host, flags: 0)
        case .compressed(let host, let count):
            let split = 62 - (Int(format.clusterBits) - 8)
            let last = host.rawValue + count - 1
            let sectors = last / 512 - host.rawValue / 512
            self.init(rawValue: Self.compressed.mask | sectors << UInt64(split) | host.rawValue)
        }
    }

    private init(host: HostOffset?, flags: UInt64) {
        self.init(rawValue: flags | (host.map { $0.rawValue | Self.copied.mask } ?? 0))
    }
}
