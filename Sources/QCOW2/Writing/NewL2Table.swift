import BlockImage
import ByteFormat

/// An L2 table that is being made: docs/interop/qcow2 "Cluster mapping".
struct NewL2Table {
    /// Which entry of the L1 table is for it.
    let l1Index: Int
    /// Its entries, one word each, or two where they are extended.
    private(set) var words: [UInt64]
    /// Whether no entry was set.
    private(set) var isEmpty = true
    private let format: L2Format

    /// A table for the L1 entry `l1Index` with no cluster allocated.
    init(_ l1Index: Int, _ format: L2Format) {
        self.l1Index = l1Index
        self.format = format
        words = Array(repeating: 0, count: Int(format.clusterSize / 8))
    }

    /// How many entries it has.
    var count: Int { words.count / format.wordsPerEntry }

    /// The host cluster of the entry `index`, which is not of a compressed cluster.
    func host(of index: Int) -> HostOffset? {
        let host = L2Entry.offset.masked(in: words[index * format.wordsPerEntry])
        return host == 0 ? nil : HostOffset(host)
    }

    /// Makes the entry `index` that of a cluster that is stored so.
    mutating func set(_ index: Int, to mapping: ClusterMapping) {
        isEmpty = false
        let word = index * format.wordsPerEntry
        words[word] = L2Entry(mapping, format).rawValue
        if format.isExtended { words[word + 1] = SubclusterBitmap(mapping).rawValue }
    }

    /// Has the subclusters of `range` stored in the state `state`: in an image without subclusters, the whole cluster.
    /// The entry then has the host cluster `host`, or, where that is nil, the one that it had.
    mutating func set(
        _ index: Int, to state: SubclusterBitmap.State, _ range: Range<Int>, host: HostOffset?
    ) {
        let host = host ?? self.host(of: index)
        guard format.isExtended else {
            return set(index, to: state == .zero ? .zero(preallocated: host) : host.map { .data($0) } ?? .unallocated)
        }
        let bitmap = SubclusterBitmap(rawValue: words[index * 2 + 1]).setting(range, to: state)
        set(index, to: .subclusters(bitmap, host: host))
    }
}
