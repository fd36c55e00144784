import BlockImage
import ByteFormat
import HostTools
import TestImages
import Testing

@testable import VMDK

@Suite struct DescriptorEncodingTests {
    /// A descriptor in `encoding` with the bytes `name` in quotes as its parent's name, and as its extent's.
    private func descriptor(_ encoding: String?, _ name: [UInt8]) -> Descriptor {
        let head = "# Disk DescriptorFile\nversion=1\n" + (encoding.map { "encoding=\"\($0)\"\n" } ?? "")
        return Descriptor(
            parsing: Array("\(head)parentFileNameHint=\"".utf8) + name + Array("\"\nRW 1 FLAT \"".utf8) + name
                + Array("\" 7\n".utf8))
    }

    @Test(
        arguments: [
            ("UTF-8", Array("größe.vmdk".utf8), "größe.vmdk"),
            ("windows-1252", [0x67, 0x72, 0xf6, 0xdf, 0x65, 0x80], "größe€"),
            ("Windows-1251", [0xe4, 0xe8, 0xf1, 0xea], "диск"),
            ("windows-1250", [0x9e], "ž"),
            ("ISO-8859-1", [0xe9], "é"), ("ISO8859-15", [0xa4], "€"), ("iso_8859-2", [0xb1], "ą"),
            // The second bytes are those of \ and |.
            ("Shift_JIS", [0x83, 0x5c, 0x83, 0x7c, 0x5c], "ソポ\\"),
            ("windows-31J", [0x87, 0x40], "①"),
            ("GBK", [0x83, 0x5c, 0xd6, 0xd0], "僜中"),
            ("GB18030", [0x81, 0x30, 0x84, 0x36], "¥"),
            ("Big5", [0xa5, 0x5c, 0xa4, 0xa4], "功中"),
            ("EUC-KR", [0xc7, 0xd1], "한"), ("windows-949", [0x81, 0x41], "갂"),
            ("EUC-JP", [0xa5, 0xbd], "ソ"), ("KOI8-R", [0xc4], "д"), ("windows-874", [0xa1], "ก"),
        ] as [(String, [UInt8], String)])
    func `names are decoded from the encoding that the descriptor tells`(
        encoding: String, bytes: [UInt8], text: String
    ) throws {
        let descriptor = descriptor(encoding, bytes)
        #expect(descriptor.parentFileNameHint?.text == text)
        let name = try #require(descriptor.extents.first?.name)
        #expect(name.text == text)
        #expect(name.bytes == bytes)
        #expect(name.candidates.first?.name == Array(text.utf8))
        #expect(descriptor.extents.first?.offset == 7)
        #expect(descriptor.encodingFault == nil)
    }

    @Test func `the disk database may tell the encoding, and the header goes before it wherever it stands`() {
        let line = Array("comment=\"".utf8) + [0xe4] + Array("\"\n".utf8)
        func comment(_ after: String) -> String? { Descriptor(parsing: line + Array(after.utf8)).value(of: "comment") }
        #expect(comment("ddb.encoding = \"windows-1251\"\n") == "д")
        #expect(comment("ddb.encoding=\"windows-1251\"\nENCODING = windows-1252\n") == "ä")
        #expect(comment("#encoding=windows-1252\n")?.nameBytes == [0xe4])
    }

    @Test func `bytes that are no UTF-8 without any encoding are a file name as they are`() {
        let descriptor = descriptor(nil, [0xe4, 0x2e])
        #expect(descriptor.encodingFault == nil)
        #expect(descriptor.parentFileNameHint?.text.nameBytes == [0xe4, 0x2e])
        #expect(descriptor.parentFileNameHint?.candidates.map(\.name) == [[0xe4, 0x2e]])
    }

    @Test(arguments: [
        "UTF-16", "UTF-7", "EBCDIC-US", "IBM037", "ISO-2022-JP", "ISO-2022-CN-EXT", "windows-1259", "ISO-8859-12",
        "ISO-8859-17", "windows-1252//TRANSLIT", "../../x", "latin1", "/tmp/evil", "HZ",
    ])
    func `an encoding that is not known is noted, and taken for UTF-8`(encoding: String) throws {
        let descriptor = descriptor(encoding, Array("ä".utf8))
        #expect(descriptor.parentFileNameHint?.text == "ä")
        #expect(descriptor.encodingFault?.position == 32)
        #expect(
            descriptor.encodingFault?.message
                == "encoding: \"\(encoding)\" is not known here, so that the texts are taken for UTF-8")
    }

    @Test(
        arguments: [
            ("UTF-8", [0xe4]), ("Shift_JIS", [0x83]), ("GBK", [0xff, 0xff]), ("windows-1252", [0x81]),
            ("Big5-HKSCS", [0x88]),
        ] as [(String, [UInt8])])
    func `bytes that the encoding does not have are noted, and a name by their bytes alone`(
        encoding: String, bytes: [UInt8]
    ) throws {
        let text =
            Array("# Disk DescriptorFile\nencoding=\"\(encoding)\"\nRW 1 ZERO\ncomment=\"".utf8) + bytes
            + Array("\"\n".utf8)
        let description = try VMDKDescription.describe(MemoryFile(text))
        let shown = String(decoding: bytes, as: UTF8.self)
        let offset = String(text.count - 2 - bytes.count, radix: 16)
        #expect(
            description.notes == [
                "memory.img: at 0x\(offset): \"\(shown)\" is no text in the encoding that the descriptor names, so that "
                    + "it is taken for UTF-8"
            ])
        #expect(descriptor(encoding, bytes).parentFileNameHint?.candidates.first?.name == bytes)
    }

    @Test func `a text is not changed by the one before it`() throws {
        let encoding = try #require(DescriptorEncoding(name: "Big5-HKSCS"))
        guard let decoder = TextDecoder(encoding) else {
            Issue.record("this system has no converter")
            return
        }
        #expect(decoder.decode([0x88]) == nil)
        // Stands for two characters, and for one of them alone where nothing follows.
        #expect(decoder.decode([0x88, 0x62]) == "\u{ca}\u{304}")
        #expect(decoder.decode([0x88, 0x66]) == "\u{ca}")
        #expect(decoder.decode([0xa4, 0xa4]) == "中")
        #expect(decoder.decode([]) == "")
    }

    @Test func `any bytes in any encoding are taken without harm`() {
        var random = SeededRandom(seed: 5)
        for encoding in ["CP932", "GBK", "GB18030", "CP950", "Big5-HKSCS", "CP949", "EUC-JP", "EUC-TW", "windows-1255"]
        {
            for _ in 0..<300 {
                let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                    UInt8.random(in: 0x20...0xff, using: &random)
                }
                let descriptor = descriptor(encoding, bytes.filter { $0 != 0x22 })
                #expect(descriptor.entries.count == 3)
            }
        }
    }
}
