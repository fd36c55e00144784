import BlockImage
import ByteFormat

extension NewQCOW2 {
    /// Clusters of at most this size have no room for the names of features beside the name of a backing file; QEMU
    /// leaves them out there, too.
    private static let sizeWithoutFeatureNames: UInt64 = 4096

    /// The header, with tables that have no place yet.
    var header: Header {
        var incompatible: IncompatibleFeatures = []
        if compressionType != .zlib { incompatible.insert(.compressionType) }
        if hasExtendedL2 { incompatible.insert(.extendedL2) }
        var header = Header(
            version: version, backingFileOffset: 0, backingFileSize: UInt32(clamping: backing?.name.count ?? 0),
            clusterBits: UInt32(clusterSize.trailingZeroBitCount), size: diskSize, cryptMethod: 0, l1Size: 0,
            l1TableOffset: 0, refcountTableOffset: 0, refcountTableClusters: 0, snapshotCount: 0, snapshotsOffset: 0,
            incompatibleFeatures: incompatible, compatibleFeatures: hasLazyRefcounts ? [.lazyRefcounts] : [],
            autoclearFeatures: [], refcountOrder: UInt32(refcountBits.trailingZeroBitCount),
            headerLength: version == 2 ? 72 : 112, compressionType: compressionType == .zlib ? 0 : 1)
        header.l1Size = UInt32(clamping: header.neededL1Size)
        return header
    }

    /// The size of the disk in whole sectors, as QEMU counts it.
    public var diskSize: UInt64 {
        let (sum, overflow) = size.addingReportingOverflow(511)
        return (overflow ? .max : sum) & ~511
    }

    /// What stands in the first cluster: `header`, its extensions and the backing file's name.
    func firstCluster(with header: Header) -> [UInt8] {
        var extensions = HeaderExtensions()
        extensions.backingFormat = backing?.format
        if version >= 3, clusterSize > Self.sizeWithoutFeatureNames { extensions.featureNames = FeatureName.specified }
        var end = ByteWriter()
        extensions.encode(into: &end)
        end.write(bytes: backing?.name ?? [])

        var header = header
        if let backing {
            header.backingFileOffset = UInt64(Int(header.headerLength) + end.position - backing.name.count)
        }
        var writer = ByteWriter()
        header.encode(into: &writer)
        writer.write(bytes: end.bytes)
        return writer.bytes
    }
}
