import BlockImage
import ByteFormat

/// The text that describes a disk: its keys and its extents (Virtual Disk Format 5.0, "The Descriptor File").
///
/// It is a file of its own, or is embedded in a sparse extent.
public struct Descriptor: Hashable, Sendable {
    /// A line `key = "value"`.
    public struct Entry: Hashable, Sendable {
        /// The key as it is written.
        public let key: String
        /// The value without its quotes, decoded; with what cannot be decoded replaced.
        public var value: String { written.text }
        /// The value as a name: of the parent, for one.
        let written: DescriptorName
        /// Where the line begins, in bytes from the start of the descriptor.
        public let position: Int
    }

    /// The keys and their values, in the order of the lines.
    public let entries: [Entry]
    /// The extents, in the order of the lines, which is their order on the disk.
    public let extents: [DescriptorExtent]
    /// What people should know of the text, in sentences: that it is in UTF-16, that it or a line stands there twice.
    let notes: [ErrorText]
    /// Why the text as a whole is ambiguous.
    let textFault: ParseFault?
    /// Whether the text is stored in UTF-16, so that the positions here are none of the file.
    let isUTF16: Bool
    /// The first line that must be an extent, but is none.
    let extentFault: ParseFault?
    /// The first extent that needs a file and names none, which matters unless the grains lie beside the descriptor.
    let namelessFault: ParseFault?
    /// The first key that is not looked at any more.
    let entryFault: ParseFault?
    /// The first line that is neither a comment, nor an entry, nor an extent.
    let unknownLine: ParseFault?
    /// The first text that the encoding does not decode, or an encoding that is not known.
    let encodingFault: ParseFault?
    /// Whether the comment that begins descriptors is there.
    let hasMark: Bool

    /// The most bytes that a descriptor may have, as in QEMU: 1 MiB less one.
    public static let sizeLimit = (1 << 20) - 1
    /// The most extents that a disk may have: 8,192.
    ///
    /// Workstation's largest disk, 8 TiB, takes 8 * 2^20 / 2047 = 4,099 files of 2,047 MiB in the twoGbMaxExtent
    /// layouts; this is the double of it. The 32,785 files of a disk of 64 TiB would neither fit a descriptor of
    /// `sizeLimit` bytes, at some 45 bytes a line, nor the number of files that processes may hold open.
    public static let extentLimit = 8192

    /// The most keys that a descriptor may have: 4,096, since they are looked through one by one. VMware's have some
    /// thirty.
    static let entryLimit = 4096

    /// The first entry whose key is `key`, in any case; nil when there is none.
    func entry(_ key: String) -> Entry? {
        // By bytes: the sign for kelvin is no k.
        let wanted = key.utf8.map(lowercase)
        return entries.first { $0.key.utf8.lazy.map(lowercase).elementsEqual(wanted) }
    }

    /// The value of the first entry whose key is `key`, in any case; nil when there is none.
    public func value(of key: String) -> String? { entry(key)?.value }

    /// The version of the descriptor, as it is written. Says nothing: ESXi writes 4 and more for disks that are as they
    /// always were.
    public var version: String? { value(of: "version") }
    /// The encoding of its texts by its own words; nil where it names none, and they are UTF-8. Some writers name it in
    /// the disk database.
    public var encoding: String? { value(of: "encoding") ?? value(of: "ddb.encoding") }
    /// The kind of disk, as it is written: `monolithicSparse`, `vmfs`… Nothing is decided by it.
    public var createType: String? { value(of: "createType") }
    /// The content identifier, which changes when the disk is written; nil where it is missing or no number.
    public var cid: UInt32? { value(of: "CID").flatMap(Self.contentID) }
    /// The content identifier of the parent; nil where it is missing or no number.
    public var parentCID: UInt32? { value(of: "parentCID").flatMap(Self.contentID) }
    /// The name of the parent, for who wants to look for it; nil where there is none, or an empty one.
    public var parentFileNameHint: DescriptorName? {
        entry("parentFileNameHint").flatMap { $0.value.isEmpty ? nil : $0.written }
    }

    /// The parent's name where the disk is a delta; nil where it is a disk of its own.
    ///
    /// A parentCID of ffffffff says that there is no parent, whatever the hint says, as in VMware's products. Where
    /// there is no parentCID, the hint says that there is one.
    public var parent: DescriptorName? { parentCID == Self.noParent ? nil : parentFileNameHint }

    /// The value of parentCID that says that there is no parent (CID_NOPARENT).
    public static let noParent: UInt32 = 0xffff_ffff

    private static func contentID(_ text: String) -> UInt32? {
        let digits = text.lowercased().hasPrefix("0x") ? text.dropFirst(2) : text[...]
        // What follows the digits is passed over: a script that makes disks of ESX writes "ffffffffpa".
        return UInt32(digits.prefix { $0.isASCII && $0.isHexDigit }, radix: 16)
    }
}

extension Descriptor {
    /// Why the disk that it describes cannot be read, whatever its extents are; nil when it can.
    var unsupportedFeature: ParseFault? {
        if let fault = textFault ?? encryption ?? entryFault { return fault }
        guard let entry = entry("parentCID"), parentCID != Self.noParent, parentFileNameHint == nil else { return nil }
        return ParseFault(
            at: entry.position,
            "parentCID: is \(entry.value), so the disk is a delta of its parent, but the parent cannot be found: "
                + "parentFileNameHint is missing")
    }

    /// That the disk is encrypted: `encryption.keySafe` and the like of Workstation, `encryptionKeys` of vSphere, or
    /// the latter's encrypting I/O filter, "vmwarevmcrypt".
    private var encryption: ParseFault? {
        for entry in entries {
            let key = entry.key.lowercased()
            let product: String
            if key.hasPrefix("encryption.") {
                product = "Workstation or Fusion"
            } else if key.hasPrefix("encryption") || key.hasPrefix("ddb.encryption")
                || (key == "ddb.iofilters" && entry.value.lowercased().contains(text: "vmcrypt"))
            {
                product = "vSphere"
            } else {
                continue
            }
            return ParseFault(
                at: entry.position,
                "\(entry.key): the disk is encrypted with the virtual machine encryption of \(product), which is not "
                    + "supported; decrypt the virtual machine there first")
        }
        return nil
    }

    /// Whether there is anything of a descriptor in it; not in blanks, and not in the bytes of something else.
    var isReadable: Bool { hasMark || createType != nil || cid != nil || parentCID != nil }

    /// The size of the disk by the extent lines, in sectors; nil where no disk can have it.
    var sectors: UInt64? {
        var sum: UInt64 = 0
        for extent in extents {
            // Both are at most 2^54, so that the sum fits.
            guard extent.sectors <= sectorLimit, sum + extent.sectors <= sectorLimit else { return nil }
            sum += extent.sectors
        }
        return sum
    }
}

/// A content identifier as descriptors write it.
public func contentIDText(_ contentID: UInt32) -> String {
    hexDigits(contentID, 8)
}

/// `byte` as a small letter of ASCII, if it is a letter.
private func lowercase(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
}
