import BlockImage
import TestImages
import Testing

@testable import VMDK

@Suite struct DescriptorTests {
    static let head = "# Disk DescriptorFile\nversion=1\nCID=1a2b3c4d\nparentCID=ffffffff\ncreateType=\"vmfs\"\n"

    @Test(arguments: [
        "# Disk DescriptorFile\nversion=1\n",
        "# Disk Descriptor File\r\nversion=1\r\n",
        "#Disk DescriptorFile\n",
        "#disk descriptorfile\n",
        "\u{feff}# Disk DescriptorFile\n",
        "\n\n  \t\n# made by hand\n\n  #  DISK   DescriptorFile  \nversion=1\n",
        "KDMV", "COWD",
    ])
    func `content that VMDK images begin with is recognized`(text: String) {
        #expect(isVMDK(firstBytes: Array(text.utf8)))
    }

    @Test(arguments: [
        "", "\n\n", "KDM", "QFI\u{fb}", "version=1\nCID=ffffffff\n", "# a comment\nfoo\n# Disk DescriptorFile\n",
        "# Disk Descriptor\n", "\0# Disk DescriptorFile\n",
    ])
    func `other content is not taken for a VMDK image`(text: String) {
        #expect(!isVMDK(firstBytes: Array(text.utf8)))
    }

    @Test func `the magic of seSparse is recognized by all its eight bytes`() {
        #expect(isVMDK(firstBytes: [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 0, 1]))
        #expect(!isVMDK(firstBytes: [0xbe, 0xba, 0xfe, 0xca, 0, 0, 0, 1, 1]))
    }

    @Test(arguments: [
        ("createType=\"vmfs\"", "vmfs"),
        ("createType = \"vmfs\"", "vmfs"),
        ("CREATETYPE\t=\tvmfs  ", "vmfs"),
        ("  createtype=\"vmfs", "vmfs"),
        ("createType=\"vmfs \" ", "vmfs "),
        ("createType=\"a\"\ncreateType=\"b\"", "a"),
        ("createType=\"a=b\" trailing", "a=b"),
        ("createType=", ""),
        ("createType=\"vmfs\"\r", "vmfs"),
        ("createType=\"vmfs\"\rCID=1", "vmfs"),
        ("createType=vmfs\0createType=other", "vmfs"),
    ])
    func `a value is found however its line is spelled`(line: String, value: String) {
        #expect(Descriptor(parsing: Array(line.utf8)).createType == value)
    }

    @Test(
        arguments: [
            ("1a2b3c4d", 0x1a2b_3c4d), ("\"FFFFFFFE\"", 0xffff_fffe), ("0x10", 0x10), ("ffffffffpa", 0xffff_ffff),
            ("123456789", nil), ("", nil), ("-1", nil), ("xyz", nil),
        ] as [(String, UInt32?)])
    func `content identifiers are hexadecimal numbers`(written: String, value: UInt32?) {
        #expect(Descriptor(parsing: Array("CID=\(written)".utf8)).cid == value)
    }

    struct LineCase: Sendable {
        var line: String
        var access: DescriptorExtent.Access
        var sectors: UInt64
        var kindName: String
        var fileName: String?
        var offset: UInt64 = 0
    }

    @Test(arguments: [
        LineCase(
            line: "RW 10 FLAT \"a.vmdk\" 7", access: .readWrite, sectors: 10, kindName: "FLAT", fileName: "a.vmdk",
            offset: 7),
        LineCase(
            line: " rw\t 10  flat  a.vmdk 7\r", access: .readWrite, sectors: 10, kindName: "FLAT", fileName: "a.vmdk",
            offset: 7),
        LineCase(
            line: "RDONLY 1 SPARSE \"a b.vmdk\"", access: .readOnly, sectors: 1, kindName: "SPARSE",
            fileName: "a b.vmdk"),
        LineCase(
            line: "RW 1 VMFS \"a=b #1.vmdk\"", access: .readWrite, sectors: 1, kindName: "VMFS", fileName: "a=b #1.vmdk"
        ),
        LineCase(line: "RW 63 ZERO", access: .readWrite, sectors: 63, kindName: "ZERO", fileName: nil),
        LineCase(line: "NoAccess 63 ZERO ", access: .noAccess, sectors: 63, kindName: "ZERO", fileName: nil),
        LineCase(line: "RW 5 FLAT\"x\"9", access: .readWrite, sectors: 5, kindName: "FLAT", fileName: "x", offset: 9),
        LineCase(
            line: "RW 5 FLAT \"x\" 63 partitionUUID 1234 5", access: .readWrite, sectors: 5, kindName: "FLAT",
            fileName: "x", offset: 63),
        LineCase(line: "RW 5 VSANSPARSE \"x\"", access: .readWrite, sectors: 5, kindName: "VSANSPARSE", fileName: "x"),
    ])
    func `an extent line is read however it is spelled`(expected: LineCase) throws {
        let descriptor = Descriptor(parsing: Array("# x\n\(expected.line)\n".utf8))
        #expect(descriptor.extentFault == nil)
        let extent = try #require(descriptor.extents.first)
        #expect(extent.access == expected.access)
        #expect(extent.sectors == expected.sectors)
        #expect(extent.kindName == expected.kindName)
        #expect(extent.fileNameText == expected.fileName)
        #expect(extent.offset == expected.offset)
        #expect((4...5).contains(extent.position))
        #expect(descriptor.entries.isEmpty)
    }

    @Test(arguments: [
        ("RW x FLAT \"a\" 0", "the size must be a number of sectors, at most 18014398509481983"),
        ("RW -1 FLAT \"a\" 0", "the size must be a number of sectors, at most 18014398509481983"),
        ("RW 18014398509481984 FLAT \"a\" 0", "the size must be a number of sectors, at most 18014398509481983"),
        ("RW 99999999999999999999 ZERO", "the size must be a number of sectors, at most 18014398509481983"),
        ("RW", "the size must be a number of sectors, at most 18014398509481983"),
        ("RO 5 FLAT \"a\" 0", "the access must be RW, RDONLY or NOACCESS"),
        ("RW 5", "the type is missing"),
        ("RW 5 FLAT", "the file name is missing"),
        ("RW 5 SPARSE \"\"", "the file name is missing"),
        ("RW 5 FLAT \"a 0", "the closing quote of the file name is missing"),
        ("RW 5 FLAT \"a\" -1", "the offset must be a number of sectors, at most 18014398509481983"),
    ])
    func `a damaged extent line is never passed over`(line: String, message: String) throws {
        let text = Self.head + line + "\n"
        let error = imageError { () throws(ImageError) in _ = try openLayer(text) }
        #expect(
            error
                == ImageError(
                    .corrupt, path: "memory.img", offset: HostOffset(UInt64(Self.head.utf8.count)),
                    "extent line \"\(line)\": \(message)"))
    }

    @Test func `file names are bytes, and texts that are not UTF-8 do not fail`() throws {
        let bytes =
            Array("#x\nddb.comment=\"".utf8) + [0xe4, 0xff] + Array("\"\nRW 1 FLAT \"".utf8) + [0x83, 0x5c, 0xff]
            + Array("\" 0\n".utf8)
        let descriptor = Descriptor(parsing: bytes)
        #expect(descriptor.value(of: "DDB.comment") == "\u{fffd}\u{fffd}")
        #expect(descriptor.extents.first?.fileName == [0x83, 0x5c, 0xff])
    }

    @Test(arguments: [
        ("RW 5 VMFSRDM \"a\"", "extent \"a\": the extent type VMFSRDM is a device's, which is not supported"),
        ("RW 5 VMFSRAW \"a\"", "extent \"a\": the extent type VMFSRAW is a device's, which is not supported"),
        ("RW 5 FLAT \"/dev/sda\" 0", "extent \"/dev/sda\": a FLAT extent on a device is not supported"),
        (
            #"RW 5 FLAT "\\.\PhysicalDrive0" 0"#,
            #"extent "\\.\PhysicalDrive0": a FLAT extent on a device is not supported"#
        ),
        ("RW 5 WARP \"a\"", "extent \"a\": the extent type \"WARP\" is not known"),
    ])
    func `extents of other kinds are refused by name`(line: String, message: String) throws {
        let file = MemoryFile(Array((Self.head + line).utf8))
        let description = try VMDKDescription.describe(file)
        let refusal = ImageError(
            .unsupported, path: "memory.img", offset: HostOffset(UInt64(Self.head.utf8.count)), message)
        #expect(description.refusal == refusal)
        #expect(description.createType == "vmfs")
        #expect(description.virtualSize == 5 * 512)
        #expect(imageError { () throws(ImageError) in _ = try openLayer(file) } == refusal)
    }

    @Test(arguments: [
        (
            "parentCID=12345678\nparentFileNameHint=\"p.vmdk\"",
            "the disk is a delta of its parent \"p.vmdk\" (parentCID is \"12345678\")"
        ),
        ("parentCID=12345678", "the disk is a delta of its parent (parentCID is \"12345678\")"),
        ("parentFileNameHint=\"p.vmdk\"", "the disk is a delta of its parent \"p.vmdk\""),
        ("encryption.keySafe=\"vmware:key\"", "the disk is encrypted (encryption.keySafe)"),
        ("encryptionKeys=\"vmware:key\"", "the disk is encrypted (encryptionKeys)"),
        ("ddb.iofilters=\"vmwarevmcrypt\"", "the disk is encrypted (ddb.iofilters)"),
    ])
    func `disks that need a parent or a key are refused`(lines: String, message: String) throws {
        let text = "# Disk DescriptorFile\nversion=1\n\(lines)\nRW 5 ZERO\n"
        let description = try VMDKDescription.describe(MemoryFile(Array(text.utf8)))
        #expect(description.refusal?.code == .unsupported)
        #expect(description.refusal?.message == "descriptor: \(message), which is not supported")
    }

    @Test func `a parent hint without a parent does no harm, and neither does a new version`() throws {
        let text =
            Self.head.replacing("version=1", with: "version=5")
            + "parentFileNameHint=\"p\"\nencoding=\"UTF-8\"\nRW 5 ZERO\n"
        #expect(try openLayer(text).virtualSize == 5 * 512)
    }

    @Test func `what is no VMDK image is called so`() throws {
        let error = imageError { () throws(ImageError) in _ = try openLayer("hello\n") }
        #expect(error?.code == .corrupt)
        #expect(error?.offset == HostOffset(0))
        #expect(error?.message.hasPrefix("magic: is no VMDK image's") == true)
    }

    @Test func `a descriptor without extents is refused, as are too many of them`() throws {
        let none = imageError { () throws(ImageError) in _ = try openLayer(Self.head) }
        #expect(none?.message == "descriptor: has no extent, but must have at least one")
        let lines = String(repeating: "RW 1 ZERO\n", count: Descriptor.extentLimit)
        #expect(try openLayer(Self.head + lines).virtualSize == 8192 * 512)
        let many = imageError { () throws(ImageError) in _ = try openLayer(Self.head + lines + "RW 1 ZERO\n") }
        #expect(many?.code == .unsupported)
        #expect(many?.message == "descriptor: has 8193 extents, but must have at most 8192")
        let huge = imageError { () throws(ImageError) in
            _ = try openLayer(Self.head + String(repeating: "#", count: Descriptor.sizeLimit))
        }
        #expect(huge?.code == .unsupported)
    }

    @Test func `extents that no disk can hold together are refused`() throws {
        let error = imageError { () throws(ImageError) in
            _ = try openLayer(Self.head + "RW 18014398509481983 ZERO\nRW 1 ZERO\n")
        }
        #expect(error?.code == .corrupt)
        #expect(error?.message == "descriptor: its extents have more than 18014398509481983 sectors together")
        #expect(try openLayer(Self.head + "RW 18014398509481983 ZERO\n").virtualSize == (UInt64(1) << 63) - 512)
    }

    @Test func `a line that is nothing is ignored with a note`() throws {
        let layer = try openLayer(Self.head + "what is this\nRW 5 ZERO\n")
        #expect(
            layer.notes == [
                "memory.img: at 0x\(String(Self.head.utf8.count, radix: 16)): "
                    + "\"what is this\" is neither a comment, nor a key, nor an extent; it is ignored"
            ])
    }
}
