import ByteFormat

/// A file system of the format EROFS (Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of Linux) that holds no
/// data: its one file maps to other files, its devices.
///
///     OFFSET  WHAT
///       1024  superblock
///       1152  device table, 128 bytes for each device
///          …  inode of the root directory (compact, 32 bytes) and its entries, at a multiple of 128
///          …  inode of `past-end`, and its two chunks, at the next multiple of 128
///          …  inode of `disk.raw` (extended, 64 bytes) at the next multiple of 128, and its chunks
///
/// The file `past-end` is two blocks: the last one of the file system's own file, which is not a whole one, and one behind
/// its end. Who mounts it reads them, to see whether the kernel takes a file that is cut for an error, and not for zeros.
enum ErofsImage {
    /// The names of the files.
    static let diskName = "disk.raw"
    static let pastEndName = "past-end"

    private static let superblockOffset = 1024
    private static let deviceTableOffset = 1152
    private static let deviceSize = 128
    private static let slotSize = 128
    /// An inode's number is where it lies, in units of 32 bytes.
    private static let numberUnit = 32

    /// The entry of a chunk that is zeros.
    static let zeros = entry(device: 0, block: 0xffff_ffff)

    /// The entry of a chunk that begins with `block` of `device`. Bytes 0 and 1 are zeros (bits 32 to 47 of the block's
    /// number, which kernels before 6.15 do not read), 2 and 3 the device, 4 to 7 the block.
    static func entry(device: Int, block: UInt64) -> UInt64 {
        UInt64(truncatingIfNeeded: device) << 16 | block << 32
    }

    /// Where the chunks of `disk.raw` begin: the bytes before are `head`.
    static func indexOffset(deviceCount: Int) -> Int { fileOffset(deviceCount) + 64 }

    private static func rootOffset(_ deviceCount: Int) -> Int { deviceTableOffset + deviceSize * deviceCount }
    private static func pastEndOffset(_ deviceCount: Int) -> Int { rootOffset(deviceCount) + slotSize }
    private static func fileOffset(_ deviceCount: Int) -> Int { pastEndOffset(deviceCount) + slotSize }

    /// How large the whole is with `chunkCount` entries: it ends in a block that is not whole.
    static func size(deviceCount: Int, chunkCount: Int) -> Int {
        let end = indexOffset(deviceCount: deviceCount) + 8 * chunkCount
        return end % 512 == 0 ? end + 8 : end
    }

    /// What comes before the chunks of `disk.raw`, which has `size` bytes in `chunkCount` chunks.
    static func head(
        size: UInt64, blockBits: Int, chunkBits: Int, deviceCount: Int, chunkCount: Int
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: indexOffset(deviceCount: deviceCount))
        let wholeSize = Self.size(deviceCount: deviceCount, chunkCount: chunkCount)
        writer.pad(to: superblockOffset)
        writeSuperblock(wholeSize: wholeSize, blockBits: blockBits, deviceCount: deviceCount, to: &writer)
        for _ in 0..<deviceCount { writeDevice(to: &writer) }
        writeRoot(deviceCount, to: &writer)
        writer.pad(to: pastEndOffset(deviceCount))
        writeFile(number: 2, size: 2 << UInt64(blockBits), blockBits: blockBits, chunkBits: blockBits, to: &writer)
        let last = UInt64(wholeSize) >> UInt64(blockBits)
        for block in [last, last + 1] { writer.write(entry(device: 0, block: block), .little) }
        writer.pad(to: fileOffset(deviceCount))
        writeFile(number: 3, size: size, blockBits: blockBits, chunkBits: chunkBits, to: &writer)
        return writer.bytes
    }

    /// `struct erofs_super_block`, 128 bytes. It has no checksum, as only this program sees the file.
    private static func writeSuperblock(
        wholeSize: Int, blockBits: Int, deviceCount: Int, to writer: inout ByteWriter
    ) {
        let start = writer.position
        writer.write(UInt32(0xe0f5_e1e2), .little)  // magic
        writer.write(UInt32(0), .little)  // checksum
        writer.write(UInt32(0), .little)  // feature_compat
        writer.write(UInt8(blockBits), .little)  // blkszbits
        writer.write(UInt8(0), .little)  // sb_extslots
        writer.write(UInt16(rootOffset(deviceCount) / numberUnit), .little)  // root_nid
        writer.write(UInt64(3), .little)  // inos
        writer.pad(to: start + 36)  // build_time and its nanoseconds
        writer.write(UInt32((wholeSize >> blockBits) + 1), .little)  // blocks
        writer.pad(to: start + 80)  // meta_blkaddr, xattr_blkaddr, uuid, volume_name
        writer.write(UInt32(0x4 | 0x8), .little)  // feature_incompat: CHUNKED_FILE, DEVICE_TABLE
        writer.write(UInt16(0), .little)  // available_compr_algs
        writer.write(UInt16(deviceCount), .little)  // extra_devices
        writer.write(UInt16(deviceTableOffset / deviceSize), .little)  // devt_slotoff
        writer.pad(to: start + 128)
    }

    /// `struct erofs_deviceslot`. The kernel looks at the number of blocks only where devices are one after the other.
    private static func writeDevice(to writer: inout ByteWriter) {
        let start = writer.position
        writer.pad(to: start + 64)  // tag
        writer.write(UInt32.max, .little)  // blocks
        writer.pad(to: start + deviceSize)
    }

    /// `struct erofs_inode_compact` with the entries after it, which must not cross a block.
    private static func writeRoot(_ deviceCount: Int, to writer: inout ByteWriter) {
        let root = rootOffset(deviceCount)
        // In the order of the bytes of their names.
        let entries: [(name: String, inode: Int, type: UInt8)] = [
            (".", root, 2), ("..", root, 2), (diskName, fileOffset(deviceCount), 1),
            (pastEndName, pastEndOffset(deviceCount), 1),
        ]
        let size = entries.reduce(0) { $0 + 12 + $1.name.utf8.count }
        writer.write(UInt16(2 << 1), .little)  // i_format: compact, inline
        writer.write(UInt16(0), .little)  // i_xattr_icount
        writer.write(UInt16(0o40_555), .little)  // i_mode
        writer.write(UInt16(2), .little)  // i_nlink
        writer.write(UInt32(size), .little)  // i_size
        writer.write(UInt32(0), .little)  // i_reserved
        writer.write(UInt32(0), .little)  // i_u
        writer.write(UInt32(1), .little)  // i_ino
        writer.pad(to: root + 32)  // i_uid, i_gid, i_reserved2
        var nameOffset = 12 * entries.count
        for entry in entries {
            writer.write(UInt64(entry.inode / numberUnit), .little)  // nid
            writer.write(UInt16(nameOffset), .little)  // nameoff
            writer.write(entry.type, .little)  // file_type
            writer.write(UInt8(0), .little)  // reserved
            nameOffset += entry.name.utf8.count
        }
        for entry in entries { writer.write(bytes: entry.name.utf8) }
    }

    /// `struct erofs_inode_extended` of a file in chunks.
    private static func writeFile(
        number: UInt32, size: UInt64, blockBits: Int, chunkBits: Int, to writer: inout ByteWriter
    ) {
        let start = writer.position
        writer.write(UInt16(4 << 1 | 1), .little)  // i_format: extended, chunk-based
        writer.write(UInt16(0), .little)  // i_xattr_icount
        writer.write(UInt16(0o100_400), .little)  // i_mode
        writer.write(UInt16(0), .little)  // i_reserved
        writer.write(size, .little)  // i_size
        writer.write(UInt16(chunkBits - blockBits) | 0x20, .little)  // i_u.c.format: with EROFS_CHUNK_FORMAT_INDEXES
        writer.write(UInt16(0), .little)  // i_u.c.reserved
        writer.write(number, .little)  // i_ino
        writer.pad(to: start + 44)  // i_uid, i_gid, i_mtime, i_mtime_nsec
        writer.write(UInt32(1), .little)  // i_nlink
        writer.pad(to: start + 64)
    }
}
