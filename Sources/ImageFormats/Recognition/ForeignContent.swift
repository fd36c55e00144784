import BlockImage

/// What a file holds that people take for a disk, but is neither a raw disk nor an image that is read here: the images of
/// other programs, archives, compressed files, texts.
///
/// A disk may begin with anything, since its guest writes it. So this is asked where nothing but the content says what a
/// file is, and for what people should know.
public struct ForeignContent: Hashable, Sendable {
    /// What it is, with its article.
    public let name: String
    /// What can be done about it, as a sentence; nil where there is nothing.
    public let advice: String?
    /// Whether it is also what a whole disk may hold: a file system, an encrypted volume.
    public let isVolume: Bool
    /// Whether it is a text, of whatever kind.
    public let isText: Bool

    init(_ name: String, _ advice: String? = nil, isVolume: Bool = false, isText: Bool = false) {
        self.name = name
        self.advice = advice
        self.isVolume = isVolume
        self.isText = isText
    }

    /// What the first and the last bytes of `file` say; nil for what may be a disk. Throws where the first ones cannot be
    /// read.
    public init?(of file: any HostFile) throws(ImageError) {
        let start = try file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "first bytes")
        // A rescue must not end at a bad last sector.
        let size = min(file.size, 512)
        let end = (try? file.bytes(Int(size), at: HostOffset(file.size - size), of: "last bytes")) ?? []
        guard let found = Self(start: start, end: end, size: file.size) else { return nil }
        self = found
    }

    /// What a file of `size` bytes holds that begins with `start` and ends with `end`, of at most 4,096 and 512 bytes.
    init?(start: [UInt8], end: [UInt8], size: UInt64) {
        // A disk of zeros is one.
        guard start.contains(where: { $0 != 0 }) || end.contains(where: { $0 != 0 }) else { return nil }
        let found =
            Self.signatures.first { $0.matches(start) }?.content ?? Self.archive(start, end)
            ?? Self.trailer(end) ?? Self.tar(start) ?? Self.text(start, end, size)
        guard let found else { return nil }
        self = found
    }
}

/// Bytes at a fixed place, and what a file is that has them.
private struct Signature: Sendable {
    var content: ForeignContent
    /// All of these must be there.
    var parts: [(offset: Int, bytes: [UInt8])]

    init(_ content: ForeignContent, _ parts: (offset: Int, bytes: [UInt8])...) {
        self.content = content
        self.parts = parts
    }

    init(_ content: ForeignContent, _ magic: String) {
        self.init(content, (0, Array(magic.utf8)))
    }

    func matches(_ start: [UInt8]) -> Bool {
        parts.allSatisfy { start.dropFirst($0.offset).starts(with: $0.bytes) }
    }
}

extension ForeignContent {
    /// An image that qemu-img calls `driver`.
    private static func image(_ name: String, _ driver: String) -> Self {
        Self(name, "'qemu-img convert -f \(driver) -O qcow2 OLD NEW' converts it")
    }

    private static func compressed(_ program: String) -> Self {
        Self("\(program)-compressed data", "decompress it first")
    }

    private static let zip = Self("a ZIP archive", "unpack it first")

    private static let signatures: [Signature] = [
        Signature(image("a Bochs image", "bochs"), "Bochs Virtual HD Image"),
        Signature(Self("a user-mode Linux COW image"), "OOOM"),
        Signature(
            Self("an EWF image (Ex01) of EnCase", "ewfexport makes a raw disk of it"),
            (0, Array("EVF2".utf8) + [13, 10, 0x81, 0])),
        Signature(Self("an AFF image", "affconvert makes a raw disk of it"), "AFF10\r\n\0"),
        Signature(Self("a vzdump backup (VMA) of Proxmox"), (0, Array("VMA\0".utf8) + [0, 0, 0, 1])),
        Signature(
            Self("an Android sparse image", "simg2img makes a raw disk of it"), (0, [0x3a, 0xff, 0x26, 0xed, 1, 0])),
        Signature(Self("a WIM archive of Windows"), "MSWIM\0\0\0"),
        Signature(
            Self("a LUKS volume", "cryptsetup opens it", isVolume: true), (0, Array("LUKS".utf8) + [0xba, 0xbe, 0, 1])),
        Signature(
            Self("a LUKS volume", "cryptsetup opens it", isVolume: true), (0, Array("LUKS".utf8) + [0xba, 0xbe, 0, 2])),
        Signature(Self("a squashfs file system", isVolume: true), (0, Array("hsqs".utf8)), (28, [4, 0])),
        Signature(compressed("bzip2"), (0, Array("BZh".utf8)), (4, [0x31, 0x41, 0x59, 0x26, 0x53, 0x59])),
        Signature(compressed("bzip2"), (0, Array("BZh".utf8)), (4, [0x17, 0x72, 0x45, 0x38, 0x50, 0x90])),
        Signature(compressed("gzip"), (0, [0x1f, 0x8b, 8])),
        Signature(compressed("xz"), (0, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0])),
        Signature(compressed("zstd"), (0, [0x28, 0xb5, 0x2f, 0xfd])),
        Signature(compressed("lz4"), (0, [0x04, 0x22, 0x4d, 0x18])),
        Signature(compressed("lz4"), (0, [0x02, 0x21, 0x4c, 0x18])),
        Signature(compressed("lzop"), (0, [0x89, 0x4c, 0x5a, 0x4f, 0, 13, 10, 0x1a, 10])),
        Signature(Self("a 7z archive", "unpack it first"), (0, [0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c])),
        Signature(Self("a RAR archive", "unpack it first"), (0, Array("Rar!".utf8) + [0x1a, 7])),
        Signature(Self("a PDF document", isText: true), "%PDF-"),
    ]

    /// A ZIP archive, and what is made of one.
    private static func archive(_ start: [UInt8], _ end: [UInt8]) -> Self? {
        let marks: [[UInt8]] = [[3, 4], [5, 6], [7, 8]]
        guard start.starts(with: "PK".utf8), marks.contains(Array(start.dropFirst(2).prefix(2))) else { return nil }
        let isAFF4 =
            start.place(of: "container.description".utf8) != nil || end.place(of: "aff4:".utf8) != nil
        return isAFF4 ? Self("an AFF4 image", "a tool for AFF4 makes a raw disk of it") : zip
    }

    /// What has its mark in its last 512 bytes: a DMG.
    private static func trailer(_ end: [UInt8]) -> Self? {
        guard end.count == 512 else { return nil }
        let isDMG = end.starts(with: "koly".utf8) && end[4..<12].elementsEqual([0, 0, 0, 4, 0, 0, 2, 0])
        return isDMG ? image("a DMG image of macOS", "dmg") : nil
    }

    /// A tar archive by the checksum of its first header, which those without a magic have as well.
    private static func tar(_ start: [UInt8]) -> Self? {
        guard start.count >= 512, start[0] != 0 else { return nil }
        let field = start[148..<156]
        let digits = field.drop { $0 == UInt8(ascii: " ") }.prefix {
            (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0)
        }
        guard digits.count >= 4, let wanted = Int(String(decoding: digits, as: UTF8.self), radix: 8) else { return nil }
        let sum = start[..<512].reduce(0) { $0 + Int($1) } - field.reduce(0) { $0 + Int($1) } + 8 * 0x20
        guard sum == wanted else { return nil }
        let name = String(decoding: start[..<100].prefix { $0 != 0 }, as: UTF8.self).lowercased()
        guard name.hasSuffix(".ovf") else { return Self("a tar archive", "unpack it first") }
        return Self("a tar archive that begins as an OVA appliance does", "its extension should be .ova")
    }
}
