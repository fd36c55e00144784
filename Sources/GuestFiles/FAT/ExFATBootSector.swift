import ByteFormat

/// The first sector of an exFAT file system: Microsoft's exFAT specification 1.00, "Main Boot Sector".
///
///     OFFSET SIZE FIELD
///          3    8 FileSystemName: "EXFAT   "
///         11   53 MustBeZero
///         72    8 VolumeLength, in sectors
///         80    4 FatOffset, in sectors
///         84    4 FatLength, in sectors
///         88    4 ClusterHeapOffset, in sectors
///         92    4 ClusterCount
///         96    4 FirstClusterOfRootDirectory
///        100    4 VolumeSerialNumber
///        104    2 FileSystemRevision: the minor number, and the major one
///        106    2 VolumeFlags
///        108    1 BytesPerSectorShift
///        109    1 SectorsPerClusterShift
///        110    1 NumberOfFats
///        112    1 PercentInUse
///
/// All integers are little-endian.
struct ExFATBootSector: Hashable, Sendable {
    /// The bytes that are read of it.
    static let size = 512
    /// The sectors that the check sum is of; it fills the next one.
    static let summedSectors = 11

    private static let dirty = BitField<UInt16>(1)
    private static let failed = BitField<UInt16>(2)

    var sectorSize: Int
    /// The bytes of the whole file system.
    var totalSize: UInt64
    /// Where the FAT begins, in bytes.
    var tableStart: UInt64
    var heap: ClusterHeap
    var rootCluster: UInt32
    var serial: UInt32
    var isDirty: Bool
    var hasFailed: Bool
    /// 2 with TexFAT.
    var tables: UInt8

    /// Whether `bytes` are the first of one.
    static func isThere(in bytes: [UInt8]) -> Bool {
        bytes.count >= size && bytes[3...].starts(with: "EXFAT   ".utf8) && bytes[11..<64].allSatisfy { $0 == 0 }
            && bytes[510] == 0x55 && bytes[511] == 0xaa
    }

    /// What `bytes` say. Throws what contradicts itself.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes, at: 72)
        let sectors: UInt64 = try reader.read(.little)
        let tableOffset = UInt64(try reader.read(.little, as: UInt32.self))
        let tableLength = UInt64(try reader.read(.little, as: UInt32.self))
        let heapOffset = UInt64(try reader.read(.little, as: UInt32.self))
        let clusters: UInt32 = try reader.read(.little)
        rootCluster = try reader.read(.little)
        serial = try reader.read(.little)
        let revision: UInt16 = try reader.read(.little)
        let flags: UInt16 = try reader.read(.little)
        (isDirty, hasFailed) = (Self.dirty.isSet(in: flags), Self.failed.isSet(in: flags))
        let sectorShift: UInt8 = try reader.read(.little)
        let clusterShift: UInt8 = try reader.read(.little)
        tables = try reader.read(.little)
        guard revision >> 8 == 1 else {
            throw ParseFault(at: 104, "the revision is \(revision >> 8).\(revision & 0xff), but 1.00 is known")
        }
        guard (9...12).contains(sectorShift), clusterShift <= 25 - sectorShift else {
            throw ParseFault(
                at: 108,
                "sectors have 2^\(sectorShift) bytes and clusters 2^\(clusterShift) sectors, which none may have")
        }
        guard tables == 1 || tables == 2 else {
            throw ParseFault(at: 110, "there are \(tables) FATs, but must be 1 or 2")
        }
        sectorSize = 1 << Int(sectorShift)
        let clusterSize = UInt64(1) << UInt64(sectorShift + clusterShift)
        guard clusters <= UInt32.max - 10, sectors <= UInt64.max >> 13 else {
            throw ParseFault(at: 72, "there are \(clusters) clusters and \(sectors) sectors, more than exFAT can have")
        }
        let entries = (tableLength << UInt64(sectorShift)) / 4
        guard tableOffset >= 24, entries >= UInt64(clusters) + 2 else {
            throw ParseFault(
                at: 80,
                "the FAT has \(entries) entries from sector \(tableOffset) on, but there are \(clusters) clusters")
        }
        guard tableOffset + tableLength * UInt64(tables) <= heapOffset else {
            throw ParseFault(at: 88, "the clusters begin with sector \(heapOffset), before the FAT ends")
        }
        guard
            let heap = ClusterHeap(
                start: heapOffset << UInt64(sectorShift), clusterSize: clusterSize, count: clusters)
        else {
            throw ParseFault(at: 92, "the file system is larger than any disk")
        }
        self.heap = heap
        totalSize = sectors << UInt64(sectorShift)
        tableStart = tableOffset << UInt64(sectorShift)
        guard heap.end <= totalSize else {
            throw ParseFault(at: 92, "there are \(clusters) clusters, more than the \(sectors) sectors hold")
        }
        guard heap.contains(rootCluster) else {
            throw ParseFault(
                at: 96,
                "the root directory begins with cluster \(rootCluster), but must with one of 2 to \(UInt64(clusters) + 1)"
            )
        }
    }

    /// The check sum of `bytes`, the first eleven sectors, without the fields that change while it is mounted.
    static func checksum(of bytes: [UInt8]) -> UInt32 {
        var sum: UInt32 = 0
        for (index, byte) in bytes.enumerated() where index != 106 && index != 107 && index != 112 {
            sum = (sum << 31 | sum >> 1) &+ UInt32(byte)
        }
        return sum
    }
}
