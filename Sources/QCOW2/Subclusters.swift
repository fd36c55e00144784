import BlockImage
import ByteFormat

/// The second half of an extended L2 entry: docs/interop/qcow2 "Extended L2 Entries". The subclusters are 32 equal
/// parts of the cluster; the first is bit 0.
///
///     BIT   FIELD
///      0-31 allocated: the subcluster's data is in the host cluster
///     32-63 zero: the subcluster reads as zeros
///
/// Neither: the subcluster is unallocated. Both: the entry is damaged.
struct SubclusterBitmap: RawRepresentable, Hashable {
    let rawValue: UInt64

    static let allocated = BitField<UInt64>(0...31)
    static let zero = BitField<UInt64>(32...63)

    /// How many subclusters a cluster has.
    static let count = 32

    /// No subcluster is allocated, and none reads as zeros.
    static let none = SubclusterBitmap(rawValue: 0)
    /// All are allocated.
    static let allAllocated = SubclusterBitmap(rawValue: allocated.mask)
    /// All read as zeros.
    static let allZero = SubclusterBitmap(rawValue: zero.mask)

    private var allocated: UInt32 { UInt32(Self.allocated.value(in: rawValue)) }
    private var zero: UInt32 { UInt32(Self.zero.value(in: rawValue)) }

    /// How a standard cluster is stored that has this bitmap and this host cluster, if any.
    ///
    /// Throws a message of what is wrong with the entry.
    func mapping(host: HostOffset?) throws(ParseFault) -> ClusterMapping {
        guard allocated & zero == 0 else {
            let both = (allocated & zero).trailingZeroBitCount
            throw ParseFault(at: 8, "says of subcluster \(both) both that it is allocated and that it reads as zeros")
        }
        guard host != nil || allocated == 0 else {
            throw ParseFault(
                at: 8, "says that subcluster \(allocated.trailingZeroBitCount) is allocated, but has no host cluster")
        }
        if allocated == 0, zero == 0 { return host.map { .subclusters(.none, host: $0) } ?? .unallocated }
        if zero == .max { return .zero(preallocated: host) }
        if let host, allocated == .max { return .data(host) }
        return .subclusters(self, host: host)
    }

    /// The bitmap with the subclusters of `range` in the state `state`.
    func setting(_ range: Range<Int>, to state: State) -> SubclusterBitmap {
        let bits =
            range.isEmpty ? 0 : UInt64(UInt32.max >> UInt32(Self.count - range.count)) << UInt64(range.lowerBound)
        let cleared = rawValue & ~(bits | bits << 32)
        return switch state {
        case .unallocated: SubclusterBitmap(rawValue: cleared)
        case .data: SubclusterBitmap(rawValue: cleared | bits)
        case .zero: SubclusterBitmap(rawValue: cleared | bits << 32)
        }
    }

    /// What a subcluster can be.
    enum State: Hashable {
        case unallocated, zero, data
    }

    /// What the subcluster `first` is, and the subcluster after it at which that ends.
    func run(from first: Int) -> (state: State, end: Int) {
        let (state, alike): (State, UInt32) =
            if allocated >> UInt32(first) & 1 == 1 {
                (.data, allocated)
            } else if zero >> UInt32(first) & 1 == 1 {
                (.zero, zero)
            } else {
                (.unallocated, ~(allocated | zero))
            }
        // The shift fills up with zeros, which end the run at the cluster's end.
        return (state, first + (~(alike >> UInt32(first))).trailingZeroBitCount)
    }
}

extension SubclusterBitmap {
    /// The second half of the entry of a cluster that is stored so.
    init(_ mapping: ClusterMapping) {
        switch mapping {
        case .unallocated, .compressed: self = .none
        case .zero: self = .allZero
        case .data: self = .allAllocated
        case .subclusters(let bitmap, _): self = bitmap
        }
    }
}

/// Bytes of one cluster, one after another, that are stored in one way.
struct ClusterRun: Hashable {
    /// How they are stored.
    enum Storage: Hashable {
        /// Not in this image; host clusters may be reserved for them from this offset on.
        case unallocated(reserved: HostOffset?)
        /// As zeros; host clusters may be reserved for them from this offset on.
        case zero(reserved: HostOffset?)
        /// Byte for byte, the first at this offset.
        case data(HostOffset)
        /// In the compressed form of the whole cluster.
        case compressed(HostOffset, count: UInt64)
    }

    var storage: Storage
    /// How many they are.
    var count: UInt64

    /// Whether `next`, which lies after it on the disk, goes on with it.
    func isContinued(by next: ClusterRun) -> Bool {
        switch (storage, next.storage) {
        case (.data(let first), .data(let second)): second == first.advanced(by: count)
        case (.zero(let first), .zero(let second)), (.unallocated(let first), .unallocated(let second)):
            second == first?.advanced(by: count)
        default: false
        }
    }
}

extension ClusterMapping {
    /// The bytes from byte `skip` of the cluster on that are stored in one way; at most up to its end.
    func run(from skip: UInt64, clusterSize: UInt64) -> ClusterRun {
        let rest = clusterSize - skip
        switch self {
        case .unallocated: return ClusterRun(storage: .unallocated(reserved: nil), count: rest)
        case .zero(let host): return ClusterRun(storage: .zero(reserved: host?.advanced(by: skip)), count: rest)
        case .data(let host): return ClusterRun(storage: .data(host.advanced(by: skip)), count: rest)
        case .compressed(let host, let count):
            return ClusterRun(storage: .compressed(host, count: count), count: rest)
        case .subclusters(let bitmap, let host):
            let size = clusterSize / UInt64(SubclusterBitmap.count)
            let run = bitmap.run(from: Int(skip / size))
            let storage: ClusterRun.Storage =
                switch (run.state, host) {
                case (.data, let host?): .data(host.advanced(by: skip))
                case (.zero, _): .zero(reserved: host?.advanced(by: skip))
                // No subcluster is data where there is no host cluster: the entry was checked.
                case (.unallocated, _), (.data, nil): .unallocated(reserved: host?.advanced(by: skip))
                }
            return ClusterRun(storage: storage, count: UInt64(run.end) * size - skip)
        }
    }

    /// The host cluster that is the cluster's own, if it has one and is not compressed.
    var host: HostOffset? {
        switch self {
        case .data(let host): host
        case .zero(preallocated: let host), .subclusters(_, let host): host
        case .unallocated, .compressed: nil
        }
    }
}
