import BlockImage
import Synchronization

/// A QCOW2 image that is written to in place.
///
/// The tables are changed in memory (`Metadata`), under a lock that no data is read or written under, and written by
/// `flush` in an order in which a power cut leaves nothing worse than clusters that are accounted and unused. Requests for
/// different clusters of the disk go on at the same time.
public final class WritableQCOW2: WritableLayer {
    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    let file: any WritableFile
    /// What lies below: what clusters that are not allocated show.
    let below: Image?
    let format: L2Format
    /// What inflates compressed clusters.
    private let source: ClusterSource
    let metadata: Guarded<Metadata>
    let clusterHolds = ClusterHolds()
    let readHolds = ReadHolds()
    let flushing = Awaited(Flushing())
    /// Held while clusters that were given up are counted down.
    let releasing = Guarded<Void>(())
    /// How many changes were made, and how many of them a flush that ended well had seen.
    let changes = Atomic<UInt64>(0)
    let flushedChanges = Atomic<UInt64>(0)

    /// Makes the described image in `file` ready to be changed; `below` is the disk under it.
    ///
    /// Throws `unsupported` for images that are not written to, and `corrupt` where the tables contradict each other.
    public init(
        _ description: QCOW2Description, file: any WritableFile, below: Image?, resources: LayerResources
    ) throws(ImageError) {
        let metadata = try Metadata(opening: description, file)
        let header = description.header
        virtualSize = header.virtualSize
        format = metadata.format
        self.file = file
        self.below = below
        source = ClusterSource(header, file: file, dataFile: nil, cipher: nil, resources: resources)
        self.metadata = Guarded(metadata)
    }

    /// The image's own file.
    public var files: [any HostFile] { [file] }
    /// The bytes of the file.
    public var hostSize: UInt64 { metadata.withLock { $0.fileEnd } }
    /// The fewest bytes that an entry of its tables is for.
    public var granuleSize: UInt64 { format.clusterSize }

    /// The bytes that one mark has read as zeros: a subcluster, or a cluster.
    public var zeroingSize: UInt64 {
        format.isExtended ? format.clusterSize / UInt64(SubclusterBitmap.count) : format.clusterSize
    }

    /// How the layer stores the disk from `start`, which lies inside it, on.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let limit = min(limit, virtualSize - start.rawValue)
        while true {
            let found = try metadata.withLock { metadata throws(ImageError) in
                try metadata.find(start.rawValue, limit: limit)
            }
            switch found {
            case .missing(let count): return Extent(start: start, count: count, storage: .unallocated)
            case .page(let page, let index, let fileEnd):
                let skip = start.rawValue % format.clusterSize
                return try extent(at: start, page.run(from: index, skipping: skip, limit: limit), fileEnd: fileEnd)
            case .unread(let page, let evictions):
                let size = min(MetadataPages.sizeLimit, format.clusterSize)
                let words = try MetadataPages.load(size, at: page, of: file, "L2 table")
                metadata.withLock { $0.keep(words, at: page, evictions: evictions) }
            }
        }
    }

    private func extent(at start: GuestOffset, _ run: ClusterRun, fileEnd: UInt64) throws(ImageError) -> Extent {
        switch run.storage {
        case .unallocated(let host): return extent(at: start, run.count, .unallocated, reserved: host)
        case .zero(let host): return extent(at: start, run.count, .zero(explicit: true), reserved: host)
        case .compressed(let host, let count):
            return Extent(
                start: start, count: run.count,
                storage: .encoded(.compressed, file: file, offset: host, count: count))
        case .data(let host):
            guard host.rawValue < fileEnd else {
                throw ImageError(
                    .truncated, path: file.path, offset: host,
                    "the cluster of guest offset \(start) lies past the end of the file at \(HostOffset(fileEnd))")
            }
            // The last cluster need not be whole in the file; what is missing reads as zeros.
            let count = min(run.count, fileEnd - host.rawValue)
            return Extent(start: start, count: count, storage: .data(file: file, offset: host))
        }
    }

    private func extent(
        at start: GuestOffset, _ count: UInt64, _ storage: Extent.Storage, reserved host: HostOffset?
    ) -> Extent {
        var extent = Extent(start: start, count: count, storage: storage)
        extent.reserved = host.map { Extent.Reserved(file: file, offset: $0) }
        return extent
    }

    /// Inflates a compressed cluster, or takes it from the cache.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard case .encoded(_, _, let offset, let count) = extent.storage else {
            preconditionFailure("only an encoded extent is decoded")
        }
        try source.inflate(
            Int(extent.count), skipping: Int(extent.start.rawValue % format.clusterSize), from: offset, count: count,
            into: &output)
    }

    /// What has clusters that were given up stay as they are for as long as it is kept.
    public func holdForReading() -> (any AnyObject & Sendable)? { ReadHold(readHolds) }
}
