import BlockImage
import ByteFormat

/// What a partition or a disk is for other software than file systems, by its content: with the names that blkid(8) has for it.
public enum MemberType: String, Encodable, Sendable {
    case lvm = "LVM2_member"
    case raid = "linux_raid_member"
    case luks = "crypto_LUKS"
    case bitLocker = "BitLocker"
    case zfs = "zfs_member"
    case bcache

    /// What people call it.
    public var name: String {
        switch self {
        case .lvm: "physical volume of LVM"
        case .raid: "member of a Linux RAID"
        case .luks: "encrypted by LUKS"
        case .bitLocker: "encrypted by BitLocker"
        case .zfs: "member of a ZFS pool"
        case .bcache: "bcache"
        }
    }

    /// The bytes at the start that all signatures but two lie in.
    private static let headSize: UInt64 = 20 << 10

    /// What `disk` is; nil where nothing of these is known of it, also where it cannot be read.
    public init?(of disk: Image) {
        let head = Self.bytes(of: disk, Self.headSize, at: 0)
        // As blkid(8) does: what lies in an array is that one's, though it may begin where the member does.
        if Self.isRaid(head, disk) {
            self = .raid
        } else if let type = Self.signatures.first(where: { Self.has($0.bytes, at: $0.offset, in: head) })?.type {
            self = type
        } else if Self.isLVM(head) {
            self = .lvm
        } else if Self.isZFS(head, disk) {
            self = .zfs
        } else {
            return nil
        }
    }

    /// Those at one place. BitLocker's "to go" begins as a FAT file system, and has a GUID where a boot program would be.
    private static let signatures: [(type: MemberType, offset: Int, bytes: [UInt8])] = [
        (.luks, 0, Array("LUKS".utf8) + [0xba, 0xbe]), (.bitLocker, 3, Array("-FVE-FS-".utf8)),
        (
            .bitLocker, 424,
            [0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01]
        ),
        (
            .bcache, 4096 + 24,
            [0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81]
        ),
    ]

    private static func has(_ bytes: [UInt8], at offset: Int, in head: [UInt8]) -> Bool {
        head.dropFirst(offset).starts(with: bytes)
    }

    private static func bytes(of disk: Image, _ count: UInt64, at start: UInt64) -> [UInt8] {
        guard start < disk.virtualSize else { return [] }
        let count = Int(min(count, disk.virtualSize - start))
        let buffer = AlignedBuffer(capacity: count)
        let isRead: ()? = try? buffer.fill(count) { output throws(ImageError) in
            try disk.read(count, at: GuestOffset(start), into: &output)
        }
        return isRead == nil ? [] : buffer.array
    }

    /// A label in one of the first four sectors: LVM's lib/label/label.h.
    private static func isLVM(_ head: [UInt8]) -> Bool {
        (0..<4).contains {
            has(Array("LABELONE".utf8), at: $0 * 512, in: head)
                && has(Array("LVM2 001".utf8), at: $0 * 512 + 24, in: head)
        }
    }

    /// The superblock of md(4): of version 1.1 at the start, of 1.2 at 4 KiB, of 1.0 at least 8 KiB before the end, at a multiple
    /// of 4 KiB, and of 0.90 in the last whole 64 KiB. The first two fields are its magic number and its major version.
    private static func isRaid(_ head: [UInt8], _ disk: Image) -> Bool {
        let (magic, versionOne): ([UInt8], [UInt8]) = ([0xfc, 0x4e, 0x2b, 0xa9], [1, 0, 0, 0])
        if has(magic + versionOne, at: 0, in: head) || has(magic + versionOne, at: 4096, in: head) { return true }
        let sectors = disk.virtualSize / 512
        if sectors >= 16, bytes(of: disk, 8, at: ((sectors - 16) & ~7) * 512) == magic + versionOne { return true }
        guard disk.virtualSize >= 128 << 10 else { return false }
        let old = bytes(of: disk, 8, at: (disk.virtualSize & ~0xffff) - 0x1_0000)
        // Version 0.90 is in the byte order of the machine.
        return old == magic + [0, 0, 0, 0] || old == magic.reversed() + [0, 0, 0, 0]
    }

    /// A ZFS label: at 16 KiB a list of names and values in XDR (nvlist), and uberblocks from 128 KiB on, of at least 1 KiB each,
    /// which begin with 0xbab10c in the byte order of the machine.
    private static func isZFS(_ head: [UInt8], _ disk: Image) -> Bool {
        guard head.count == headSize, head[16 << 10] == 1, head[16 << 10 + 1] <= 1 else { return false }
        let blocks = bytes(of: disk, 128 << 10, at: 128 << 10)
        let magic: [UInt8] = [0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0]
        return stride(from: 0, to: blocks.count, by: 1024).contains {
            has(magic, at: $0, in: blocks) || has(magic.reversed(), at: $0, in: blocks)
        }
    }
}
