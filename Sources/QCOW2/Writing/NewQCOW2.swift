import BlockImage
import ByteFormat
import FormatCore

/// What a new QCOW2 image is to be: what `qemu-img create -o` lets people choose, with QEMU's defaults.
public struct NewQCOW2: Hashable, Sendable {
    /// The image under a new one.
    public struct Backing: Hashable, Sendable {
        /// Its name as it goes into the header: 1 to 1023 bytes, looked for from the folder of the new image.
        public var name: [UInt8]
        /// The name of its format, as "raw" or "qcow2": without it, QEMU would have to guess. 1 to 15 bytes.
        public var format: String

        /// The image `name` of the format `format`.
        public init(name: [UInt8], format: String) {
            self.name = name
            self.format = format
        }
    }

    /// What space the clusters get that nothing is written to, by the names that QEMU gives it.
    public enum Preallocation: String, CaseIterable, Sendable {
        /// None: they are not allocated.
        case off
        /// Host clusters, which are holes of the file.
        case metadata
        /// Host clusters that the file system sets aside.
        case falloc
        /// Host clusters that are filled with zeros.
        case full
    }

    /// The size of the disk in bytes. Where it is no multiple of 512, the disk ends with a sector that zeros fill up.
    public var size: UInt64
    /// 2 (`compat` 0.10) or 3 (1.1).
    public var version: UInt32 = 3
    /// The bytes of a cluster: a power of two from 512 to 2 MiB.
    public var clusterSize: UInt64 = 65536
    /// The bits of a refcount: a power of two from 1 to 64; 16 in version 2.
    public var refcountBits: UInt32 = 16
    /// Whether L2 entries have 16 bytes, and clusters 32 subclusters (`extended_l2`). Version 3, clusters of at least 16
    /// KiB.
    public var hasExtendedL2 = false
    /// How clusters are compressed, if they are.
    public var compressionType = CompressionType.zlib
    /// Whether programs that write to the image may put off its refcounts (`lazy_refcounts`). Version 3.
    public var hasLazyRefcounts = false
    /// The image under it, if there is one.
    public var backing: Backing?
    /// What space clusters get that nothing is written to.
    public var preallocation = Preallocation.off
    /// Which disk it is over, for `HeaderExtensions.baseIdentity`; nil: the image says nothing of that.
    public var baseIdentity: [UInt8]?

    /// An image of `size` bytes, as QEMU makes it by default.
    public init(size: UInt64) {
        self.size = size
    }
}

extension NewQCOW2 {
    /// Smaller clusters have no subclusters.
    static let leastExtendedClusterSize: UInt64 = 16384
    /// Clusters of at most this size have no space for the names of features beside the name of a backing file; QEMU
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
        extensions.baseIdentity = baseIdentity
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
