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
        #expect(extent.name?.text == expected.fileName)
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
        #expect(descriptor.value(of: "DDB.comment")?.nameBytes == [0xe4, 0xff])
        #expect(descriptor.extents.first?.name?.bytes == [0x83, 0x5c, 0xff])
        #expect(descriptor.encodingFault == nil)
    }

    @Test(arguments: [
        (
            "RW 5 VMFSRDM \"a\"",
            "extent \"a\": the extent type VMFSRDM is a raw device mapping: the file only points to a logical unit, and "
                + "holds nothing of the disk; clone the disk to a file in the hypervisor"
        ),
        (
            "RW 5 vmfsraw \"a\"",
            "extent \"a\": the extent type VMFSRAW is a raw device of the hypervisor's host, and no file; clone the disk "
                + "to a file there"
        ),
        (
            "RW 5 VSANSPARSE \"a\"",
            "extent \"a\": the VSANSPARSE extent is an object of a vSAN or vVol datastore, and no file; clone the disk "
                + "to a file in the hypervisor"
        ),
        (
            "RW 5 VMFS \"vsan://52c4b8f2\"",
            "extent \"vsan://52c4b8f2\": the VMFS extent is an object of a vSAN or vVol datastore, and no file; clone "
                + "the disk to a file in the hypervisor"
        ),
        (
            "RW 5 FLAT \"/dev/sda\" 0",
            "extent: the disk is the device \"/dev/sda\" itself (vmfs), not a file; open the device directly, or copy it "
                + "to an image"
        ),
        (
            #"RW 5 FLAT "\\.\PhysicalDrive0" 0"#,
            #"extent: the disk is the device "\\.\PhysicalDrive0" itself (vmfs), not a file; open the device directly, "#
                + "or copy it to an image"
        ),
        ("RW 5 WARP \"a\"", "extent \"a\": the extent type \"WARP\" is not known"),
    ])
    func `extents of other kinds are refused by name`(line: String, message: String) throws {
        let file = MemoryFile(Array((Self.head + line).utf8))
        let description = try VMDKDescription.describe(file)
        let refusal = ImageError(
            .unsupported, path: "memory.img", offset: HostOffset(UInt64(Self.head.utf8.count)), "\(message)")
        #expect(description.refusal == refusal)
        #expect(description.createType == "vmfs")
        #expect(description.virtualSize == 5 * 512)
        #expect(imageError { () throws(ImageError) in _ = try openLayer(file) } == refusal)
    }

    @Test(arguments: [
        ("encryption.keySafe=\"vmware:key\"", "encryption.keySafe", "Workstation or Fusion"),
        ("encryptionKeys=\"vmware:key\"", "encryptionKeys", "vSphere"),
        ("ddb.iofilters=\"vmwarevmcrypt\"", "ddb.iofilters", "vSphere"),
    ])
    func `encrypted disks are refused, saying by whom they are encrypted`(
        line: String, key: String, product: String
    ) throws {
        let start = "# Disk DescriptorFile\nversion=1\n"
        let description = try VMDKDescription.describe(MemoryFile(Array("\(start)\(line)\nRW 5 ZERO\n".utf8)))
        #expect(
            description.refusal
                == ImageError(
                    .unsupported, path: "memory.img", offset: HostOffset(UInt64(start.utf8.count)),
                    "\(key): the disk is encrypted with the virtual machine encryption of \(product), which is not "
                        + "supported; decrypt the virtual machine there first"))
    }

    /// qemu-img reads such a disk, with zeros for what the parent has.
    @Test func `a delta that does not name its parent is refused, unlike qemu-img does it`() throws {
        let start = "# Disk DescriptorFile\n"
        for hint in ["", "parentFileNameHint=\"\"\n"] {
            let text = "\(start)parentCID=12345678\n\(hint)RW 5 ZERO\n"
            let description = try VMDKDescription.describe(MemoryFile(Array(text.utf8)))
            #expect(
                description.refusal
                    == ImageError(
                        .unsupported, path: "memory.img", offset: HostOffset(UInt64(start.utf8.count)),
                        "parentCID: is 12345678, so the disk is a delta of its parent, but the parent cannot be found: "
                            + "parentFileNameHint is missing"))
            #expect(description.parent == nil)
        }
    }

    @Test(
        arguments: [
            ("parentCID=12345678\nparentFileNameHint=\"p.vmdk\"", "p.vmdk", nil),
            (
                "parentFileNameHint=\"p.vmdk\"", "p.vmdk",
                "parentCID is missing or no number, so that it is unknown whether the parent \"p.vmdk\" was changed after "
                    + "the image was made"
            ),
            (
                "parentCID=none\nparentFileNameHint=\"p.vmdk\"", "p.vmdk",
                "parentCID is missing or no number, so that it is unknown whether the parent \"p.vmdk\" was changed after "
                    + "the image was made"
            ),
            (
                "parentCID=ffffffff\nparentFileNameHint=\"p.vmdk\"", nil,
                "parentCID is ffffffff, so the parentFileNameHint \"p.vmdk\" is ignored"
            ),
            ("parentCID=ffffffff\nparentFileNameHint=\"\"", nil, nil),
            ("CID=ffffffff", nil, nil),
        ] as [(String, String?, String?)])
    func `a delta has a parent unless its parentCID says that there is none`(
        lines: String, parent: String?, note: String?
    ) throws {
        let text = "# Disk DescriptorFile\nversion=1\n\(lines)\nRW 5 ZERO\n"
        let description = try VMDKDescription.describe(MemoryFile(Array(text.utf8)))
        #expect(description.refusal == nil)
        #expect(description.parent?.text == parent)
        #expect(description.notes == (note.map { ["memory.img: \($0)"] } ?? []))
        let offset = text.firstRange(of: "parentCID").map { HostOffset(UInt64(text[..<$0.lowerBound].utf8.count)) }
        #expect(description.parentCIDOffset == offset)
    }

    @Test func `neither a new version nor the file of changed blocks, which is not looked for, does any harm`() throws {
        let text =
            Self.head.replacing("version=1", with: "version=5")
            + "changeTrackPath=\"gone-ctk.vmdk\"\nencoding=\"UTF-8\"\nRW 5 ZERO\n"
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

    @Test func `a descriptor with more keys than anybody looks through is refused`() throws {
        let keys = String(repeating: "a=\n", count: 4096)
        let start = "# Disk DescriptorFile\nRW 5 ZERO\n"
        #expect(try openLayer(start + keys).virtualSize == 5 * 512)
        let error = imageError { () throws(ImageError) in _ = try openLayer(start + keys + "parentCID=1\n") }
        #expect(
            error
                == ImageError(
                    .unsupported, path: "memory.img", offset: HostOffset(UInt64((start + keys).utf8.count)),
                    "descriptor: has more than 4096 keys, which is the limit"))
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
