/// Boot sectors of file systems that end with an MBR's signature without being one: disks that hold a FAT, exFAT or
/// NTFS file system and no partition table.
enum FileSystemBootSector: String {
    case fat = "FAT"
    case exFAT = "exFAT"
    case ntfs = "NTFS"

    /// The file system whose boot sector `bytes`, the first 512 of a disk, are; nil where they are none.
    init?(_ bytes: [UInt8]) {
        guard bytes.count >= 512 else { return nil }
        // Every one of them begins with a jump over its parameters, which few boot programs of an MBR do.
        guard bytes[0] == 0xe9 || bytes[0] == 0xeb else { return nil }
        let name = Array(bytes[3..<11])
        // exFAT keeps zeros where FAT and NTFS have their parameters (MustBeZero).
        if name == Array("EXFAT   ".utf8), bytes[11..<64].allSatisfy({ $0 == 0 }) {
            self = .exFAT
        } else if name == Array("NTFS    ".utf8), Self.isPowerOfTwo(Self.bytesPerSector(bytes), 256...4096) {
            self = .ntfs
        } else if Self.isFAT(bytes) {
            self = .fat
        } else {
            return nil
        }
    }

    /// Whether the BIOS parameter block is one that a FAT file system can have: Microsoft's FAT specification 1.03,
    /// "Boot Sector and BPB".
    ///
    ///     OFFSET SIZE FIELD
    ///         11    2 BPB_BytsPerSec
    ///         13    1 BPB_SecPerClus
    ///         14    2 BPB_RsvdSecCnt
    ///         16    1 BPB_NumFATs
    ///         17    2 BPB_RootEntCnt
    ///         19    2 BPB_TotSec16
    ///         21    1 BPB_Media
    ///         22    2 BPB_FATSz16
    ///         32    4 BPB_TotSec32
    ///         36    4 BPB_FATSz32
    private static func isFAT(_ bytes: [UInt8]) -> Bool {
        let fats = integer(bytes, 16..<17)
        let reserved = integer(bytes, 14..<16)
        guard isPowerOfTwo(bytesPerSector(bytes), 512...4096), isPowerOfTwo(integer(bytes, 13..<14), 1...128),
            reserved > 0, fats > 0, bytes[21] == 0xf0 || bytes[21] >= 0xf8
        else { return false }
        let short = (sectors: integer(bytes, 19..<21), fat: integer(bytes, 22..<24))
        let sectors = short.sectors > 0 ? short.sectors : integer(bytes, 32..<36)
        let fatSize = short.fat > 0 ? short.fat : integer(bytes, 36..<40)
        // At most 255 FATs of 2^32 sectors.
        return fatSize > 0 && reserved + fats * fatSize < sectors
    }

    private static func bytesPerSector(_ bytes: [UInt8]) -> UInt64 { integer(bytes, 11..<13) }

    private static func integer(_ bytes: [UInt8], _ range: Range<Int>) -> UInt64 {
        bytes[range].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    private static func isPowerOfTwo(_ value: UInt64, _ range: ClosedRange<UInt64>) -> Bool {
        range.contains(value) && value & (value - 1) == 0
    }
}
