import BlockImage

extension Header {
    /// The clusters behind the last whose refcounts are looked at: as many as a block of 64 KiB has.
    private static let clustersBehind: UInt64 = 1 << 15

    /// Whether `file`, which holds the image's clusters, was cut inside its last cluster. Only for a last cluster that
    /// holds data or an L2 table: the first L1 table, in which a new image ends, is as long as its entries.
    ///
    /// QEMU and other programs leave the last cluster as short as what was written to it, and then zeros are right. But
    /// they write whole sectors, and what follows that cluster, by the refcounts, is there.
    func isCut(_ file: any HostFile, hasRefcounts: Bool) throws(ImageError) -> Bool {
        guard file.size % clusterSize != 0 else { return false }
        if file.size % 512 != 0 { return true }
        guard hasRefcounts else { return false }
        var refcounts = try Refcounts(self, of: file)
        let first = file.size / clusterSize + 1
        for cluster in first..<first + Self.clustersBehind {
            // An unknown refcount says nothing.
            if let refcount = try refcounts.refcount(of: cluster), refcount > 0 { return true }
        }
        return false
    }
}
