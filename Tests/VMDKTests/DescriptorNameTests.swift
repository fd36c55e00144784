import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

@Suite struct DescriptorNameTests {
    /// The names under which a file is looked for that a descriptor in UTF-8 calls `name`.
    private func candidates(_ name: String) -> [String] {
        DescriptorName(Array(name.utf8), decoded: name).candidates.map { String(decoding: $0.name, as: UTF8.self) }
    }

    @Test(
        arguments: [
            ("base.vmdk", ["base.vmdk"]),
            ("base 1.vmdk", ["base 1.vmdk"]),
            ("/vmfs/volumes/5d1/vm/base.vmdk", ["/vmfs/volumes/5d1/vm/base.vmdk", "../vm/base.vmdk", "base.vmdk"]),
            ("../vm/base.vmdk", ["../vm/base.vmdk", "base.vmdk"]),
            (#"sub\base.vmdk"#, [#"sub\base.vmdk"#, "sub/base.vmdk", "../sub/base.vmdk", "base.vmdk"]),
            (#"..\a\base.vmdk"#, [#"..\a\base.vmdk"#, "../a/base.vmdk", "base.vmdk"]),
            (#"mixed/a\base.vmdk"#, [#"mixed/a\base.vmdk"#, "mixed/a/base.vmdk", "../a/base.vmdk", "base.vmdk"]),
            (#"C:\VMs\base.vmdk"#, [#"C:\VMs\base.vmdk"#, "../VMs/base.vmdk", "base.vmdk"]),
            ("c:/VMs/base.vmdk", ["c:/VMs/base.vmdk", "../VMs/base.vmdk", "base.vmdk"]),
            ("c://VMs/base.vmdk", ["c://VMs/base.vmdk", "../VMs/base.vmdk", "base.vmdk"]),
            ("D:base.vmdk", ["D:base.vmdk", "base.vmdk"]),
            (#"\\server\share\base.vmdk"#, [#"\\server\share\base.vmdk"#, "../share/base.vmdk", "base.vmdk"]),
            (#"\VMs\base.vmdk"#, [#"\VMs\base.vmdk"#, "../VMs/base.vmdk", "base.vmdk"]),
            ("[datastore1] vm/base.vmdk", ["[datastore1] vm/base.vmdk", "../vm/base.vmdk", "base.vmdk"]),
            ("a:b.vmdk", ["a:b.vmdk", "b.vmdk"]),
            ("ab:c.vmdk", ["ab:c.vmdk"]),
            ("/etc/shadow", ["/etc/shadow", "../etc/shadow", "shadow"]),
            ("../..", ["../.."]), (#"C:\"#, [#"C:\"#]), ("a/.", ["a/."]), ("/", ["/"]), ("..", [".."]), ("", [""]),
        ] as [(String, [String])])
    func `a name is looked for as it is, by other separators, and beside the image`(
        name: String, expected: [String]
    ) {
        #expect(candidates(name) == expected)
    }

    @Test(arguments: [
        "/dev/sda", "/dev/disk0s1", "/DEV/sda", #"\\.\PhysicalDrive0"#, #"\\.\physicaldrive10"#,
        #"\\?\Volume{6a1d5c4e-0000}\"#, "//./PhysicalDrive0", "/vmfs/devices/disks/naa.6005",
    ])
    func `a device is never looked for`(name: String) throws {
        #expect(candidates(name) == [])
        let policy = MemoryPolicy(["sda": MemoryFile([1]), "PhysicalDrive0": MemoryFile([1])])
        var search = FileSearch(of: MemoryFile([]), policy: policy)
        let error = imageError { () throws(ImageError) in
            _ = try search.open(DescriptorName(Array(name.utf8), decoded: name).sought, as: .parent)
        }
        #expect(
            error
                == ImageError(
                    .denied, path: "memory.img", "parent \"\(name)\": is a device, and only files are opened"))
        #expect(policy.names == [])
    }

    @Test func `a name in another encoding is looked for decoded first, then as its bytes, and is split decoded`() {
        // "ソ" is 83 5C in Shift_JIS: its second byte is that of "\".
        let bytes = Array("D:\\".utf8) + [0x83, 0x5c] + Array(".vmdk".utf8)
        let name = DescriptorName(bytes, decoded: "D:\\ソ.vmdk")
        #expect(name.candidates.map(\.name) == [Array("D:\\ソ.vmdk".utf8), bytes, Array("ソ.vmdk".utf8)])
        // What could not be decoded is only bytes.
        let unknown = DescriptorName([0xff, 0x5c, 0xfe], decoded: nil)
        #expect(
            unknown.candidates.map(\.name) == [
                [0xff, 0x5c, 0xfe], [0xff, 0x2f, 0xfe], Array("../".utf8) + [0xff, 0x2f, 0xfe], [0xfe],
            ])
        #expect(unknown.text.nameBytes == unknown.bytes)
    }

    @Test(arguments: [("vsan://52c4", true), ("vvol://x", true), ("c://x", false), ("://x", false), ("a b://x", false)])
    func `an object is known by its scheme`(name: String, isObject: Bool) {
        #expect(DescriptorName(Array(name.utf8), decoded: name).isObject == isObject)
    }

    private func open(
        _ name: String, _ files: [String]
    ) -> (path: String?, error: ImageError?, notes: [String], asked: [String]) {
        let policy = MemoryPolicy(Dictionary(uniqueKeysWithValues: files.map { ($0, MemoryFile([], path: $0)) }))
        var search = FileSearch(of: MemoryFile([], path: "child.vmdk"), policy: policy)
        var path: String?
        let error = imageError { () throws(ImageError) in
            path = try search.open(DescriptorName(Array(name.utf8), decoded: name).sought, as: .parent).path
        }
        return (path, error, search.notes.map(\.description), policy.names)
    }

    @Test(
        arguments: [
            ("base.vmdk", ["base.vmdk"], "base.vmdk", nil),
            (#"C:\VMs\base.vmdk"#, ["base.vmdk", #"C:\VMs\base.vmdk"#], #"C:\VMs\base.vmdk"#, nil),
            (#"C:\VMs\base.vmdk"#, ["base.vmdk"], "base.vmdk", "base.vmdk beside it is read"),
            (#"sub\base.vmdk"#, ["base.vmdk", "sub/base.vmdk"], "sub/base.vmdk", "sub/base.vmdk is read"),
            (#"sub\base.vmdk"#, ["base.vmdk"], "base.vmdk", "base.vmdk beside it is read"),
            (#"C:\VMs\Base.VMDK"#, ["bAse.vmdk", "other"], "bAse.vmdk", "bAse.vmdk beside it is read"),
            ("Base.vmdk", ["base.vmdk"], "base.vmdk", "base.vmdk beside it is read"),
        ] as [(String, [String], String, String?)])
    func `the first candidate that is there is read, with a note where it is not what the descriptor says`(
        name: String, files: [String], path: String, reading: String?
    ) {
        let found = open(name, files)
        #expect(found.path == path)
        #expect(found.error == nil)
        #expect(found.notes == (reading.map { ["child.vmdk: the descriptor names \"\(name)\"; \($0)"] } ?? []))
    }

    @Test func `where none is there, the first one's error says what else was looked for`() {
        let found = open(#"sub\base.vmdk"#, ["x"])
        #expect(
            found.error
                == ImageError(
                    .denied, path: "child.vmdk",
                    #"no parent "sub\base.vmdk" here; looked for "sub/base.vmdk" and "../sub/base.vmdk" and "base.vmdk" as well"#
                ))
        #expect(found.asked == [#"sub\base.vmdk"#, "sub/base.vmdk", "../sub/base.vmdk", "base.vmdk"])
        #expect(open("base.vmdk", []).error?.message == "no parent \"base.vmdk\" here")
    }

    @Test func `two files that differ only in case are not told apart for Windows, and neither are other letters`() {
        #expect(open("BASE.vmdk", ["base.vmdk", "Base.vmdk"]).path == nil)
        #expect(open("BASE.vmdk", ["base.vmdk", "BASE.vmdk"]).path == "BASE.vmdk")
        #expect(open("Ä.vmdk", ["ä.vmdk"]).path == nil)
        #expect(open("@.vmdk", ["`.vmdk"]).path == nil)
    }

    @Test func `an error that is about the file and not its name ends the search`() throws {
        final class Locked: OpenPolicy {
            func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
                throw ImageError(.system(errno: 13), path: file.path, "\(reference.text)")
            }
        }
        var search = FileSearch(of: MemoryFile([]), policy: Locked())
        let error = imageError { () throws(ImageError) in
            _ = try search.open(DescriptorName(Array("a/b".utf8), decoded: "a/b").sought, as: .extent)
        }
        #expect(error == ImageError(.system(errno: 13), path: "memory.img", "a/b"))
    }

    @Test func `damaged descriptors are read or refused, and never worse`() throws {
        let text = Array(
            (DescriptorTests.head.replacing("ffffffff", with: "00000001") + """
                encoding="Shift_JIS"
                parentFileNameHint="C:\\VMs\\base.vmdk"
                RW 2 FLAT "C:\\VMs\\f.vmdk" 1
                RW 2 FLAT "\\\\.\\PhysicalDrive0" 63 uuid "device"
                RDONLY 18014398509481900 SPARSE "..\\s.vmdk"
                NOACCESS 3 VMFS "vsan://x" 18014398509481983

                """).utf8)
        var random = SeededRandom(seed: 11)
        var opened = 0
        for _ in 0..<3000 {
            var bytes = text
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                let index = bytes.indices.randomElement(using: &random) ?? 0
                bytes[index] =
                    Bool.random(using: &random) ? UInt8.random(in: 0...255, using: &random) : text[max(0, index - 1)]
            }
            let files = ["f.vmdk": MemoryFile(text), "s.vmdk": MemoryFile(SparseImage(capacity: 40).build().bytes)]
            let error = imageError { () throws(ImageError) in
                let layer = try openLayer(MemoryFile(bytes), files)
                if let parent = layer.description.parent {
                    var search = FileSearch(of: MemoryFile(bytes), policy: MemoryPolicy(files))
                    _ = try? search.open(parent.sought, as: .parent)
                }
                for extent in layer.extents { _ = try? layer.extent(at: extent.start, limit: 1 << 40) }
            }
            if error == nil { opened += 1 }
        }
        #expect(opened > 100)
    }

    @Test func `a disk of many files that was moved has few notes`() throws {
        let files = Dictionary(
            uniqueKeysWithValues: (1...9).map { ("\($0).vmdk", MemoryFile(Array(repeating: 1, count: 512))) })
        let lines = (1...9).map { "RW 1 FLAT \"C:\\VMs\\\($0).vmdk\" 0\n" }.joined()
        let layer = try openLayer(DescriptorTests.head + lines, files)
        #expect(layer.notes.count == 5)
        #expect(layer.notes[3] == #"memory.img: the descriptor names "C:\VMs\4.vmdk"; 4.vmdk beside it is read"#)
        #expect(layer.notes[4] == "memory.img: 5 more names are read so")
    }
}
