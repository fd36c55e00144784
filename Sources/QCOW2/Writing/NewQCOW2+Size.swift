import BlockImage

extension NewQCOW2 {
    /// The size of the file that `QCOW2Writer` makes when all of the disk is stored, without compression.
    ///
    /// Clusters are taken as `HostClusters` takes them: the header's, those of data, L2 tables, the refcount table, the L1
    /// table, and refcount blocks between them, each of which counts itself, too.
    var fullyAllocatedSize: UInt64 {
        let header = header
        let clusterSize = header.clusterSize
        func clusters(_ bytes: UInt64) -> UInt64 { (bytes + clusterSize - 1) / clusterSize }
        let counted = (clusterSize * 8) >> UInt64(header.refcountOrder)
        /// The refcount blocks that `count` other clusters need.
        func blocks(_ count: UInt64) -> UInt64 { (count + counted - 2) / (counted - 1) }

        let l1Size = UInt64(header.l1Size) * 8
        let before = 1 + clusters(header.size) + UInt64(header.l1Size)
        var tableClusters: UInt64 = 1
        while true {
            let needed = clusters(blocks(before + tableClusters + clusters(l1Size)) * 8)
            if needed <= tableClusters { break }
            tableClusters = needed
        }
        let all = before + tableClusters + clusters(l1Size)
        // A refcount block that the last tables need comes after them; else the L1 table ends the file.
        guard blocks(all) == blocks(before) else { return (all + blocks(all)) * clusterSize }
        return (all - clusters(l1Size) + blocks(all)) * clusterSize + l1Size
    }
}
