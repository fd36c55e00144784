import ByteFormat

/// The first sector of a FAT file system: Microsoft's FAT specification 1.03, "Boot Sector and BPB".
///
///     OFFSET SIZE FIELD
///          0    3 BS_jmpBoot: a jump over what follows
///          3    8 BS_OEMName
///         11    2 BPB_BytsPerSec
///         13    1 BPB_SecPerClus
///         14    2 BPB_RsvdSecCnt: the sectors before the first FAT
///         16    1 BPB_NumFATs
///         17    2 BPB_RootEntCnt
///         19    2 BPB_TotSec16
///         21    1 BPB_Media
///         22    2 BPB_FATSz16: 0 in FAT32
///         32    4 BPB_TotSec32
///
///     FAT12, FAT16            FAT32
///         37    1 state           36    4 BPB_FATSz32
///         38    1 BS_BootSig      40    2 BPB_ExtFlags
///         39    4 BS_VolID        42    2 BPB_FSVer
///                                 44    4 BPB_RootClus
///                                 65    1 state, 66 BS_BootSig, 67 BS_VolID
///
/// All integers are little-endian. The state is Linux's: bit 0 is set while the file system is mounted for writing.
struct FATBootSector: Hashable, Sendable {
    /// The bytes that are read of it.
    static let size = 512

    var width: ClusterTable.Width
    var sectorSize: UInt64
    /// The bytes of the whole file system.
    var totalSize: UInt64
    /// Where the first FAT begins, in bytes.
    var tableStart: UInt64
    var media: UInt8
    var heap: ClusterHeap
    /// Where the root directory lies; in FAT32 it is a file of clusters that begins with `rootCluster`.
    var rootRange: Range<UInt64>
    var rootCluster: UInt32
    var isDirty: Bool
    /// BS_VolID, where there is one.
    var serial: UInt32?

    /// Whether `bytes` can be a FAT file system's: they begin with a jump, and the parameters are ones that FAT has.
    static func isThere(in bytes: [UInt8]) -> Bool {
        guard bytes.count >= size, bytes[0] == 0xe9 || bytes[0] == 0xeb else { return false }
        // NTFS, exFAT and BitLocker have parameters, or parts of them, in the same places.
        guard !["NTFS    ", "EXFAT   ", "-FVE-FS-"].contains(where: { bytes[3...].starts(with: $0.utf8) }) else {
            return false
        }
        let sector: UInt16 = littleEndian(bytes[...], 11)
        let reserved: UInt16 = littleEndian(bytes[...], 14)
        return [512, 1024, 2048, 4096].contains(sector) && bytes[13].nonzeroBitCount == 1 && reserved > 0
            && bytes[16] > 0
            && (bytes[21] == 0xf0 || bytes[21] >= 0xf8)
    }

    /// Whether one of the texts that say so, and mean nothing otherwise, calls it FAT.
    static func hasTypeText(_ bytes: [UInt8]) -> Bool {
        bytes[54...].starts(with: "FAT".utf8) || bytes[82...].starts(with: "FAT32".utf8)
    }

    /// What `bytes`, in which it is there, say. Throws what contradicts itself.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes, at: 11)
        sectorSize = UInt64(try reader.read(.little, as: UInt16.self))
        let clusterSectors = UInt64(try reader.read(.little, as: UInt8.self))
        let reserved = UInt64(try reader.read(.little, as: UInt16.self))
        let tables = UInt64(try reader.read(.little, as: UInt8.self))
        let rootEntries = UInt64(try reader.read(.little, as: UInt16.self))
        let shortTotal: UInt16 = try reader.read(.little)
        media = try reader.read(.little)
        let shortTable: UInt16 = try reader.read(.little)
        try reader.skip(8)
        let longTotal: UInt32 = try reader.read(.little)
        let longTable: UInt32 = try reader.read(.little)
        let isLarge = shortTable == 0
        let tableSectors = UInt64(isLarge ? longTable : UInt32(shortTable))
        guard tableSectors > 0 else { throw ParseFault(at: 36, "the FAT has no sectors") }
        let sectors = UInt64(shortTotal == 0 ? longTotal : UInt32(shortTotal))
        // Every factor has at most 32 bits, so that no sum or product of them overflows.
        let rootStart = reserved + tables * tableSectors
        let rootSize = rootEntries * 32
        let heapStart = rootStart + (rootSize + sectorSize - 1) / sectorSize
        guard heapStart < sectors else {
            throw ParseFault(
                at: shortTotal == 0 ? 32 : 19,
                "the file system has \(sectors) sectors, but its clusters begin with sector \(heapStart)")
        }
        let clusters = (sectors - heapStart) / clusterSectors
        width = try Self.width(clusters, isLarge: isLarge)
        // A FAT that is too short for all clusters leaves some out, as in Linux.
        let entries = tableSectors * sectorSize * 8 / (width == .fat12 ? 12 : width == .fat16 ? 16 : 32)
        let held = UInt32(clamping: min(clusters, entries < 2 ? 0 : entries - 2))
        let clusterSize = clusterSectors * sectorSize
        guard let heap = ClusterHeap(start: heapStart * sectorSize, clusterSize: clusterSize, count: held) else {
            throw ParseFault(at: 32, "the file system is larger than any disk")
        }
        self.heap = heap
        totalSize = sectors * sectorSize
        tableStart = reserved * sectorSize
        rootRange = rootStart * sectorSize..<rootStart * sectorSize + (isLarge ? 0 : rootSize)
        rootCluster = 0
        let tail = isLarge ? 65 : 37
        isDirty = bytes[tail] & 1 != 0
        serial = bytes[tail + 1] & 0xfe == 0x28 ? littleEndian(bytes[...], tail + 2) : nil
        if isLarge { try readLarge(&reader) }
    }

    /// By the count of clusters, as the specification says. A FAT32 with few clusters, which mkfs.fat makes, is FAT32 to Linux.
    private static func width(_ clusters: UInt64, isLarge: Bool) throws(ParseFault) -> ClusterTable.Width {
        if isLarge {
            guard clusters <= 0x0fff_fff5 else {
                throw ParseFault(at: 32, "there are \(clusters) clusters, more than FAT32 can have")
            }
            return .fat32
        }
        guard clusters < 65525 else {
            throw ParseFault(at: 22, "there are \(clusters) clusters, more than FAT16 can have")
        }
        return clusters < 4085 ? .fat12 : .fat16
    }

    private mutating func readLarge(_ reader: inout ByteReader) throws(ParseFault) {
        try reader.skip(2)
        let version: UInt16 = try reader.read(.little)
        guard version == 0 else {
            throw ParseFault(at: 42, "the version of FAT32 is \(hexadecimal(version)), but must be 0")
        }
        rootCluster = try reader.read(.little)
        guard heap.contains(rootCluster) else {
            throw ParseFault(
                at: 44,
                "the root directory begins with cluster \(rootCluster), but must with one of 2 to \(UInt64(heap.count) + 1)"
            )
        }
    }

    /// What blkid(8) calls FAT12, FAT16 and FAT32.
    var name: String {
        switch width {
        case .fat12: "FAT12"
        case .fat16: "FAT16"
        case .fat32, .exFAT: "FAT32"
        }
    }
}
