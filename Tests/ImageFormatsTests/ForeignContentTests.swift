import BlockImage
import HostTools
import ImageFormats
import TestImages
import Testing

/// Bytes that a test runs with, named in its output: all of them, in words, would be megabytes of it.
struct NamedBytes: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: [UInt8]

    init(_ name: String, _ bytes: [UInt8]) {
        self.name = name
        self.bytes = bytes
    }

    var testDescription: String { name }
}

struct `What a file holds that is no disk` {
    /// A file that begins with `start` and ends with `end`, with bytes of no meaning between them.
    private static func file(_ start: [UInt8], at offset: Int = 0, end: [UInt8] = [], size: Int = 16384) -> [UInt8] {
        var bytes = [UInt8](repeating: 0xa7, count: size)
        bytes.replaceSubrange(offset..<(offset + start.count), with: start)
        bytes.replaceSubrange((size - end.count)..., with: end)
        return bytes
    }

    private static func footer(_ magic: String, _ more: [UInt8], at offset: Int, size: Int = 512) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: size)
        bytes.replaceSubrange(0..<magic.utf8.count, with: magic.utf8)
        bytes.replaceSubrange(offset..<(offset + more.count), with: more)
        return bytes
    }

    /// A header of tar for the member `name`, with the magic of POSIX or without any.
    private static func tar(_ name: String, magic: String) -> [UInt8] {
        var bytes = footer(name, Array(magic.utf8), at: 257, size: 1024)
        bytes.replaceSubrange(148..<156, with: [UInt8](repeating: 0x20, count: 8))
        let sum = String(bytes[..<512].reduce(0) { $0 + Int($1) }, radix: 8)
        let digits = String(repeating: "0", count: 6 - sum.count) + sum
        bytes.replaceSubrange(148..<156, with: Array(digits.utf8) + [0, 0x20])
        return bytes
    }

    private static func utf16(_ text: String, isBig: Bool = false) -> [UInt8] {
        text.utf16.flatMap { isBig ? [UInt8($0 >> 8), UInt8($0 & 255)] : [UInt8($0 & 255), UInt8($0 >> 8)] }
    }

    private static let lines = String(repeating: "RW 2048 FLAT \u{e9} \"disk-flat.vmdk\" 0\r\n", count: 300)

    static let kinds: [NamedBytes] = [
        NamedBytes("DMG", file([], end: footer("koly", [0, 0, 0, 4, 0, 0, 2, 0], at: 4))),
        NamedBytes("Ex01", file(Array("EVF2".utf8) + [13, 10, 0x81, 0])),
        NamedBytes("AFF4", file(Array("PK".utf8) + [3, 4] + footer("", Array("container.description".utf8), at: 30))),
        NamedBytes("LUKS", file(Array("LUKS".utf8) + [0xba, 0xbe, 0, 2])),
        NamedBytes("Android", file([0x3a, 0xff, 0x26, 0xed, 1, 0])),
        NamedBytes("WIM", file(Array("MSWIM\0\0\0".utf8))),
        NamedBytes("squashfs", file(footer("hsqs", [4, 0], at: 28))),
        NamedBytes("begins as an OVA", file(tar("vm.ovf", magic: "ustar"))),
        NamedBytes("a tar archive", file(tar("disk", magic: ""))),
        NamedBytes("gzip", file([0x1f, 0x8b, 8, 0])),
        NamedBytes("bzip2", file(Array("BZh9".utf8) + [0x31, 0x41, 0x59, 0x26, 0x53, 0x59])),
        NamedBytes("xz", file([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0])), NamedBytes("zstd", file([0x28, 0xb5, 0x2f, 0xfd])),
        NamedBytes("lz4", file([4, 0x22, 0x4d, 0x18])), NamedBytes("7z", file([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c])),
        NamedBytes("ZIP", file(Array("PK".utf8) + [3, 4])), NamedBytes("PDF", file(Array("%PDF-1.7".utf8))),
        NamedBytes("HTML", Array("\n <!DOCTYPE html>\n<html>".utf8)),
        NamedBytes("XML", Array("<?xml version='1.0'?>".utf8)),
        NamedBytes("Git LFS", Array("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".utf8)),
        NamedBytes("a text", Array(lines.utf8)), NamedBytes("a text", Array("Not found\n".utf8)),
        NamedBytes("UTF-16", [0xff, 0xfe] + utf16(lines)),
        NamedBytes("UTF-16", [0xfe, 0xff] + utf16(lines, isBig: true)),
        NamedBytes("UTF-16", utf16("# Disk DescriptorFile\r\nversion=1\r\n")),
        NamedBytes("UTF-16", utf16("# Disk DescriptorFile\r\nversion=1\r\n", isBig: true)),
    ]

    @Test(arguments: kinds)
    func `is named`(content: NamedBytes) throws {
        let found = try ForeignContent(of: MemoryFile(content.bytes))
        #expect(found?.name.contains(content.name) == true, "\(content.name): \(found?.name ?? "nothing")")
    }

    @Test(arguments: kinds)
    func `is never a raw disk by itself, but where that is said`(content: NamedBytes) throws {
        let file = MemoryFile(content.bytes)
        let word = content.name
        let error = #expect(throws: ImageError.self) { try Recognition(file, named: nil) }
        #expect(error?.code == .unsupported && error?.description.contains(word) == true, "\(error?.description ?? "")")
        let named = try Recognition(file, named: .raw)
        #expect(named.format == .raw && named.notes.count == 1 && named.notes[0].contains(word))
        let said = try Recognition(file, named: .raw, isSaid: true)
        #expect(said.format == .raw && said.notes.isEmpty)
    }

    private static func disk(_ change: (inout [UInt8]) -> Void) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        change(&bytes)
        return bytes
    }

    static let disks: [NamedBytes] = [
        NamedBytes("nothing", []), NamedBytes("zeros", disk { _ in }), NamedBytes("noise", SeededRandom.noise),
        NamedBytes(
            "a boot sector",
            disk {
                $0.replaceSubrange(0..<4, with: [0xeb, 0x63, 0x90, 0])
                $0[510] = 0x55
                $0[511] = 0xaa
            }
        ),
        NamedBytes(
            "a protective MBR",
            disk {
                $0[450] = 0xee
                $0[510] = 0x55
                $0[511] = 0xaa
            }
        ),
        NamedBytes(
            "ext4",
            disk {
                $0[1080] = 0x53
                $0[1081] = 0xef
            }
        ),
        NamedBytes("XFS", disk { $0.replaceSubrange(0..<4, with: "XFSB".utf8) }),
        NamedBytes("LVM", disk { $0.replaceSubrange(512..<520, with: "LABELONE".utf8) }),
        NamedBytes("NTFS", disk { $0.replaceSubrange(0..<11, with: [0xeb, 0x52, 0x90] + Array("NTFS    ".utf8)) }),
        NamedBytes("one letter", [UInt8](repeating: 0x41, count: 65536)),
        NamedBytes("a text and then zeros", disk { $0.replaceSubrange(0..<18, with: "written by a guest".utf8) }),
        NamedBytes(
            "lines in its first block only",
            disk { $0.replaceSubrange(0..<8192, with: repeatElement([0x79, 10], count: 4096).joined()) }
        ),
        NamedBytes("half of a magic", disk { $0.replaceSubrange(0..<4, with: "conx".utf8) }),
        NamedBytes(
            "the number of WIM in another place", disk { $0.replaceSubrange(512..<520, with: "MSWIM\0\0\0".utf8) }),
        NamedBytes("three bytes", [1, 2, 3]), NamedBytes("three letters", Array("abc".utf8)),
    ]

    @Test(arguments: disks)
    func `is not seen in a disk`(content: NamedBytes) throws {
        #expect(try ForeignContent(of: MemoryFile(content.bytes)) == nil, "\(content.name)")
        let found = try Recognition(MemoryFile(content.bytes), named: nil)
        #expect(found.format == .raw && found.notes.isEmpty)
    }

    @Test func `does not keep a raw disk from being raw that begins as an image`() throws {
        let image = MemoryFile(QCOW2Builder(size: 1 << 20, clusters: [.data]).build().bytes)
        let found = try Recognition(image, named: .raw)
        #expect(found.format == .raw && found.notes.first?.contains("a QCOW2 image") == true)
        #expect(try Recognition(image, named: nil).format == .qcow2)
    }
}

extension SeededRandom {
    fileprivate static var noise: [UInt8] {
        var random = SeededRandom(seed: 5)
        return (0..<65536).map { _ in UInt8.random(in: 0...255, using: &random) }
    }
}

struct `A backing file whose format is not stated` {
    @Test func `is refused where it is no disk by its content, and so is one that is called an image`() throws {
        let folder = try Folder()
        let archive = Array("MSWIM\0\0\0".utf8) + [UInt8](repeating: 0xa7, count: 65536)
        for name in ["base", "base.img", "base.qcow2", "base.vmdk", "base.raw"] {
            try folder.folder.write(archive, to: name)
            try folder.overlay("over-\(name).qcow2", over: name)
        }
        for name in ["base", "base.img", "base.qcow2", "base.vmdk"] {
            let opened = try folder.open("over-\(name).qcow2")
            let error = try #require(opened.disk.error, "\(name)")
            #expect(error.path == folder.folder.file(name) && error.description.contains("WIM"), "\(error)")
        }
        let raw = try folder.open("over-base.raw.qcow2")
        #expect(raw.disk.error == nil && raw.layers[1].notes.contains { $0.contains("WIM") })
    }
}
