import BlockImage
import TestImages
import Testing

@testable import OVA

struct `The policy of an appliance` {
    private let found: Appliance

    init() throws {
        found = try appliance([
            ("./disk.vmdk", [1]), ("disk-s001.vmdk", [2]), ("x/disk.vmdk", [3]), ("x/disk-s001.vmdk", [4]),
            ("y/only.vmdk", [5]), ("base.qcow2", [6]), ("y/split.img.000000000", [7]), ("y/disk-s001.vmdk", [8]),
            ("back\\slash.img", [9]),
        ])
    }

    private func file(_ name: String) throws -> any HostFile {
        let disk = try #require(found.disks.first { $0.memberNames.first?.text == name })
        return try disk.file.get()
    }

    private func open(_ name: String, from image: String, role: FileReference.Role = .extent) throws -> [UInt8] {
        try found.policy.open(FileReference(Array(name.utf8), role: role), namedBy: try file(image)).wholeFile()
    }

    @Test(
        arguments: [
            ("disk-s001.vmdk", "./disk.vmdk", [2]), ("disk-s001.vmdk", "x/disk.vmdk", [4]),
            ("disk-s001.vmdk", "y/split.img.000000000", [8]),
            ("/vmfs/volumes/datastore1/vm/disk-s001.vmdk", "x/disk.vmdk", [4]),
            ("C:\\VMs\\disk-s001.vmdk", "x/disk.vmdk", [4]), ("only.vmdk", "x/disk.vmdk", [5]),
            ("../../y/only.vmdk", "x/disk.vmdk", [5]), ("disk.vmdk", "x/disk.vmdk", [3]),
            ("back\\slash.img", "x/disk.vmdk", [9]),
        ] as [(String, String, [UInt8])])
    func `opens members of the archive, first those beside the image`(
        name: String, image: String, bytes: [UInt8]
    ) throws {
        #expect(try open(name, from: image) == bytes)
    }

    @Test func `opens the same file each time`() throws {
        let reference = FileReference(Array("base.qcow2".utf8), role: .backing)
        let image = try file("./disk.vmdk")
        let first = try found.policy.open(reference, namedBy: image)
        #expect(try found.policy.open(reference, namedBy: image) === first)
        #expect(first.path == "a.ova/base.qcow2")
        #expect(try first.wholeFile() == [6])
    }

    @Test(arguments: [
        ("gone.vmdk", "the archive has no such member, and an image in an archive may name nothing else"),
        ("/etc/passwd", "the archive has no such member, and an image in an archive may name nothing else"),
        ("..", "the archive has no such member, and an image in an archive may name nothing else"),
        ("x/", "the archive has no such member, and an image in an archive may name nothing else"),
        (
            "nbd://localhost/base.qcow2",
            "is no plain file name, and an image in an archive may name only members of that archive"
        ),
        (
            "json:{\"file\":\"base.qcow2\"}",
            "is no plain file name, and an image in an archive may name only members of that archive"
        ),
    ])
    func `opens nothing else`(name: String, message: String) throws {
        #expect(
            throws: ImageError(.denied, path: "a.ova/disk.vmdk", "backing file \"\(name)\": \(message)")
        ) { _ = try open(name, from: "./disk.vmdk", role: .backing) }
    }

    @Test func `does not guess which of several members is meant`() throws {
        #expect(
            throws: ImageError(
                .denied, path: "elsewhere",
                "extent \"disk-s001.vmdk\": the archive has several members of this name, none of them in the folder of "
                    + "this image")
        ) {
            _ = try found.policy.open(
                FileReference(Array("disk-s001.vmdk".utf8), role: .extent), namedBy: MemoryFile([], path: "elsewhere"))
        }
    }

    @Test func `refuses names that are none`() throws {
        for name in ["", "a\0b"] {
            #expect(
                throws: ImageError(
                    .corrupt, path: "a.ova/disk.vmdk", "extent \"\(name)\": an empty name, or one with a NUL byte")
            ) { _ = try open(name, from: "./disk.vmdk") }
        }
    }

    @Test func `says what is wrong with a member`() throws {
        var builder = TarBuilder()
        builder.add("disk.vmdk", [1])
        builder.add("s.vmdk", [1], type: UInt8(ascii: "S"))
        let found = try Appliance(MemoryFile(builder.finished, path: "a.ova"))
        #expect(
            throws: ImageError(
                .unsupported, path: "a.ova/disk.vmdk",
                "extent \"s.vmdk\": a.ova: sparse map of \"s.vmdk\": is none of GNU tar, whose magic is \"ustar  \"")
        ) {
            _ = try found.policy.open(
                FileReference(Array("s.vmdk".utf8), role: .extent), namedBy: try found.disks[0].file.get())
        }
    }

    @Test func `may be used from any thread`() async throws {
        let image = try file("x/disk.vmdk")
        await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<16 {
                group.addTask {
                    let opened = try? found.policy.open(
                        FileReference(Array("disk-s001.vmdk".utf8), role: .extent), namedBy: image)
                    return (try? opened?.wholeFile()) == [4]
                }
            }
            for await isRight in group { #expect(isRight) }
        }
    }
}
