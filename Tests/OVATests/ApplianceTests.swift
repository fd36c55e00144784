import BlockImage
import FormatCore
import HostTools
import ImageFormats
import Synchronization
import TestImages
import Testing

@testable import OVA

extension Appliance {
    /// The appliance in `file`, of which images are what the program takes for such by their names.
    convenience init(_ file: any HostFile) throws(ImageError) {
        try self.init(file, isImage: ImageFormat.isDiskName)
    }
}

/// An appliance of these members, in their order.
func appliance(_ members: [(String, [UInt8])], path: String = "a.ova") throws -> Appliance {
    var builder = TarBuilder()
    for (name, data) in members { builder.add(name, data) }
    return try Appliance(MemoryFile(builder.finished, path: path))
}

/// One with a descriptor of these files, each of which has a disk, and these members.
private func appliance(files: String, _ members: [(String, [UInt8])]) throws -> Appliance {
    let count = files.split(separator: "<File").count
    let disks = (1...count).map { "<Disk ovf:diskId=\"disk\($0)\" ovf:fileRef=\"f\($0)\"/>" }.joined()
    return try appliance([("a.ovf", Array(OVFSamples.envelope(files: files, disks: disks).utf8))] + members)
}

/// Bytes that tell where they are.
private func content(_ count: Int, _ seed: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 13) ^ ($0 >> 8) ^ seed) }
}

extension ApplianceDisk {
    /// Its bytes.
    fileprivate func bytes() throws -> [UInt8] { try file.get().wholeFile() }
    /// Why it cannot be read.
    fileprivate var error: ImageError? {
        if case .failure(let error) = file { error } else { nil }
    }
}

struct `An appliance` {
    @Test func `has the disks of its descriptor, read in place`() throws {
        let one = content(700, 1)
        let two = content(600, 2)
        let mf =
            "SHA1(disk2.vmdk)= \(String(repeating: "ab", count: 20))\nSHA1(gone)= \(String(repeating: "cd", count: 20))\n"
        let found = try appliance([
            ("a.ovf", Array(OVFSamples.vmware.utf8)), ("b.mf", []), ("a.mf", Array(mf.utf8)), ("disk1.vmdk", one),
            ("disk2.vmdk", two), ("tools.iso", [1, 2, 3, 4, 5]), ("a.cert", [1]),
        ])
        #expect(found.disks.map(\.folderName.text) == ["disk1.vmdk", "disk2.vmdk"])
        #expect(try found.disks.map { try $0.bytes() } == [one, two])
        #expect(try found.disks.map { try $0.file.get().path } == ["a.ova/disk1.vmdk", "a.ova/disk2.vmdk"])
        #expect(found.disks.map(\.disk?.diskId) == ["vmdisk1", "vmdisk2"])
        #expect(found.disks.map(\.disk?.capacity) == [30 << 20, 8 << 30])
        #expect(found.disks.map(\.reference?.href) == ["disk1.vmdk", "disk2.vmdk"])
        #expect(found.disks.map { $0.memberNames.map(\.text) } == [["disk1.vmdk"], ["disk2.vmdk"]])
        #expect(found.emptyDisks.map(\.diskId) == ["vmdisk3"])
        #expect(found.envelope?.systems.first?.id == "vm")
        #expect(found.hasCertificate)
        #expect(found.members.count == 7)
        #expect(found.members[4].digest?.text == String(repeating: "ab", count: 20))
        #expect(found.members[3].digest == nil)
        #expect(found.manifest?.entries.count == 2)
        #expect(found.fault == nil)
        #expect(found.notes == [])
        #expect(try found.file.bytes(700, at: found.members[3].offset, of: "disk") == one)
    }

    @Test func `reads no image when it is opened`() throws {
        var builder = TarBuilder()
        builder.add("a.ovf", Array(OVFSamples.envelope(files: "").utf8))
        for index in 0..<5 { builder.add("d\(index).img", content(100_000, index)) }
        let file = MemoryFile(builder.finished)
        _ = try Appliance(file)
        // The first block twice, six headers, two blocks of the end, and the descriptor.
        #expect(file.reads.load(ordering: .relaxed) == 10)
    }

    @Test(.enabled(if: Tool.areThere("tar"))) func `made by tar has its disks, from a file`() throws {
        let folder = try TemporaryFolder()
        let disk = content(100_000, 3)
        try folder.write(
            Array(
                OVFSamples.envelope(
                    files: "<File ovf:id='f' ovf:href='My%20disk.vmdk' ovf:size='100000'/>",
                    disks: "<Disk ovf:diskId='d' ovf:fileRef='f'/>"
                ).utf8), to: "x.ovf")
        try folder.write(disk, to: "My disk.vmdk")
        try Tool.check("tar", "--format=ustar", "-cf", "x.ova", "x.ovf", "My disk.vmdk", in: folder.path)
        let found = try Appliance(folder.open("x.ova"))
        #expect(found.disks.map(\.folderName.text) == ["My disk.vmdk"])
        #expect(areSame(try found.disks[0].bytes(), disk))
        #expect(try found.disks[0].file.get().isCurrent)
        #expect(found.notes == [])
        try folder.write([1], to: "x.ova")
        #expect(try !found.disks[0].file.get().isCurrent)
    }

    @Test func `has disks of chunks, joined`() throws {
        let whole = content(250, 5)
        let chunks: [(String, [UInt8])] = [
            ("c.vmdk.000000002", Array(whole[200...])), ("c.vmdk.000000000", Array(whole[..<100])),
            ("C.vmdk.000000001", Array(whole[100..<200])),
        ]
        var plain = chunks
        plain[2].0 = "c.vmdk.000000001"
        for reference in ["ovf:size='250' ovf:chunkSize='100'", "ovf:chunkSize='100'", ""] {
            let found = try appliance(files: "<File ovf:id='f1' ovf:href='./c.vmdk' \(reference)/>", plain)
            #expect(found.disks.map(\.folderName.text) == ["c.vmdk"])
            #expect(try found.disks[0].bytes() == whole)
            #expect(try found.disks[0].file.get().path == "a.ova/c.vmdk")
            #expect(
                found.disks[0].memberNames.map(\.text) == ["c.vmdk.000000000", "c.vmdk.000000001", "c.vmdk.000000002"])
            #expect(found.notes == [])
        }
        // Also where there is no descriptor.
        let bare = try appliance(plain)
        #expect(try bare.disks.map { try $0.bytes() } == [whole])
        #expect(bare.disks.map(\.folderName.text) == ["c.vmdk"])
    }

    @Test func `says which chunk is missing`() throws {
        let first: [(String, [UInt8])] = [("c.vmdk.000000000", content(100, 1))]
        let end = try appliance(
            files: "<File ovf:id='f1' ovf:href='c.vmdk' ovf:size='250' ovf:chunkSize='100'/>", first)
        #expect(
            end.disks.map(\.error) == [
                ImageError(
                    .truncated, path: "a.ova/c.vmdk",
                    "chunk \"c.vmdk.000000001\": is missing, but 250 bytes in chunks of 100 need all up to number 2")
            ])
        let middle = try appliance(
            files: "<File ovf:id='f1' ovf:href='c.vmdk' ovf:chunkSize='100'/>", first + [("c.vmdk.000000002", [1])])
        #expect(
            middle.disks.map(\.error) == [
                ImageError(
                    .corrupt, path: "a.ova/c.vmdk",
                    "chunk \"c.vmdk.000000001\": is missing, but the archive has \"c.vmdk.000000002\"")
            ])
        let start = try appliance(
            files: "<File ovf:id='f1' ovf:href='c.vmdk'/>", [("c.vmdk.999999999", [1])])
        #expect(
            start.disks.map(\.error) == [
                ImageError(
                    .corrupt, path: "a.ova/c.vmdk",
                    "chunk \"c.vmdk.000000000\": is missing, but the archive has \"c.vmdk.999999999\"")
            ])
        let none = try appliance(files: "<File ovf:id='f1' ovf:href='c.vmdk' ovf:chunkSize='100'/>", [])
        #expect(
            none.disks.map(\.error) == [
                ImageError(
                    .truncated, path: "a.ova/c.vmdk",
                    "is missing: the archive has no member of this name, nor any chunk of it")
            ])
        // Numbers as large as they come.
        let huge = try appliance(
            files: "<File ovf:id='f1' ovf:href='c.vmdk' ovf:size='\(UInt64.max)' ovf:chunkSize='1'/>", first)
        #expect(huge.disks.map(\.error?.code) == [.truncated])
    }

    @Test func `notes sizes that are not those of the descriptor`() throws {
        let found = try appliance(
            files: """
                <File ovf:id='f1' ovf:href='c.vmdk' ovf:size='150' ovf:chunkSize='100'/>
                <File ovf:id='f2' ovf:href='d.vmdk' ovf:size='4' ovf:chunkSize='3'/>
                <File ovf:id='f3' ovf:href='e.vmdk' ovf:chunkSize='0'/>
                """,
            [
                ("c.vmdk.000000000", content(90, 1)), ("c.vmdk.000000001", content(50, 1)),
                ("d.vmdk", [1, 2, 3, 4, 5]),
                ("e.vmdk.000000000", [7]),
            ])
        #expect(found.disks.map(\.error) == [nil, nil, nil])
        #expect(
            found.notes == [
                "chunk \"c.vmdk.000000000\": has 90 bytes, but the descriptor says 100",
                "\"c.vmdk\": the descriptor says that it has 150 bytes, but its chunks have 140 together",
                "\"d.vmdk\": is whole, but the descriptor says that it is split into chunks",
                "\"d.vmdk\": the descriptor says that it has 4 bytes, but the member has 5",
            ])
    }

    @Test(
        arguments: [
            (
                "http://localhost/d.vmdk", .denied,
                "the descriptor says that it is at \"http://localhost/d.vmdk\", which is not in the archive; "
                    + "nothing else is opened"
            ),
            (
                "/etc/passwd", .denied,
                "the descriptor says that it is at \"/etc/passwd\", which is not in the archive; nothing else is opened"
            ),
            (
                "file:/etc/passwd", .denied,
                "the descriptor says that it is at \"file:/etc/passwd\", which is not in the archive; nothing else is opened"
            ),
            ("../../etc/passwd", .truncated, "is missing: the archive has no member of this name"),
            ("d.vmdk.gz", .truncated, "is missing: the archive has no member of this name"),
        ] as [(String, ImageError.Code, String)])
    func `has no disk outside the archive`(href: String, code: ImageError.Code, message: String) throws {
        let found = try appliance(files: "<File ovf:id='f1' ovf:href='\(href)'/>", [])
        #expect(found.disks.map(\.error) == [ImageError(code, path: "a.ova/\(href)", "\(message)")])
        #expect(found.disks.allSatisfy { !$0.folderName.contains(UInt8(ascii: "/")) && $0.memberNames == [] })
    }

    @Test func `has disks that are compressed as a whole, and cannot be read`() throws {
        for (compression, name) in [("gzip", "gzip"), ("GZIP", "gzip"), ("bzip2", "\"bzip2\"")] {
            let found = try appliance(
                files: "<File ovf:id='f1' ovf:href='d.vmdk' ovf:compression='\(compression)'/>", [("d.vmdk", [1])])
            #expect(
                found.disks.map(\.error) == [
                    ImageError(
                        .unsupported, path: "a.ova/d.vmdk",
                        "is compressed with \(name) as a whole, and disks can be read in place only: unpack the archive, and decompress it"
                    )
                ])
            #expect(found.disks[0].memberNames.map(\.text) == ["d.vmdk"])
        }
        let plain = try appliance(
            files: "<File ovf:id='f1' ovf:href='d.vmdk' ovf:compression='identity'/>", [("d.vmdk", [1])])
        #expect(try plain.disks[0].bytes() == [1])
    }

    @Test(arguments: [
        ("d.vmdk", "d.vmdk"), ("./d.vmdk", "d.vmdk"), ("d.vmdk", "./d.vmdk"), ("d%2evmdk", "d.vmdk"),
        ("D.VMDK", "d.vmdk"), ("d.vmdk", "D.Vmdk"), ("%44.vmdk", "d.vmdk"), ("d%20e.vmdk", "d%20e.vmdk"),
        ("d%20e.vmdk", "d e.vmdk"), ("%zz%4.vmdk", "%zz%4.vmdk"), ("x/d.vmdk", "x/d.vmdk"), (".//./d.vmdk", "d.vmdk"),
        ("é.vmdk", "é.vmdk"),
    ])
    func `finds members however they are written`(href: String, name: String) throws {
        let found = try appliance(files: "<File ovf:id='f1' ovf:href='\(href)'/>", [(name, [1])])
        #expect(try found.disks.map { try $0.bytes() } == [[1]])
        #expect(found.disks.map(\.folderName.text) == [lastComponent(of: Array(name.utf8)).text])
    }

    @Test func `prefers the member with exactly the name, and the last of several`() throws {
        let found = try appliance(
            files: """
                <File ovf:id='f1' ovf:href='d%20e.vmdk'/><File ovf:id='f2' ovf:href='A.vmdk'/>
                <File ovf:id='f3' ovf:href='twice.vmdk'/>
                """,
            [
                ("d e.vmdk", [1]), ("d%20e.vmdk", [2]), ("A.vmdk", [3]), ("a.vmdk", [4]), ("twice.vmdk", [5]),
                ("twice.vmdk", [6]),
            ])
        #expect(try found.disks.map { try $0.bytes() } == [[2], [3], [6], [1], [4]])
    }

    @Test func `shows images that the descriptor does not mention`() throws {
        let members: [(String, [UInt8])] = [
            ("x/one.vmdk", [1]), ("two.QCOW2", [2]), ("three.qcow", [3]), ("four.img", [4]), ("five.raw", [5]),
            ("six.iso", [6]), ("seven.txt", [7]), ("eight.vmdk.000000001", [8]), (".img", [9]), ("x/one.vmdk", [10]),
        ]
        let bare = try appliance(members)
        #expect(bare.disks.map(\.folderName.text) == ["two.QCOW2", "three.qcow", "four.img", "five.raw", "one.vmdk"])
        #expect(try bare.disks.map { try $0.bytes() } == [[2], [3], [4], [5], [10]])
        #expect(bare.disks.allSatisfy { $0.disk == nil && $0.reference == nil })
        #expect(
            bare.notes == [
                "the archive has no OVF descriptor: its disks are the members whose names are those of images"
            ])
        let broken = try appliance([("x.ovf", Array("<Envelope>\n<oops".utf8)), ("d.vmdk", [1])])
        #expect(broken.envelope == nil)
        #expect(broken.disks.count == 1)
        #expect(broken.notes.count == 1)
        #expect(broken.notes[0].hasPrefix("a.ova/x.ovf: at 0xb: OVF descriptor: line 2: is no well-formed XML: "))
        let other = try appliance(files: "<File ovf:id='f1' ovf:href='d.vmdk'/>", [("d.vmdk", [1]), ("e.vmdk", [2])])
        #expect(other.disks.map(\.folderName.text) == ["d.vmdk", "e.vmdk"])
        #expect(other.notes == ["\"e.vmdk\": looks like a disk image, but no Disk of the descriptor has it"])
    }

    @Test func `has disks whose file the descriptor does not have, or that share one`() throws {
        let ovf = OVFSamples.envelope(
            files: "<File ovf:id='f' ovf:href='d.vmdk'/>",
            disks: "<Disk ovf:diskId='a' ovf:fileRef='f'/><Disk ovf:diskId='b' ovf:fileRef='f'/>"
                + "<Disk ovf:diskId='c' ovf:fileRef='gone'/>")
        let found = try appliance([("a.ovf", Array(ovf.utf8)), ("b.ovf", []), ("d.vmdk", [1])])
        #expect(found.disks.map(\.folderName.text) == ["d.vmdk", "c"])
        #expect(
            found.disks.map(\.error) == [
                nil, ImageError(.corrupt, path: "a.ova/c", "Disk \"c\": its fileRef \"gone\" is the id of no File"),
            ])
        #expect(
            found.notes == [
                "the archive has 2 OVF descriptors, of which the first, \"a.ovf\", is read",
                "Disk \"b\": has the same file as Disk \"a\", and is shown as that one",
            ])
    }

    @Test func `gives every disk a name that a folder can have`() {
        var names = FolderNames()
        let long = [UInt8](repeating: UInt8(ascii: "n"), count: 300) + Array(".vmdk".utf8)
        let given = [
            "d.vmdk", "x/d.vmdk", "d.vmdk", "d-2.vmdk", "", ".", "..", "a/..", "stats.json", "x/stats.json", "/",
            "a\0b",
            ".img", ".img", "noext", "noext",
        ].map { names.add(Array($0.utf8)).text }
        #expect(
            given == [
                "d.vmdk", "d-2.vmdk", "d-3.vmdk", "d-2-2.vmdk", "disk", "disk-2", "disk-3", "disk-4", "disk-5",
                "disk-6",
                "disk-7", "ab", ".img", ".img-2", "noext", "noext-2",
            ])
        let first = names.add(long)
        let second = names.add(long)
        #expect(first != second)
        #expect(first.count <= 255 && second.count <= 255)
        #expect(first.text.hasSuffix("n.vmdk") && second.text.hasSuffix("n-2.vmdk"))
        var many: Set<[UInt8]> = []
        for _ in 0..<2000 { many.insert(names.add(Array("same".utf8))) }
        #expect(many.count == 2000)
    }

    @Test func `that is cut shows what is there`() throws {
        var builder = TarBuilder()
        builder.add("one.img", content(600, 1))
        builder.add("two.img", content(5000, 2))
        let found = try Appliance(MemoryFile(Array(builder.bytes.prefix(3000)), path: "a.ova"))
        #expect(try found.disks[0].bytes() == content(600, 1))
        #expect(
            found.disks[1].error
                == ImageError(
                    .truncated, path: "a.ova/two.img",
                    "has 5000 bytes, but the archive, which was cut, holds only the first 952"))
        #expect(found.fault?.code == .truncated)
        #expect(
            found.notes.first?.description
                == "the archive is read up to where it is damaged: a.ova: at 0x800: member \"two.img\": has 5000 bytes, "
                + "but the archive ends 4048 bytes early")
    }

    @Test func `does not read sparse members without a map, large descriptors and bad manifests`() throws {
        var builder = TarBuilder()
        builder.add("a.ovf", [UInt8](repeating: 32, count: OVFEnvelope.sizeLimit + 1))
        builder.add("a.mf", Array("x\nSHA1(d)=00\n".utf8))
        builder.add("s.img", [1], type: UInt8(ascii: "S"))
        let found = try Appliance(MemoryFile(builder.finished, path: "a.ova"))
        #expect(
            found.disks.map(\.error) == [
                ImageError(
                    .unsupported, path: "a.ova", offset: HostOffset(0x200800),
                    "sparse map of \"s.img\": is none of GNU tar, whose magic is \"ustar  \"")
            ])
        #expect(
            found.notes == [
                "a.ova/a.ovf: OVF descriptor: has 2097153 bytes, and must have no more than 2097152",
                "manifest \"a.mf\": line 1 is no digest of a file",
            ])
        #expect(found.manifest?.unreadLines == [1, 2])
    }

    @Test func `has as many notes as are of use`() throws {
        let found = try appliance(
            files: "<File ovf:id='x' ovf:href='x'/>", (0..<150).map { ("d\($0).img", []) })
        #expect(found.disks.count == 151)
        #expect(found.notes.count == 101)
        #expect(found.notes.last == "50 more notes are left out")
    }

    @Test func `throws what its archive throws`() {
        #expect(
            throws: ImageError(
                .unsupported, path: "a.ova",
                "the archive: is compressed with gzip, and disks can be read in place only: decompress it first")
        ) { _ = try Appliance(MemoryFile([0x1f, 0x8b, 8, 0], path: "a.ova")) }
    }
}
