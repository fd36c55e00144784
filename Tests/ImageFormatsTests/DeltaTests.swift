import BlockImage
import FormatCore
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

extension Folder {
    /// Writes a disk of one MiB of `byte` as `name`, a descriptor with its content identifier, and `name.flat`.
    func disk(_ name: String, of byte: UInt8, cid: String, lines: String = "", sectors: Int = 2048) throws {
        try folder.write(Array(repeating: byte, count: sectors * 512), to: "\(name).flat")
        let text = """
            # Disk DescriptorFile
            version=1
            CID=\(cid)
            parentCID=ffffffff
            \(lines)
            RW \(sectors) FLAT "\(name).flat" 0

            """
        try folder.write(Array(text.utf8), to: name)
    }

    /// Writes a delta of one MiB in which nothing was ever written, and its sparse extent `name.delta`.
    func delta(_ name: String, over hint: [UInt8], parentCID: String?, cid: String = "0000000c") throws {
        // 2048 sectors in grains of 128, 512 to a table, and a directory whose only entry says that there is no table.
        var extent = Array("KDMV".utf8) + [UInt8](repeating: 0, count: 1020)
        let fields: [(offset: Int, value: UInt8)] = [
            (4, 1), (8, 1), (13, 8), (20, 128), (45, 2), (56, 1), (64, 2), (73, 0x0a), (74, 0x20),
            (75, 0x0d), (76, 0x0a),
        ]
        for field in fields { extent[field.offset] = field.value }
        try folder.write(extent, to: "\(name).delta")
        let text =
            Array("# Disk DescriptorFile\nCID=\(cid)\n\(parentCID.map { "parentCID=\($0)\n" } ?? "")".utf8)
            + Array("parentFileNameHint=\"".utf8) + hint + Array("\"\nRW 2048 SPARSE \"\(name).delta\"\n".utf8)
        try folder.write(text, to: name)
    }

    func delta(_ name: String, over hint: String, parentCID: String?, cid: String = "0000000c") throws {
        try delta(name, over: Array(hint.utf8), parentCID: parentCID, cid: cid)
    }
}

extension OpenedImage {
    fileprivate var notes: [String] { layers.flatMap(\.notes).map(\.description) }
}

struct `A VMDK delta` {
    @Test func `shows its parent where nothing was written`() throws {
        let folder = try Folder()
        try folder.disk("base.vmdk", of: 7, cid: "1a2b3c4d")
        try folder.delta("child.vmdk", over: "base.vmdk", parentCID: "1A2B3C4D")
        let opened = try folder.open("child.vmdk")
        #expect(try opened.disk.result.get().wholeDisk() == Array(repeating: 7, count: 1 << 20))
        #expect(opened.notes == [])
        #expect(opened.layers.map(\.file.path) == ["child.vmdk", "base.vmdk"].map(folder.folder.file))
        let info = ImageInfo(opened.layers[0])
        #expect(info.backingFilename == "base.vmdk")
        #expect(info.fullBackingFilename?.text == folder.folder.file("base.vmdk"))
        #expect(info.backingFilenameFormat == "vmdk")
        try folder.folder.write([1], to: "base.vmdk.flat")
        #expect(!opened.isCurrent)
    }

    @Test func `whose parent was changed since is refused, unless that is to be ignored`() throws {
        let folder = try Folder()
        try folder.disk("base.vmdk", of: 7, cid: "2")
        try folder.delta("child.vmdk", over: "base.vmdk", parentCID: "1a2b3c4d")
        let difference =
            "parentCID: is 1a2b3c4d, but the CID of the parent \(folder.folder.file("base.vmdk")) is 00000002, so the "
            + "parent was changed after this image was made"
        let path = folder.folder.file("child.vmdk")
        let opened = try folder.open("child.vmdk")
        #expect(
            opened.disk.error
                == ImageError(
                    .corrupt, path: path, offset: HostOffset(35), "\(difference)",
                    hint: "--ignore-parent-id reads it all the same"))
        #expect(opened.layers.count == 2)
        let ignoring = try folder.open("child.vmdk", ignoresParentID: true)
        #expect(try ignoring.disk.result.get().bytes(1, at: 0) == [7])
        #expect(ignoring.notes == ["\(path): \(difference); it is read all the same"])
    }

    @Test func `with an embedded descriptor tells where in the file its parentCID is`() throws {
        let folder = try Folder()
        try folder.disk("base.vmdk", of: 7, cid: "2")
        try folder.delta("child.vmdk", over: "base.vmdk", parentCID: "1a2b3c4d")
        var extent = Array(try Data(contentsOf: URL(fileURLWithPath: folder.folder.file("child.vmdk.delta"))))
        // The descriptor is the sector behind the directory.
        extent.replaceSubrange(28..<44, with: [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
        extent += Array(try Data(contentsOf: URL(fileURLWithPath: folder.folder.file("child.vmdk"))))
        try folder.folder.write(extent, to: "child.vmdk")
        #expect(try folder.open("child.vmdk").disk.error?.offset == HostOffset(1024 + 35))
        #expect(try folder.open("child.vmdk", ignoresParentID: true).disk.error == nil)
    }

    @Test func `is read, with a note, where it is unknown whether its parent was changed`() throws {
        let folder = try Folder()
        let path = folder.folder.file("child.vmdk")
        try folder.disk("base.vmdk", of: 7, cid: "2")
        try folder.delta("child.vmdk", over: "base.vmdk", parentCID: nil)
        var opened = try folder.open("child.vmdk")
        #expect(opened.disk.error == nil)
        #expect(
            opened.notes == [
                "\(path): parentCID is missing or no number, so that it is unknown whether the parent \"base.vmdk\" was "
                    + "changed after the image was made"
            ])
        try folder.disk("base.vmdk", of: 7, cid: "nonsense")
        try folder.delta("child.vmdk", over: "base.vmdk", parentCID: "5")
        opened = try folder.open("child.vmdk")
        #expect(opened.disk.error == nil)
        #expect(
            opened.notes == [
                "\(path): parentCID is 00000005, but the parent \(folder.folder.file("base.vmdk")) has no CID, so that "
                    + "it is unknown whether it was changed after this image was made"
            ])
    }

    @Test func `may have a parent of another format, and one without a descriptor, unlike in qemu`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 5, count: 1 << 20), to: "base.raw")
        try folder.overlay("base.qcow2", over: "base.raw", format: "raw")
        try folder.delta("none.vmdk", over: "none", parentCID: nil)
        for (hint, layers, byte) in [("base.raw", 2, 5), ("base.qcow2", 3, 5), ("none.vmdk.delta", 2, 0)] {
            try folder.delta("child.vmdk", over: hint, parentCID: "5")
            let opened = try folder.open("child.vmdk")
            #expect(try opened.disk.result.get().bytes(1, at: 1 << 20 - 1) == [UInt8(byte)], "\(hint)")
            #expect(opened.layers.count == layers)
            #expect(opened.notes.contains { $0.contains("\(hint) has no CID") }, "\(opened.notes)")
            #expect(ImageInfo(opened.layers[0]).backingFilenameFormat == (opened.layers[1].format.rawValue))
        }
    }

    @Test func `over a .img has what its content says, which may name no other file`() throws {
        let folder = try Folder()
        try folder.disk("base.img", of: 7, cid: "5")
        try folder.delta("child.vmdk", over: "base.img", parentCID: "5")
        let opened = try folder.open("child.vmdk")
        #expect(opened.disk.error?.code == .denied)
        #expect(opened.disk.error?.path == folder.folder.file("base.img"))
        #expect(ImageInfo(opened.layers[0]).backingFilenameFormat == nil)
        try folder.folder.write(Array(repeating: 6, count: 1 << 20), to: "base.img")
        #expect(try folder.firstByte(of: "child.vmdk") == 6)
    }

    @Test(arguments: [1024, 4096])
    func `may be larger and smaller than its parent`(sectors: Int) throws {
        let folder = try Folder()
        try folder.disk("base.vmdk", of: 7, cid: "5", sectors: sectors)
        try folder.delta("child.vmdk", over: "base.vmdk", parentCID: "5")
        let bytes = try folder.open("child.vmdk").disk.result.get().wholeDisk()
        let stored = min(sectors, 2048) * 512
        #expect(bytes == Array(repeating: 7, count: stored) + Array(repeating: 0, count: (1 << 20) - stored))
    }

    @Test(
        arguments: [
            (#"C:\Virtual Machines\base.vmdk"#, "base.vmdk beside it is read"),
            (#"\\server\share\base.vmdk"#, "base.vmdk beside it is read"),
            ("/vmfs/volumes/5d1/vm/base.vmdk", "base.vmdk beside it is read"),
            ("[datastore1] vm/base.vmdk", "base.vmdk beside it is read"),
            ("../gone/base.vmdk", "base.vmdk beside it is read"), ("BASE.VMDK", "base.vmdk beside it is read"),
            (#"C:\VMs\Base.vmdk"#, "base.vmdk beside it is read"),
            (#"sub\base.vmdk"#, "sub/base.vmdk is read"), (#"sub\..\sub\base.vmdk"#, "sub/../sub/base.vmdk is read"),
            ("sub/base.vmdk", nil), ("./base.vmdk", nil),
        ] as [(String, String?)])
    func `finds its parent by the names of Windows and of other places`(hint: String, reading: String?) throws {
        let folder = try Folder()
        _ = try folder.folder.makeFolder("sub")
        try folder.disk("base.vmdk", of: 7, cid: "5")
        try folder.folder.write(Array("# Disk DescriptorFile\nCID=5\nRW 2048 ZERO\n".utf8), to: "sub/base.vmdk")
        try folder.delta("child.vmdk", over: hint, parentCID: "5")
        let opened = try folder.open("child.vmdk")
        let isInSub = (reading ?? hint).hasPrefix("sub")
        #expect(try opened.disk.result.get().bytes(1, at: 0) == [isInSub ? 0 : 7])
        let path = folder.folder.file("child.vmdk")
        #expect(opened.notes == (reading.map { ["\(path): the descriptor names \"\(hint)\"; \($0)"] } ?? []))
    }

    @Test func `finds its parent by a name in another encoding, decoded or as its bytes`() throws {
        let folder = try Folder()
        try folder.disk("ソ.vmdk", of: 7, cid: "5")
        let written = Array("D:\\".utf8) + [0x83, 0x5c] + Array(".vmdk".utf8)
        try folder.delta("child.vmdk", over: written + Array("\"\nencoding=\"Shift_JIS".utf8), parentCID: "5")
        let opened = try folder.open("child.vmdk")
        #expect(try opened.disk.result.get().bytes(1, at: 0) == [7])
        #expect(ImageInfo(opened.layers[0]).backingFilename == "D:\\ソ.vmdk")
        #expect(opened.notes.first?.hasSuffix(#"names "D:\ソ.vmdk"; ソ.vmdk beside it is read"#) == true)
    }

    @Test(arguments: ["/gone/passwd", "../../gone-x", #"C:\gone.vmdk"#, #"..\..\gone\passwd"#, "//gone/passwd"])
    func `is read over what has the name of its parent beside it, where that is gone`(hint: String) throws {
        let folder = try Folder()
        try folder.delta("child.vmdk", over: hint, parentCID: nil)
        let error = try folder.open("child.vmdk").disk.error
        #expect(error?.code == (hint.contains("\\") ? .system(errno: ENOENT) : .denied))
        #expect(error?.path == folder.folder.file("child.vmdk"))
        let name = hint.split { "/\\:".contains($0) }.last.map { String($0) } ?? ""
        #expect(error?.message.hasPrefix("parent \"\(hint)\": ") == true)
        #expect(error?.message.hasSuffix("\"\(name)\" as well") == true, "\(error?.message ?? "")")
        try folder.folder.write(Array("# Disk DescriptorFile\nCID=5\nRW 2048 ZERO\n".utf8), to: name)
        #expect(try folder.open("child.vmdk").disk.error == nil)
    }

    // These are there, and so are what the image means: no other file of the name is read in their place.
    @Test(arguments: ["/etc/passwd", "//etc/passwd", "/etc/../etc/passwd"])
    func `never reads what lies outside, nor what has its name beside the image`(hint: String) throws {
        let folder = try Folder()
        try folder.delta("child.vmdk", over: hint, parentCID: nil)
        try folder.folder.write(Array("# Disk DescriptorFile\nCID=5\nRW 2048 ZERO\n".utf8), to: "passwd")
        let error = try folder.open("child.vmdk").disk.error
        #expect(error?.code == .denied && error?.path == folder.folder.file("child.vmdk"))
        #expect(error?.message.hasPrefix("parent \"\(hint)\": leads to /etc/passwd") == true, "\(error?.message ?? "")")
    }

    @Test func `may not lie over a device`() throws {
        let folder = try Folder()
        try folder.folder.write([1], to: "sda")
        try folder.delta("child.vmdk", over: "/dev/sda", parentCID: nil)
        #expect(
            try folder.open("child.vmdk").disk.error
                == ImageError(
                    .denied, path: folder.folder.file("child.vmdk"),
                    "parent \"/dev/sda\": is a device, and only files are opened"))
    }

    @Test func `over itself has no end`() throws {
        let folder = try Folder()
        try folder.delta("child.vmdk", over: "child.vmdk", parentCID: "c")
        let error = try folder.open("child.vmdk").disk.error
        #expect(error?.code == .corrupt)
        #expect(error?.message == "backing chain: comes back to this file, and has no end")
    }

    @Test(arguments: [#"C:\VMs\child.vmdk"#, "CHILD.VMDK"])
    func `is not taken for the parent that it has lost, though that was called so`(hint: String) throws {
        let folder = try Folder()
        try folder.delta("child.vmdk", over: hint, parentCID: "c")
        let error = try folder.open("child.vmdk").disk.error
        #expect(error?.code == .system(errno: ENOENT))
        #expect(error?.message.hasPrefix("parent \"\(hint)\": ") == true)
    }

    @Test func `over deltas that come back to it, through another format too, has no end`() throws {
        let folder = try Folder()
        try folder.delta("a.vmdk", over: "b.vmdk", parentCID: "c")
        try folder.delta("b.vmdk", over: "c.qcow2", parentCID: "c")
        try folder.overlay("c.qcow2", over: "a.vmdk", format: "vmdk")
        #expect(
            try folder.open("a.vmdk").disk.error?.message == "backing chain: comes back to this file, and has no end")
    }

    @Test func `is not believed where only its content says what it is`() throws {
        let folder = try Folder()
        try folder.disk("base.vmdk", of: 7, cid: "5")
        let text = "# Disk DescriptorFile\nCID=1\nparentCID=5\nparentFileNameHint=\"base.vmdk\"\nRW 2048 ZERO\n"
        try folder.folder.write(Array(text.utf8), to: "child.img")
        let opened = try folder.open("child.img")
        #expect(opened.disk.error?.code == .denied)
        #expect(opened.disk.error?.message.hasPrefix("parent \"base.vmdk\": only the content") == true)
        try folder.folder.write(Array(text.utf8), to: "child.vmdk")
        #expect(try folder.open("child.vmdk").disk.error == nil)
    }

    @Test func `without its parent is an error that names it`() throws {
        let folder = try Folder()
        try folder.delta("child.vmdk", over: "base.vmdk", parentCID: "5")
        let opened = try folder.open("child.vmdk")
        #expect(opened.disk.error?.code == .system(errno: ENOENT))
        #expect(opened.disk.error?.message.hasPrefix("parent \"base.vmdk\": ") == true)
        #expect(opened.layers.count == 1)
        #expect(ImageInfo(opened.layers[0]).virtualSize == 1 << 20)
    }
}

struct `A VMDK image's extents` {
    @Test func `are found without regard to case, where that is not ambiguous`() throws {
        let folder = try Folder()
        try folder.disk("Disk.vmdk", of: 7, cid: "5")
        let text = "# Disk DescriptorFile\nRW 2048 FLAT \"C:\\VMs\\DISK.VMDK.FLAT\" 0\n"
        try folder.folder.write(Array(text.utf8), to: "image.vmdk")
        let opened = try folder.open("image.vmdk")
        #expect(try opened.disk.result.get().bytes(1, at: 0) == [7])
        #expect(opened.notes.first?.hasSuffix("; Disk.vmdk.flat beside it is read") == true)
        try folder.folder.write([1], to: "disk.vmdk.flat")
        #expect(try folder.open("image.vmdk").disk.error?.code == .system(errno: ENOENT))
    }

    @Test func `are found by the bytes of their names`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 7, count: 1 << 20), to: "größe")
        let text =
            Array("# Disk DescriptorFile\nencoding=\"windows-1252\"\nRW 2048 FLAT \"gr".utf8) + [0xf6, 0xdf]
            + Array("e\" 0\n".utf8)
        try folder.folder.write(text, to: "image.vmdk")
        #expect(try folder.firstByte(of: "image.vmdk") == 7)
    }
}
