import BlockImage
import ByteFormat

/// The host clusters of a new image, which are taken one after another and never given back, and their refcounts:
/// docs/interop/qcow2 "Host cluster management".
///
/// The first cluster is the header's. The refcount block for a range of clusters follows the first of them that are
/// taken, so that its place does not depend on what comes later. A block is in memory until all its clusters are taken;
/// all others are written, and of them only the refcount table remains.
struct HostClusters {
    /// Compressed clusters share host clusters: the one that the next may begin in.
    private struct Shared {
        /// Which it is.
        var cluster: UInt64
        /// How many compressed clusters have a part in it.
        var refcount: UInt64
        /// Where the last of them ends.
        var end: UInt64
    }

    private let file: any NewFile
    private let clusterBits: UInt64
    private let refcountLimit: UInt64
    /// The most clusters that the refcount table and the bits of an offset allow for.
    private let limit: UInt64
    /// How many are taken.
    private var taken: UInt64 = 0
    /// Where the refcount block of each range lies: the refcount table.
    private var table: [UInt64] = []
    /// The block with the refcount of the cluster `counted`; refcounts of those before are in it or written.
    private var block: RefcountBlock
    private var counted: UInt64 = 0
    private var shared: Shared?

    /// Clusters for `header` in `file`, of which the first is taken.
    init(_ header: Header, in file: any NewFile) throws(ImageError) {
        self.file = file
        clusterBits = UInt64(header.clusterBits)
        refcountLimit = header.refcountFormat.limit
        block = RefcountBlock(clusterSize: header.clusterSize, header.refcountFormat)
        limit = min(
            (L2Entry.lastHostOffset + 1) >> clusterBits, Header.refcountTableSizeLimit / 8 * UInt64(block.count))
        _ = try take(1)
    }

    private var clusterSize: UInt64 { 1 << clusterBits }

    /// Where what is taken ends.
    var end: HostOffset { HostOffset(taken << clusterBits) }

    /// How many can be taken at once with no refcount block inside of them; at least 1.
    var run: UInt64 { max(1, UInt64(table.count * block.count) - taken) }

    /// Takes `count` clusters that lie one after another, and answers where the first begins.
    ///
    /// Throws `unsupported` where the format cannot count that many.
    mutating func take(_ count: UInt64) throws(ImageError) -> HostOffset {
        let first = end
        taken += count
        while UInt64(table.count * block.count) < taken {
            table.append(taken << clusterBits)
            taken += 1
        }
        guard taken <= limit else {
            throw ImageError(
                .unsupported, path: file.path, offset: first,
                "the image would have more than the \(limit) clusters that it can count: "
                    + "it needs a larger cluster_size or a smaller refcount_bits")
        }
        try settle(upTo: shared?.cluster ?? taken)
        return first
    }

    /// Takes space for a compressed cluster of `count` bytes, which are fewer than a cluster has: after the one before
    /// where that can be, as QEMU packs them. Throws what `take` throws.
    mutating func take(compressed count: Int) throws(ImageError) -> HostOffset {
        let count = UInt64(count)
        if let last = shared, last.refcount < refcountLimit {
            let rest = ((last.cluster + 1) << clusterBits) - last.end
            if count <= rest {
                shared = Shared(cluster: last.cluster, refcount: last.refcount + 1, end: last.end + count)
                return HostOffset(last.end)
            }
            if rest > 0, last.cluster + 1 == taken {
                shared?.refcount += 1
                return try share(from: HostOffset(last.end), count)
            }
        }
        return try share(from: nil, count)
    }

    /// Takes the cluster that the next compressed cluster may begin in, and in which one of `count` bytes ends that
    /// begins at `start`, or, without, at its start.
    private mutating func share(from start: HostOffset?, _ count: UInt64) throws(ImageError) -> HostOffset {
        try endSharing()
        let cluster = taken
        let start = start ?? end
        shared = Shared(cluster: cluster, refcount: 1, end: start.rawValue + count)
        _ = try take(1)
        return start
    }

    private mutating func endSharing() throws(ImageError) {
        try settle(upTo: taken)
        shared = nil
    }

    /// Sets the refcounts of the clusters before `end`, and writes the blocks that this completes.
    private mutating func settle(upTo end: UInt64) throws(ImageError) {
        let size = UInt64(block.count)
        while counted < end {
            let refcount = if let shared, shared.cluster == counted { shared.refcount } else { 1 as UInt64 }
            block.set(Int(counted % size), to: refcount)
            counted += 1
            if counted % size == 0 { try writeBlock(counted / size - 1) }
        }
    }

    private mutating func writeBlock(_ index: UInt64) throws(ImageError) {
        try file.write(block.bytes, at: HostOffset(table[Int(index)]))
        block = RefcountBlock(clusterSize: clusterSize, block.format)
    }

    /// Takes clusters for the refcount table and, after it, for `count` bytes of an L1 table; writes all refcounts.
    /// Answers where the tables begin, and how many clusters the refcount table has. Nothing can be taken afterwards.
    mutating func finish(
        l1TableSize: UInt64
    ) throws(ImageError) -> (refcountTable: HostOffset, clusters: UInt64, l1Table: HostOffset) {
        try endSharing()
        let l1Clusters = (l1TableSize + clusterSize - 1) >> clusterBits
        var tableClusters: UInt64 = 1
        while true {
            let needed = (blocks(whenTaking: tableClusters + l1Clusters) * 8 + clusterSize - 1) >> clusterBits
            if needed <= tableClusters { break }
            tableClusters = needed
        }
        let offset = try take(tableClusters + l1Clusters)
        if counted % UInt64(block.count) != 0 { try writeBlock(counted / UInt64(block.count)) }
        try file.write(encodeTable(table, .big), at: offset)
        return (offset, tableClusters, offset.advanced(by: tableClusters << clusterBits))
    }

    /// How many refcount blocks there are when `count` more clusters are taken.
    private func blocks(whenTaking count: UInt64) -> UInt64 {
        var blocks = UInt64(table.count)
        while blocks * UInt64(block.count) < taken + count + (blocks - UInt64(table.count)) { blocks += 1 }
        return blocks
    }
}
