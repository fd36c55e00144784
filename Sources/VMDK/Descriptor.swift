import ByteFormat

/// The text that describes a disk: its keys and its extents (Virtual Disk Format 5.0, "The Descriptor File").
///
/// It is a file of its own, or is embedded in a sparse extent.
public struct Descriptor: Hashable, Sendable {
    /// A line `key = "value"`.
    public struct Entry: Hashable, Sendable {
        /// The key as it is written.
        public let key: String
        /// The value without its quotes, with what is not UTF-8 replaced.
        public let value: String
    }

    /// The keys and their values, in the order of the lines.
    public let entries: [Entry]
    /// The extents, in the order of the lines, which is their order on the disk.
    public let extents: [DescriptorExtent]
    /// The first line that must be an extent, but is none.
    let extentFault: ParseFault?
    /// The first line that is neither a comment, nor an entry, nor an extent.
    let unknownLine: ParseFault?
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

    /// The value of the first entry whose key is `key`, in any case; nil when there is none.
    public func value(of key: String) -> String? {
        let wanted = key.lowercased()
        return entries.first { $0.key.lowercased() == wanted }?.value
    }

    /// The kind of disk, as it is written: `monolithicSparse`, `vmfs`… Nothing is decided by it.
    public var createType: String? { value(of: "createType") }
    /// The content identifier, which changes when the disk is written; nil where it is missing or no number.
    public var cid: UInt32? { value(of: "CID").flatMap(Self.contentID) }
    /// The content identifier of the parent; nil where it is missing or no number.
    public var parentCID: UInt32? { value(of: "parentCID").flatMap(Self.contentID) }
    /// The name of the parent, for who wants to look for it.
    public var parentFileNameHint: String? { value(of: "parentFileNameHint") }

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
    ///
    /// The version says nothing about that: ESXi writes 4 and more for disks that are as they always were.
    var unsupportedFeature: String? {
        if let key = encryptionKey { return "the disk is encrypted (\(key)), which is not supported" }
        guard let written = value(of: "parentCID") else {
            guard let hint = parentFileNameHint else { return nil }
            return "the disk is a delta of its parent \"\(hint)\", which is not supported"
        }
        guard parentCID != Self.noParent else { return nil }
        let hint = parentFileNameHint.map { " \"\($0)\"" } ?? ""
        return "the disk is a delta of its parent\(hint) (parentCID is \"\(written)\"), which is not supported"
    }

    /// The entry that says that the disk is encrypted: `encryption.keySafe` and the like of Workstation,
    /// `encryptionKeys` of vSphere, or the latter's encrypting I/O filter, "vmwarevmcrypt".
    private var encryptionKey: String? {
        entries.first { entry in
            let key = entry.key.lowercased()
            return key.hasPrefix("encryption") || key.hasPrefix("ddb.encryption")
                || (key == "ddb.iofilters" && entry.value.lowercased().contains("vmcrypt"))
        }?.key
    }

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
