import BlockImage
import Foundation
import ImageFormats
import TestImages
import Testing

struct `What a file is called` {
    @Test(
        arguments: [
            ("a.qcow2", .format(.qcow2)), ("a.QCOW2", .format(.qcow2)), ("a.qcow", .format(.qcow2)),
            ("a.vmdk", .format(.vmdk)), ("A.VmDk", .format(.vmdk)), ("a.raw", .format(.raw)), ("a.img", .ambiguous),
            ("a.vhdx", .format(.vhdx)), ("a.AVHDX", .format(.vhdx)),
            ("a.IMG", .ambiguous), ("a.b.img", .ambiguous), (".img", .ambiguous), ("a.iso", nil), ("img", nil),
            ("", nil),
            ("a.", nil), (".", nil), ("qcow2", nil), ("a.qcow2.bak", nil), ("a.img~", nil), ("a.qcow22", nil),
        ] as [(String, ImageFormat.Naming?)])
    func `says its format, that it is an image of some format, or nothing`(
        name: String, naming: ImageFormat.Naming?
    ) {
        #expect(ImageFormat.naming(of: Array(name.utf8)) == naming)
        #expect(ImageFormat.naming(of: Array("folder.raw/\(name)".utf8)[11...]) == naming)
    }

    @Test func `is listed once for people, and in the manual, as every format is`() throws {
        let names = ImageFormat.imageNames.replacing(" and ", with: ", ").split(separator: ", ").map(String.init)
        #expect(names.contains("DiskDescriptor.xml") && names.contains(".qcow") && Set(names).count == names.count)
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        func words(_ page: String) throws -> Set<Substring> {
            let text = try String(contentsOf: root.appendingPathComponent("Documents/\(page)"), encoding: .utf8)
            return Set(text.split { $0 == " " || $0 == "\n" })
        }
        for page in ["rblock-formats.7", "rblock-names.7"] {
            let listed = try words(page)
            for name in names { #expect(listed.contains(Substring(name)), "\(page): \(name)") }
        }
        let members = try words("rblock-json.5")
        for format in ImageFormat.allCases {
            #expect(members.contains(Substring(format.rawValue)), "\(format.rawValue)")
        }
        #expect(try words("rblock-formats.7").contains("split-raw"))
    }
}

struct `What a file begins with` {
    @Test(
        arguments: [
            ([], .raw), ([0x51], .raw), ([0x51, 0x46, 0x49], .raw), ([0x51, 0x46, 0x49, 0xfb], .qcow2),
            ([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1], .qcow1), (Array("KDMV".utf8), .vmdk), (Array("KDM".utf8), .raw),
            (Array("COWD".utf8), .vmdk), (Array("# Disk DescriptorFile\n".utf8), .vmdk),
            (Array("\n # comment\n#disk descriptorfile\r\n".utf8), .vmdk), (Array("version=1\n".utf8), .raw),
            (Array(repeating: 0, count: 8192), .raw),
        ] as [([UInt8], ImageFormat)])
    func `says its format`(bytes: [UInt8], format: ImageFormat) throws {
        #expect(try ImageFormat.probe(MemoryFile(bytes)) == format)
    }
}
