import BlockImage
import TestImages
import Testing

@testable import VMDK

struct `The text of a descriptor` {
    private static let flat = "RW 4 FLAT \"a-flat.vmdk\" 0"
    private static let files = ["a-flat.vmdk": MemoryFile([UInt8](repeating: 7, count: 2048))]

    private static func text(_ lines: [String] = [flat]) throws -> [UInt8] {
        try VMDKDescriptorText("monolithicFlat", lines).bytes()
    }

    private static func utf16(_ text: [UInt8], isLittle: Bool) -> [UInt8] {
        let units = Array(("\u{feff}" + String(decoding: text, as: UTF8.self)).utf16)
        return units.flatMap { isLittle ? [UInt8($0 & 0xff), UInt8($0 >> 8)] : [UInt8($0 >> 8), UInt8($0 & 0xff)] }
    }

    /// The disk of four sectors is read, and noted is what `note` ends with.
    private static func expectDisk(
        _ bytes: [UInt8], _ note: String?, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        #expect(isVMDK(firstBytes: bytes), sourceLocation: sourceLocation)
        let layer = try openLayer(MemoryFile(bytes), files)
        let disk = try Image(layer: layer).wholeDisk()
        #expect(disk == [UInt8](repeating: 7, count: 2048), sourceLocation: sourceLocation)
        #expect(layer.notes == (note.map { ["memory.img: \($0)"] } ?? []), sourceLocation: sourceLocation)
        #expect(try layer.check().corruptions == 0, sourceLocation: sourceLocation)
    }

    private static func refusal(_ bytes: [UInt8]) -> ImageError? {
        imageError { () throws(ImageError) in _ = try openLayer(MemoryFile(bytes), files) }
    }

    @Test func `may be UTF-16, with a byte order mark`() throws {
        try Self.expectDisk(try Self.text(), nil)
        for isLittle in [true, false] {
            try Self.expectDisk(Self.utf16(try Self.text(), isLittle: isLittle), "the descriptor is a text in UTF-16")
        }
        // Whatever encoding it names is that of the text before it was converted.
        var named = VMDKDescriptorText("monolithicFlat", ["RW 4 FLAT \"ü.vmdk\" 0"])
        named.encoding = "windows-1252"
        let bytes = Self.utf16(try named.bytes(), isLittle: true)
        let files = ["ü.vmdk": MemoryFile([UInt8](repeating: 7, count: 2048))]
        #expect(try openLayer(MemoryFile(bytes), files).virtualSize == 2048)
        #expect(!isVMDK(firstBytes: Self.utf16(Array("# something else\n".utf8), isLittle: true)))
    }

    @Test func `may stand there twice, and is read once`() throws {
        let text = try Self.text()
        let note = "the text of the descriptor stands there twice, and is read once"
        try Self.expectDisk(text + text, note)
        try Self.expectDisk(text + [0xef, 0xbb, 0xbf] + text, note)
        try Self.expectDisk(text + text + text, note)
        try Self.expectDisk(text + text.prefix(100), note)
        // Lines that name no file would count twice as well.
        let zeros = try Self.text([Self.flat, "RW 4 ZERO"])
        #expect(try openLayer(MemoryFile(zeros + zeros), Self.files).virtualSize == 4096)
    }

    @Test func `that is followed by another is refused`() throws {
        let other = try VMDKDescriptorText("monolithicFlat", [Self.flat], cid: 5).bytes()
        let text = try Self.text()
        let error = Self.refusal(text + other)
        #expect(error?.code == .corrupt && error?.offset == HostOffset(UInt64(text.count)))
        #expect(error?.message.hasPrefix("descriptor: a second one begins here, which says something else") == true)
    }

    @Test func `may have other bytes behind it, but no extents`() throws {
        let text = try Self.text()
        try Self.expectDisk(
            text + [0, 0] + Array("old".utf8),
            "3 bytes after the text of the descriptor, from byte \(text.count + 2) on, are ignored")
        try Self.expectDisk(text + [0, 0, 0], nil)
        let error = Self.refusal(text + [0, 0] + Array("\nRW 4 ZERO\n".utf8))
        #expect(error?.code == .corrupt && error?.message.hasPrefix("descriptor: its text is interrupted") == true)
        #expect(try openLayer(MemoryFile(text + [0x80, 0x81, 0x0a]), Self.files).notes.count == 1)
    }

    @Test func `may have the end of itself behind it, where QEMU wrote a shorter CID`() throws {
        let text = try Self.text()
        for kept in 1...6 {
            let rest = text.suffix(kept) + [UInt8](repeating: 0, count: 100)
            try Self.expectDisk(text + [0] + rest, nil)
            try Self.expectDisk(
                text + [0, UInt8(ascii: "x")] + rest,
                "\(rest.count + 1) bytes after the text of the descriptor, "
                    + "from byte \(text.count + 1) on, are ignored")
        }
    }

    @Test func `may have an extent line twice, which is read once`() throws {
        let twice = try Self.text([Self.flat, Self.flat])
        try Self.expectDisk(
            twice, "the extent line \"RW 4 FLAT \"a-flat.vmdk\" 0\" stands there twice, and is read once")
        // Other parts of the same file, and zeros, are no duplicates.
        let parts = try Self.text([
            "RW 2 FLAT \"a-flat.vmdk\" 0", "RW 2 FLAT \"a-flat.vmdk\" 2", "RW 4 ZERO", "RW 4 ZERO",
        ])
        let layer = try openLayer(MemoryFile(parts), Self.files)
        #expect(layer.virtualSize == 12 * 512 && layer.notes == [])
    }

    @Test func `that the header promises must be there`() throws {
        let text = String(decoding: try Self.text(["RW 16 SPARSE \"a.vmdk\""]), as: UTF8.self)
        let sound = SparseImage(capacity: 16, descriptor: text, grains: [.data]).build().bytes
        #expect(try openLayer(MemoryFile(sound)).virtualSize == 8192)
        for fill in [UInt8(0), 0x20, 0xff] {
            var bytes = sound
            bytes.replaceSubrange(512..<21 * 512, with: repeatElement(fill, count: 20 * 512))
            let error = Self.refusal(bytes)
            #expect(error?.code == .corrupt && error?.offset == HostOffset(512))
            #expect(error?.message.hasPrefix("descriptor: is blank or no text of one") == true)
            // As a part of a disk it is read all the same: the descriptor that names it says what it is.
            let whole = try Self.text(["RW 16 SPARSE \"part.vmdk\""])
            #expect(try openLayer(MemoryFile(whole), ["part.vmdk": MemoryFile(bytes)]).virtualSize == 8192)
        }
    }

    @Test func `beside its grains need not name the file`() throws {
        let text = String(decoding: try Self.text(["RW 16 SPARSE \"\""]), as: UTF8.self)
        let layer = try openLayer(
            MemoryFile(SparseImage(capacity: 16, descriptor: text, grains: [.data]).build().bytes))
        #expect(layer.virtualSize == 8192 && layer.notes == [])
        #expect(
            Self.refusal(try Self.text(["RW 16 SPARSE \"\""]))?.message.hasSuffix("the file name is missing") == true)
    }

    @Test func `of a COWD extent that is a delta cannot be missing`() throws {
        let error = Self.refusal(COWDImage(capacity: 77, parentFileName: "base.vmdk", order: [5]).build().bytes)
        #expect(error?.code == .unsupported && error?.offset == HostOffset(32))
        #expect(error?.message.contains("is a delta of \"base.vmdk\"") == true)
    }
}
