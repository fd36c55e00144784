import BlockImage
import Catalog
import Glibc
import HostStorage
import ImageFormats

/// `stats.json` at the root of the mount: what all images together were asked for.
struct MountDocument: Encodable {
    /// A cache that all images share.
    struct Cache: Encodable {
        var capacity: Int
        var used: Int
    }

    /// What the kernel may read by itself.
    struct KernelPathFacts: Encodable {
        var setting: String
        /// The ways that it may use for some disks, beside that of asking this process.
        var available: [DiskPath.Kind]
        /// Why there is none.
        var reason: ErrorText?

        init(_ paths: KernelPaths) {
            setting = paths.setting.rawValue
            reason = paths.refusal?.text
            available = reason != nil ? [] : paths.makesMaps ? [.passthrough, .map] : [.passthrough]
        }
    }

    private var version = rblockVersion
    /// This process.
    private var serverPID = getpid()
    private var images: String
    /// The folders, images and containers that were listed so far.
    private var entries: Int
    private var openImages: Int
    private var openFiles: Int
    private var tableCache: Cache
    private var clusterCache: Cache
    private var kernelPath: KernelPathFacts
    private var counters: CounterFacts
    private var skipped: SkippedFiles?

    private enum CodingKeys: String, CodingKey {
        case version, images, entries, counters, skipped
        case openImages = "open-images"
        case openFiles = "open-files"
        case tableCache = "table-cache"
        case clusterCache = "cluster-cache"
        case kernelPath = "kernel-path"
        case serverPID = "server-pid"
    }

    private enum RootKeys: String, CodingKey {
        case rblock
        /// What older versions call `rblock`.
        case rblockfs
    }

    /// The document as things are now.
    init(_ fileSystem: ImageFileSystem) {
        images = fileSystem.folder.location.text
        entries = fileSystem.source.numbers.count
        openImages = fileSystem.openImages.count
        openFiles = fileSystem.files.count
        let resources = fileSystem.resources
        tableCache = Cache(capacity: resources.tables.capacity, used: resources.tables.cost)
        clusterCache = Cache(capacity: resources.clusters.capacity, used: resources.clusters.cost)
        kernelPath = KernelPathFacts(fileSystem.kernelPaths)
        counters = CounterFacts(fileSystem.counters.figures)
        let skipped = fileSystem.skipped.latest()
        self.skipped = skipped.isEmpty ? nil : skipped
    }

    func encode(to encoder: any Encoder) throws {
        var root = encoder.container(keyedBy: RootKeys.self)
        for key in [RootKeys.rblock, .rblockfs] {
            var container = root.nestedContainer(keyedBy: CodingKeys.self, forKey: key)
            try encode(in: &container)
        }
    }

    private func encode(in container: inout KeyedEncodingContainer<CodingKeys>) throws {
        try container.encode(version, forKey: .version)
        try container.encode(serverPID, forKey: .serverPID)
        try container.encode(images, forKey: .images)
        try container.encode(entries, forKey: .entries)
        try container.encode(openImages, forKey: .openImages)
        try container.encode(openFiles, forKey: .openFiles)
        try container.encode(tableCache, forKey: .tableCache)
        try container.encode(clusterCache, forKey: .clusterCache)
        try container.encode(kernelPath, forKey: .kernelPath)
        try container.encode(counters, forKey: .counters)
        try container.encodeIfPresent(skipped, forKey: .skipped)
    }

    /// The text, padded to the size that it has with the largest figures.
    func text() throws -> [UInt8] {
        var widest = self
        widest.counters = .widest
        widest.entries = .max
        widest.openImages = .max
        widest.openFiles = .max
        widest.tableCache.used = .max
        widest.clusterCache.used = .max
        return try StatsDocument.padded(self, as: widest)
    }
}
