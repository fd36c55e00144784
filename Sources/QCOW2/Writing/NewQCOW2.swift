import BlockImage

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

    /// How compressed clusters are compressed, by the names that QEMU gives them.
    public enum CompressionType: String, CaseIterable, Sendable {
        /// RFC 1951.
        case zlib
        /// RFC 8878. Version 3.
        case zstd
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
    /// Whether whoever writes to the image may put off its refcounts (`lazy_refcounts`). Version 3.
    public var hasLazyRefcounts = false
    /// The image under it, if there is one.
    public var backing: Backing?
    /// What space clusters get that nothing is written to.
    public var preallocation = Preallocation.off

    /// An image of `size` bytes, as QEMU makes it by default.
    public init(size: UInt64) {
        self.size = size
    }
}
