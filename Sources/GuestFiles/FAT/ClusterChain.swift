import BlockImage

/// The clusters of one file in order, as runs of neighbours.
struct ClusterChain: Sendable {
    /// Neighbours: `count` clusters from `cluster` on, before which `ordinal` clusters of the file lie.
    struct Run: Hashable, Sendable {
        var ordinal: UInt32
        var cluster: UInt32
        var count: UInt32
    }

    /// The most runs that are kept: 96 MiB of them. A file of FAT has no more clusters than that.
    static let limit = 8 << 20

    private(set) var runs: [Run] = []
    /// How many clusters it has.
    private(set) var count: UInt32 = 0
    /// Why there are no more of them; nil where it ends as it should.
    var fault: ImageError?

    /// No clusters, for now.
    init() {}

    /// The `count` neighbours from `first` on, all of which must be there.
    init(neighbours count: UInt32, from first: UInt32) {
        if count > 0 { runs = [Run(ordinal: 0, cluster: first, count: count)] }
        self.count = count
    }

    /// Appends `cluster`.
    mutating func append(_ cluster: UInt32) {
        if let last = runs.last, UInt64(last.cluster) + UInt64(last.count) == UInt64(cluster) {
            runs[runs.count - 1].count += 1
        } else {
            runs.append(Run(ordinal: count, cluster: cluster, count: 1))
        }
        count += 1
    }

    /// The cluster `ordinal` of the file, and how many neighbours it begins; nil where the chain has ended.
    func neighbours(at ordinal: UInt64) -> (cluster: UInt32, count: UInt64)? {
        guard ordinal < UInt64(count) else { return nil }
        var (low, high) = (0, runs.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if UInt64(runs[middle].ordinal) <= ordinal { low = middle } else { high = middle }
        }
        let run = runs[low]
        let over = UInt32(ordinal) - run.ordinal
        return (run.cluster + over, UInt64(run.count - over))
    }

    /// Where its bytes lie on the disk.
    func ranges(in heap: ClusterHeap) -> [Range<UInt64>] {
        runs.map { run in
            let start = heap.offset(of: run.cluster)
            return start..<start + UInt64(run.count) * heap.clusterSize
        }
    }
}

/// The content of a file that lies in clusters.
final class ClusterContent: GuestFileContent {
    let size: UInt64
    /// How many bytes of it were written; zeros follow.
    private let writtenSize: UInt64
    private let chain: ClusterChain
    private let heap: ClusterHeap
    private let disk: GuestDisk
    /// Where the directory says so.
    private let entry: UInt64

    /// The `size` bytes in `chain`, of which `writtenSize` were written. `entry`: where on the disk the directory's entry is.
    init(
        _ chain: ClusterChain, size: UInt64, writtenSize: UInt64, in heap: ClusterHeap, of disk: GuestDisk,
        entry: UInt64
    ) {
        (self.chain, self.size, self.writtenSize) = (chain, size, min(size, writtenSize))
        (self.heap, self.disk, self.entry) = (heap, disk, entry)
    }

    func read(_ count: Int, at offset: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        guard count >= 0, offset <= size, UInt64(count) <= size - offset else {
            throw ImageError(
                .outOfRange, path: disk.path, "\(count) bytes at \(offset) are no part of a file of \(size)")
        }
        var (position, left) = (offset, UInt64(count))
        while left > 0 {
            guard position < writtenSize else { return output.appendZeros(Int(left)) }
            guard let run = chain.neighbours(at: position / heap.clusterSize) else { throw end() }
            let over = position % heap.clusterSize
            let next = min(left, writtenSize - position, run.count * heap.clusterSize - over)
            try disk.read(Int(next), at: heap.offset(of: run.cluster) + over, into: &output)
            position += next
            left -= next
        }
    }

    /// Why there are no more clusters.
    private func end() -> ImageError {
        chain.fault
            ?? disk.corrupt(
                at: entry,
                "the file has \(size) bytes, but its chain of clusters ends after \(UInt64(chain.count) * heap.clusterSize)"
            )
    }

    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> GuestRun {
        guard offset < size, limit > 0 else {
            throw ImageError(.outOfRange, path: disk.path, "nothing is at \(offset) of a file of \(size) bytes")
        }
        let isData = offset < writtenSize
        return GuestRun(isData: isData, count: min(limit, (isData ? writtenSize : size) - offset))
    }
}
