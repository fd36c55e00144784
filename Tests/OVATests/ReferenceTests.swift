import BlockImage
import FormatCore
import TestImages
import Testing

@testable import OVA

struct `References of a descriptor` {
    /// An appliance whose descriptor is at `descriptor` and has these references, each with a disk.
    private func appliance(
        _ descriptor: String, _ hrefs: [String], _ members: [(String, [UInt8])]
    ) throws -> Appliance {
        let files = hrefs.enumerated().map { "<File ovf:id='f\($0)' ovf:href='\($1)'/>" }.joined()
        let disks = hrefs.indices.map { "<Disk ovf:diskId='d\($0)' ovf:fileRef='f\($0)'/>" }.joined()
        var builder = TarBuilder()
        for (name, data) in [(descriptor, Array(OVFSamples.envelope(files: files, disks: disks).utf8))] + members {
            builder.add(name, data)
        }
        return try Appliance(MemoryFile(builder.finished, path: "a.ova"))
    }

    private func bytes(_ disk: ApplianceDisk) -> [UInt8]? { try? disk.file.get().wholeFile() }

    @Test(arguments: [
        ("vm/a.ovf", "d.vmdk", "vm/d.vmdk"), ("./vm/a.ovf", "d.vmdk", "vm/d.vmdk"), ("vm/a.ovf", "d.vmdk", "d.vmdk"),
        ("vm/a.ovf", "../disks/d%20e.vmdk", "disks/d e.vmdk"), ("vm/a.ovf", "vm/d.vmdk", "vm/d.vmdk"),
        ("vm/a.ovf", "./x/../d.vmdk", "./vm/d.vmdk"), ("vm/a.ovf", "D.VMDK", "vm/d.vmdk"),
    ])
    func `are seen from its folder, then from the root`(descriptor: String, href: String, member: String) throws {
        let found = try appliance(descriptor, [href], [("other/d.vmdk", [2]), (member, [1])])
        #expect(found.disks.first.flatMap(bytes) == [1])
        #expect(found.notes == ["\"other/d.vmdk\": looks like a disk image, but no Disk of the descriptor has it"])
    }

    @Test func `prefer its folder`() throws {
        let found = try appliance("vm/a.ovf", ["d.vmdk"], [("d.vmdk", [2]), ("vm/d.vmdk", [1])])
        #expect(found.disks.map(bytes) == [[1], [2]])
        let chunks = try appliance(
            "vm/a.ovf", ["d.vmdk"], [("vm/d.vmdk.000000000", [1]), ("vm/d.vmdk.000000001", [2])])
        #expect(chunks.disks.map(bytes) == [[1, 2]])
    }

    @Test(arguments: [
        "gone/d.vmdk", "../../d.vmdk", "/home/me/d.vmdk", "C:\\vm\\d.vmdk", "gone%2Fd.vmdk", "gone/d%2Evmdk",
    ])
    func `are found by their last component where only one member has it`(href: String) throws {
        let found = try appliance("vm/a.ovf", [href], [("x/y/d.vmdk", [1])])
        #expect(found.disks.map(bytes) == [[1]])
        #expect(
            found.notes == [
                "\"\(href)\": the archive has no such member, and \"x/y/d.vmdk\", the only one with that last "
                    + "component, is read"
            ])
        let chunks = try appliance("vm/a.ovf", [href], [("x/d.vmdk.000000000", [1]), ("x/d.vmdk.000000001", [2])])
        #expect(chunks.disks.map(bytes) == [[1, 2]])
        let several = try appliance("vm/a.ovf", [href], [("x/d.vmdk", [1]), ("y/d.vmdk", [2])])
        #expect(several.disks.map(bytes) == [nil, [1], [2]])
    }

    @Test func `are not guessed where another one has the file`() throws {
        let known = try appliance("a.ovf", ["x/d.vmdk", "y/d.vmdk"], [("x/d.vmdk", [1])])
        #expect(known.disks.map(bytes) == [[1], nil])
        let two = try appliance("a.ovf", ["y/d.vmdk", "z/d.vmdk"], [("x/d.vmdk", [1])])
        #expect(two.disks.map(bytes) == [nil, nil, [1]])
        let url = try appliance("a.ovf", ["https://example.com/d.vmdk"], [("x/d.vmdk", [1])])
        #expect(url.disks.map(bytes) == [nil, [1]])
    }

    @Test func `never mean what archivers add to a member`() throws {
        var builder = TarBuilder()
        builder.add("._a.ovf", [1])
        builder.add("PaxHeaders.1/a.ovf", [2])
        builder.add("._d.vmdk", [3])
        builder.add("x/PaxHeaders/d.vmdk", [4])
        builder.add("._a.mf", [5])
        builder.add(
            "a.ovf",
            Array(
                OVFSamples.envelope(
                    files: "<File ovf:id='f' ovf:href='gone/d.vmdk'/>", disks: "<Disk ovf:diskId='d' ovf:fileRef='f'/>"
                ).utf8))
        builder.add("y/d.vmdk", [6])
        builder.add("PaxHeaders.img", [7])
        let found = try Appliance(MemoryFile(builder.finished, path: "a.ova"))
        #expect(found.disks.map(\.folderName.text) == ["d.vmdk", "PaxHeaders.img"])
        #expect(found.disks.map(bytes) == [[6], [7]])
        #expect(found.manifest == nil)
        #expect(found.envelope != nil)
        #expect(found.notes.count == 2)
        let bare = try Appliance(MemoryFile(Array(builder.bytes[..<5120]) + [UInt8](repeating: 0, count: 1024)))
        #expect(bare.disks.isEmpty)
    }

    @Test func `of a manifest are seen from its folder too`() throws {
        let digest = String(repeating: "ab", count: 32)
        let manifest = "SHA256(d.vmdk)=\(digest)\nSHA256( e.vmdk )=\(digest)\nSHA256(gone)=\(digest)\n"
        let found = try appliance(
            "vm/a.ovf", ["d.vmdk"],
            [("vm/a.mf", Array(manifest.utf8)), ("d.vmdk", [2]), ("vm/d.vmdk", [1]), ("vm/e.vmdk", [3])])
        #expect(found.digests.map(\.member) == [3, 4, nil])
        #expect(found.members[3].digest?.text == digest)
        #expect(found.members[2].digest == nil)
    }
}
