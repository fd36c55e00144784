import BlockImage
import ByteFormat

/// What else is on disks than file systems that are read here, by its signature, as blkid(8) of util-linux 2.38 finds it: what
/// messages say, and what another reader is chosen by.
public enum OtherFileSystem {
    private struct Form {
        var type: String
        var offset: UInt64
        var magic: [UInt8]
        var uuid: UUIDForm = .none
        /// Where a label begins, and its most bytes.
        var label: (offset: UInt64, count: Int)?
    }

    private enum UUIDForm {
        case none
        case bytes(at: UInt64)
        case text(at: UInt64)
        /// Eight bytes, the lowest first.
        case serial(at: UInt64)
    }

    private static let forms = [
        Form(type: "xfs", offset: 0, magic: Array("XFSB".utf8), uuid: .bytes(at: 32), label: (108, 12)),
        Form(
            type: "btrfs", offset: 0x1_0040, magic: Array("_BHRfS_M".utf8), uuid: .bytes(at: 0x1_0020),
            label: (0x1_012b, 256)),
        Form(type: "ntfs", offset: 3, magic: Array("NTFS    ".utf8), uuid: .serial(at: 0x48)),
        Form(type: "crypto_LUKS", offset: 0, magic: Array("LUKS".utf8) + [0xba, 0xbe], uuid: .text(at: 168)),
        Form(type: "BitLocker", offset: 3, magic: Array("-FVE-FS-".utf8)),
        Form(
            type: "swap", offset: 4086, magic: Array("SWAPSPACE2".utf8), uuid: .bytes(at: 1036), label: (1052, 16)),
        Form(type: "LVM2_member", offset: 512, magic: Array("LABELONE".utf8)),
        // Those of kinds that are read here, with features that are not known.
        Form(type: "ext4", offset: 1080, magic: [0x53, 0xef], uuid: .bytes(at: 1128), label: (1144, 16)),
        Form(type: "exfat", offset: 3, magic: Array("EXFAT   ".utf8)),
        Form(type: "iso9660", offset: 0x8001, magic: Array("CD001".utf8)),
        Form(type: "vfat", offset: 82, magic: Array("FAT32   ".utf8)),
        Form(type: "vfat", offset: 54, magic: Array("FAT1".utf8)),
        Form(type: "squashfs", offset: 0, magic: Array("hsqs".utf8)),
        Form(
            type: "erofs", offset: 1024, magic: [0xe2, 0xe1, 0xf5, 0xe0], uuid: .bytes(at: 1072), label: (1088, 16)),
        Form(type: "f2fs", offset: 1024, magic: [0x10, 0x20, 0xf5, 0xf2], uuid: .bytes(at: 1132)),
        Form(type: "hfsplus", offset: 1024, magic: Array("H+".utf8)),
        Form(type: "apfs", offset: 32, magic: Array("NXSB".utf8), uuid: .bytes(at: 72)),
        Form(
            type: "linux_raid_member", offset: 4096, magic: [0xfc, 0x4e, 0x2b, 0xa9], uuid: .bytes(at: 4112),
            label: (4128, 32)),
    ]

    /// What is on `disk`, with the type that blkid(8) gives it; nil for nothing that is known, and for more than one, of which one was
    /// left when the other was made. Throws what reading throws.
    public static func info(on disk: Image) throws(ImageError) -> GuestFileSystemInfo? {
        var found: [Form] = []
        for form in forms where try bytes(form.magic.count, at: form.offset, of: disk) == form.magic {
            found.append(form)
        }
        guard let form = found.first, found.count == 1 else { return nil }
        let label = try form.label.flatMap { place throws(ImageError) in
            try bytes(place.count, at: place.offset, of: disk).map(text)
        }
        return GuestFileSystemInfo(type: form.type, label: label ?? nil, uuid: try uuid(form.uuid, of: disk))
    }

    private static func uuid(_ form: UUIDForm, of disk: Image) throws(ImageError) -> String? {
        switch form {
        case .none: nil
        case .bytes(let offset): try bytes(16, at: offset, of: disk).flatMap(uuidText)
        case .text(let offset): try bytes(40, at: offset, of: disk).flatMap(text)
        case .serial(let offset):
            try bytes(8, at: offset, of: disk).map { bytes in
                bytes.reversed().map { hexDigits($0, 2) }.joined().uppercased()
            }
        }
    }

    /// Nil past the end of the disk.
    private static func bytes(_ count: Int, at offset: UInt64, of disk: Image) throws(ImageError) -> [UInt8]? {
        guard disk.virtualSize >= UInt64(count), offset <= disk.virtualSize - UInt64(count) else { return nil }
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in
            try disk.read(count, at: GuestOffset(offset), into: &output)
        }
        return buffer.array
    }

    private static func text(_ bytes: [UInt8]) -> String? {
        let text = bytes.prefix { $0 != 0 }
        return text.isEmpty ? nil : String(decoding: text, as: UTF8.self)
    }
}

/// The 16 bytes of a UUID as people write it; nil for zeros, which are none.
func uuidText(_ bytes: [UInt8]) -> String? {
    guard bytes.count == 16, bytes.contains(where: { $0 != 0 }) else { return nil }
    let digits = bytes.map { hexDigits($0, 2) }
    return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
}
