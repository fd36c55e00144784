import BlockImage
import ByteFormat
import GuestFiles

/// The label and UUID of a file system, from its superblock: the kernel does not say them of all.
enum SuperblockIdentity {
    /// Where a type has its magic number, its UUID and its label, in bytes from the start of the disk.
    private struct Layout {
        var magic: (offset: UInt64, bytes: [UInt8])
        var uuid: UInt64
        var label: (offset: UInt64, count: Int)
    }

    /// fs/xfs/libxfs/xfs_format.h, `xfs_dsb`.
    private static let xfs = Layout(magic: (0, Array("XFSB".utf8)), uuid: 32, label: (108, 12))
    /// fs/btrfs: `btrfs_super_block`, at 64 KiB.
    private static let btrfs = Layout(
        magic: (0x10040, Array("_BHRfS_M".utf8)), uuid: 0x10020, label: (0x1012b, 256))
    /// fs/ext4/ext4.h: `ext4_super_block`, at 1 KiB.
    private static let ext = Layout(magic: (0x438, [0x53, 0xef]), uuid: 0x468, label: (0x478, 16))
    private static let layouts = ["xfs": xfs, "btrfs": btrfs, "ext2": ext, "ext3": ext, "ext4": ext]

    /// What is known of the file system `type` on `disk`.
    static func info(of disk: Image, type: String) -> GuestFileSystemInfo {
        guard let layout = layouts[type],
            bytes(layout.magic.bytes.count, at: layout.magic.offset, of: disk) == layout.magic.bytes
        else { return GuestFileSystemInfo(type: type, label: nil, uuid: nil) }
        let label = (bytes(layout.label.count, at: layout.label.offset, of: disk) ?? []).prefix { $0 != 0 }
        let uuid = bytes(16, at: layout.uuid, of: disk).map(text)
        return GuestFileSystemInfo(
            type: type, label: label.isEmpty ? nil : String(decoding: label, as: UTF8.self), uuid: uuid)
    }

    private static func bytes(_ count: Int, at offset: UInt64, of disk: Image) -> [UInt8]? {
        let buffer = AlignedBuffer(capacity: count)
        let isRead: ()? = try? buffer.fill(count) { output throws(ImageError) in
            try disk.read(count, at: GuestOffset(offset), into: &output)
        }
        return isRead == nil ? nil : buffer.array
    }

    /// As blkid(8) writes it.
    private static func text(_ uuid: [UInt8]) -> String {
        let digits = uuid.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
    }
}
