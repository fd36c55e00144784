import ByteFormat

/// The header of a QCOW2 image: docs/interop/qcow2 "Header" and "Additional fields (version 3 and higher)".
///
///     OFFSET SIZE FIELD
///          0    4 magic "QFI\xfb"          64    8 snapshots_offset
///          4    4 version                  72    8 incompatible_features   (from here on: version 3)
///          8    8 backing_file_offset      80    8 compatible_features
///         16    4 backing_file_size        88    8 autoclear_features
///         20    4 cluster_bits             96    4 refcount_order
///         24    8 size                    100    4 header_length
///         32    4 crypt_method            104    1 compression_type        (if header_length covers it)
///         36    4 l1_size                 105      padding to a multiple of 8
///         40    8 l1_table_offset
///         48    8 refcount_table_offset
///         56    4 refcount_table_clusters
///         60    4 nb_snapshots
///
/// All integers are big-endian.
public struct Header: Hashable, Sendable {
    /// The first four bytes of every QCOW image, of version 1 too.
    public static let magic: [UInt8] = [0x51, 0x46, 0x49, 0xfb]

    /// 2 or 3.
    public var version: UInt32
    /// Where the backing file's name stands in the file; 0: there is none.
    public var backingFileOffset: UInt64
    /// The bytes of the backing file's name, which has no NUL; at most 1023.
    public var backingFileSize: UInt32
    /// log2 of the cluster size: 9 (512 bytes) to 21 (2 MiB), as in QEMU.
    public var clusterBits: UInt32
    /// The size of the disk in bytes.
    public var size: UInt64
    /// 0: not encrypted, 1: AES, 2: LUKS.
    public var cryptMethod: UInt32
    /// Entries in the active L1 table; may be more than the disk needs.
    public var l1Size: UInt32
    /// Where the active L1 table begins; a multiple of the cluster size.
    public var l1TableOffset: UInt64
    /// Where the refcount table begins; a multiple of the cluster size.
    public var refcountTableOffset: UInt64
    /// The clusters that the refcount table takes; at least 1.
    public var refcountTableClusters: UInt32
    /// How many internal snapshots there are (nb_snapshots).
    public var snapshotCount: UInt32
    /// Where the snapshot table begins; a multiple of the cluster size.
    public var snapshotsOffset: UInt64
    /// What a reader must understand; 0 in version 2.
    public var incompatibleFeatures: IncompatibleFeatures
    /// What a reader may ignore; 0 in version 2.
    public var compatibleFeatures: CompatibleFeatures
    /// What a writer that does not understand it must clear; 0 in version 2.
    public var autoclearFeatures: AutoclearFeatures
    /// log2 of the bits of one refcount: 0 to 6; 4 in version 2.
    public var refcountOrder: UInt32
    /// The bytes of the header: 72 in version 2, at least 104 and a multiple of 8 in version 3.
    public var headerLength: UInt32
    /// How compressed clusters are compressed: 0 deflate, 1 zstd.
    public var compressionType: UInt8
}

extension Header {
    /// Parses the header from the image's first bytes, and checks what they show alone.
    public init(parsing reader: inout ByteReader) throws(ParseFault) {
        guard try reader.read(bytes: 4) == Self.magic else {
            throw ParseFault(at: 0, "no QCOW2 image: it does not begin with the magic 'QFI\\xfb'")
        }
        version = try reader.read(.big)
        guard version == 2 || version == 3 else {
            throw ParseFault(at: 4, "version is \(version), but must be 2 or 3")
        }
        backingFileOffset = try reader.read(.big)
        backingFileSize = try reader.read(.big)
        clusterBits = try reader.read(.big)
        size = try reader.read(.big)
        cryptMethod = try reader.read(.big)
        l1Size = try reader.read(.big)
        l1TableOffset = try reader.read(.big)
        refcountTableOffset = try reader.read(.big)
        refcountTableClusters = try reader.read(.big)
        snapshotCount = try reader.read(.big)
        snapshotsOffset = try reader.read(.big)
        if version == 2 {
            incompatibleFeatures = []
            compatibleFeatures = []
            autoclearFeatures = []
            refcountOrder = 4
            headerLength = 72
            compressionType = 0
            return
        }
        incompatibleFeatures = IncompatibleFeatures(rawValue: try reader.read(.big))
        compatibleFeatures = CompatibleFeatures(rawValue: try reader.read(.big))
        autoclearFeatures = AutoclearFeatures(rawValue: try reader.read(.big))
        refcountOrder = try reader.read(.big)
        headerLength = try reader.read(.big)
        compressionType = headerLength > 104 ? try reader.read(.big) : 0
    }

    /// Appends the header, to its length: 72 bytes in version 2, 104 or 112 in version 3, the last of which is the padding
    /// after the compression type.
    func encode(into writer: inout ByteWriter) {
        let start = writer.position
        writer.write(bytes: Self.magic)
        writer.write(version, .big)
        writer.write(backingFileOffset, .big)
        writer.write(backingFileSize, .big)
        writer.write(clusterBits, .big)
        writer.write(size, .big)
        writer.write(cryptMethod, .big)
        writer.write(l1Size, .big)
        writer.write(l1TableOffset, .big)
        writer.write(refcountTableOffset, .big)
        writer.write(refcountTableClusters, .big)
        writer.write(snapshotCount, .big)
        writer.write(snapshotsOffset, .big)
        guard version >= 3 else { return }
        writer.write(incompatibleFeatures.rawValue, .big)
        writer.write(compatibleFeatures.rawValue, .big)
        writer.write(autoclearFeatures.rawValue, .big)
        writer.write(refcountOrder, .big)
        writer.write(headerLength, .big)
        if headerLength > 104 { writer.write(compressionType, .big) }
        writer.pad(to: start + Int(headerLength))
    }
}

extension Header {
    /// The bytes of a cluster. Only of a header whose `clusterBits` were checked.
    public var clusterSize: UInt64 { 1 << UInt64(clusterBits) }

    /// log2 of the entries of an L2 table.
    public var l2Bits: UInt32 { clusterBits - (incompatibleFeatures.contains(.extendedL2) ? 4 : 3) }

    /// The bytes of the disk that one L2 table covers.
    public var l2Coverage: UInt64 { 1 << UInt64(clusterBits + l2Bits) }

    /// The disk's size as its guest sees it. QEMU counts in sectors of 512 bytes, and so does everything that was
    /// written by a guest: what is left of `size` after the last whole sector is not part of the disk.
    public var virtualSize: UInt64 { size & ~511 }

    /// The L1 entries that the disk needs.
    public var neededL1Size: UInt64 { l1Size(for: size) }

    /// The L1 entries that `size` bytes need.
    func l1Size(for size: UInt64) -> UInt64 { size / l2Coverage + (size % l2Coverage == 0 ? 0 : 1) }
}
