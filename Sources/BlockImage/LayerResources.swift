import Synchronization

/// What happened while an image was read, since it was first opened. Every counter may be counted up from any thread.
public final class ReadCounters: Sendable {
    /// How often a piece of a table was found in the cache.
    public let tableHits = Atomic<UInt64>(0)
    /// How often a piece of a table had to be read from its file.
    public let tableMisses = Atomic<UInt64>(0)
    /// How many compressed clusters or grains were inflated.
    public let decompressions = Atomic<UInt64>(0)

    /// All at zero.
    public init() {}
}

/// What the layers of every open image share: the bounded caches; and what each image has for itself: its counters.
public struct LayerResources: Sendable {
    /// Pieces of L1, L2, grain directories and grain tables.
    public let tables: TableCache
    /// Inflated clusters and grains.
    public let clusters: ClusterCache
    /// Which images of a folder have which identities.
    public let identities: IdentityIndex
    /// Where this image counts what it does.
    public let counters: ReadCounters

    /// Caches of `cacheSize` bytes together: a third for tables, the rest for inflated clusters.
    ///
    /// A third of the default, 16 MiB, keeps the L2 tables of 93 GiB of a disk with 64 KiB clusters.
    public init(cacheSize: Int = LayerResources.defaultCacheSize) {
        let tableCapacity = cacheSize / 3
        tables = TableCache(capacity: tableCapacity)
        clusters = ClusterCache(capacity: cacheSize - tableCapacity)
        identities = IdentityIndex()
        counters = ReadCounters()
    }

    private init(sharing other: LayerResources, counters: ReadCounters) {
        tables = other.tables
        clusters = other.clusters
        identities = other.identities
        self.counters = counters
    }

    /// The same caches, with the counters of another image.
    public func counting(in counters: ReadCounters) -> LayerResources {
        LayerResources(sharing: self, counters: counters)
    }

    /// What the caches may take unless told otherwise: 48 MiB.
    public static let defaultCacheSize = 48 << 20
}
