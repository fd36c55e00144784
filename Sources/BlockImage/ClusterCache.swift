/// Keeps inflated clusters and grains of all open images, up to a set size. Every method may be called from any thread.
///
/// Single flight: the first to need a cluster inflates it while holding that cluster's own lock, and others wait on
/// that lock, not on the cache.
public final class ClusterCache: Sendable {
    /// The place in a file at which the encoded bytes of a cluster begin: two guest clusters may share them.
    private struct Key: Hashable, Sendable {
        var file: HostFileID
        var offset: HostOffset
        /// Which guest cluster it is, where the encoded bytes say it and may belong to one only.
        var number: UInt64
    }

    private final class Entry: Sendable {
        let content = Guarded<AlignedBuffer?>(nil)
    }

    private let entries: BoundedCache<Key, Entry>

    /// The most bytes that it keeps.
    public var capacity: Int { entries.capacity }
    /// How many bytes it keeps now.
    public var cost: Int { entries.cost }

    /// A cache that keeps up to `capacity` bytes of inflated clusters.
    public init(capacity: Int) {
        entries = BoundedCache(capacity: capacity)
    }

    /// Appends `count` bytes, from byte `skip` on, of the cluster of `size` bytes whose encoded form begins at
    /// `offset` of `file`; `decode` appends the whole cluster when it is not kept already.
    ///
    /// A cluster that could not be decoded is tried again by the next reader. Clusters of different `number`s are
    /// decoded each for itself, so that `decode` may check whether the bytes are those of this cluster.
    public func read(
        _ count: Int, skipping skip: Int, of size: Int, encodedAt offset: HostOffset, numbered number: UInt64 = 0,
        in file: any HostFile, into output: inout OutputRawSpan,
        decode: (inout OutputRawSpan) throws(ImageError) -> Void
    ) throws(ImageError) {
        let key = Key(file: file.id, offset: offset, number: number)
        let entry = entries.value(for: key) ?? entries.insert(Entry(), cost: heapCost(of: size), for: key)
        let cluster = try Self.cluster(of: entry, size, in: file, decode)
        output.append(copying: cluster.bytes.extracting(skip..<skip + count))
    }

    private static func cluster(
        of entry: Entry, _ size: Int, in file: any HostFile,
        _ decode: (inout OutputRawSpan) throws(ImageError) -> Void
    ) throws(ImageError) -> AlignedBuffer {
        if ReadScope.mayBlock {
            return try entry.content.withLock { content throws(ImageError) -> AlignedBuffer in
                try inflated(&content, size, decode)
            }
        }
        // Who holds the lock may be waiting for the disk.
        let found = try entry.content.withLockIfAvailable { content throws(ImageError) -> AlignedBuffer in
            try inflated(&content, size, decode)
        }
        guard let found else { throw ReadScope.blocked(file.path) }
        return found
    }

    private static func inflated(
        _ content: inout AlignedBuffer?, _ size: Int, _ decode: (inout OutputRawSpan) throws(ImageError) -> Void
    ) throws(ImageError) -> AlignedBuffer {
        if let content { return content }
        let buffer = AlignedBuffer(capacity: size, alignment: 64)
        try buffer.fill(size, decode)
        content = buffer
        return buffer
    }

    /// Forgets the clusters of a file that is being closed.
    public func removeClusters(of file: HostFileID) {
        entries.removeAll { $0.file == file }
    }
}
