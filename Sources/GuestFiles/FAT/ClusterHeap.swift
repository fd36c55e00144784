/// Where the clusters of a FAT or exFAT file system lie. What it is made of was checked: nothing here overflows.
struct ClusterHeap: Hashable, Sendable {
    /// The number of the first cluster.
    static let first: UInt32 = 2

    /// Where the first cluster begins on the disk.
    let start: UInt64
    /// The bytes of a cluster.
    let clusterSize: UInt64
    /// How many there are.
    let count: UInt32

    /// Nil where it would end past 2^63.
    init?(start: UInt64, clusterSize: UInt64, count: UInt32) {
        let (size, overflow) = clusterSize.multipliedReportingOverflow(by: UInt64(count))
        guard clusterSize > 0, !overflow, start < 1 << 62, size < 1 << 62 else { return nil }
        (self.start, self.clusterSize, self.count) = (start, clusterSize, count)
    }

    /// Where it ends.
    var end: UInt64 { start + UInt64(count) * clusterSize }

    /// Whether there is a cluster `cluster`.
    func contains(_ cluster: UInt32) -> Bool { cluster >= Self.first && cluster - Self.first < count }

    /// Where `cluster`, one of its, begins.
    func offset(of cluster: UInt32) -> UInt64 { start + UInt64(cluster - Self.first) * clusterSize }

    /// The cluster that the byte at `offset` of the disk is in; nil for none.
    func cluster(at offset: UInt64) -> UInt32? {
        guard offset >= start, offset < end else { return nil }
        return UInt32((offset - start) / clusterSize) + Self.first
    }

    /// How many clusters `size` bytes take.
    func clusters(for size: UInt64) -> UInt64 { size / clusterSize + (size % clusterSize == 0 ? 0 : 1) }

    /// The bytes of the clusters that `size` bytes take, held to the largest number.
    func allocatedSize(for size: UInt64) -> UInt64 {
        let (bytes, overflow) = clusters(for: size).multipliedReportingOverflow(by: clusterSize)
        return overflow ? .max : bytes
    }
}
