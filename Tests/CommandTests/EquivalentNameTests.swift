import Foundation
import HostTools
import TestImages
import Testing

/// `é` in one piece and in two: other bytes, and other things.
private let composed = "caf\u{e9}"
private let decomposed = "cafe\u{301}"

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `Names that look the same` {
    /// Two snapshots whose names differ in bytes only, with 1 and 2 at the start of the disk, which has 3 now.
    private func snapshots(_ names: [String] = [composed, decomposed]) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        let image = folder.file("s.qcow2")
        try QemuImg.create(image, size: 1 << 20)
        for (index, name) in names.enumerated() {
            try QemuImg.io(image, ["write -P \(index + 1) 0 64k"])
            try QemuImg.run("snapshot", "-c", name, image)
        }
        try QemuImg.io(image, ["write -P 9 0 64k"])
        return folder
    }

    private func firstByte(_ arguments: String..., in folder: TemporaryFolder) throws -> (UInt8?, ToolResult) {
        let result = try RBlock.run(["read", "--length", "1"] + arguments, in: folder.path)
        return (result.output.first, result)
    }

    @Test func `are the snapshots that they are`() throws {
        let both = try snapshots()
        #expect(try firstByte("--snapshot", composed, "s.qcow2", in: both).0 == 1)
        let (byte, result) = try firstByte("--snapshot", decomposed, "s.qcow2", in: both)
        #expect(byte == 2 && result.errors == "")
        let (only, noted) = try firstByte("--snapshot", composed, "s.qcow2", in: try snapshots([decomposed]))
        #expect(
            only == 1 && noted.errors.contains("warning: ") && noted.errors.contains("cafe\\u{301}"), "\(noted.errors)")
        let alike = try snapshots(["\u{c5}", "A\u{30a}"])
        let (none, refused) = try firstByte("--snapshot", "\u{212b}", "s.qcow2", in: alike)
        #expect(none == nil && refused.status == 1 && refused.errors.contains("A\\u{30a}"), "\(refused.errors)")
    }

    @Test func `are the bitmaps that they are`() throws {
        let folder = try TemporaryFolder()
        let image = folder.file("b.qcow2")
        try QemuImg.create(image, size: 1 << 20)
        try QemuImg.run("bitmap", "--add", image, decomposed)
        try QemuImg.io(image, ["write -P 1 0 64k"])
        try QemuImg.run("bitmap", "--add", image, composed)
        try QemuImg.create(folder.file("base.qcow2"), size: 1 << 20)
        func changed(_ name: String) throws -> Int? {
            let document = try RBlock.json(
                "delta", "--force", "--from-bitmap", name, "base.qcow2", "b.qcow2", "d.qcow2", in: folder.path)
            return document["bytes-changed"]?.number.map { Int($0) }
        }
        #expect(try changed(decomposed) == 64 << 10)
        #expect(try changed(composed) == 0)
    }

    @Test func `are two exports`() throws {
        let folder = try TemporaryFolder()
        for (name, byte) in [(composed, 1), (decomposed, 2), ("\u{301}x", 3), ("so\u{308}lo", 4)] as [(String, UInt8)] {
            try folder.write([UInt8](repeating: byte, count: 512), to: "\(name).raw")
        }
        let server = try ImageServer([folder.path])
        func call(_ arguments: String...) throws -> ToolResult {
            try RBlock.run(["rpc", "--output", "json", server.rpcSocket] + arguments)
        }
        #expect(try call("list").text.split(separator: "\"name\"").count == 5)
        for (name, byte) in [
            (composed, 1), (decomposed, 2), ("\u{301}x", 3), ("so\u{308}lo", 4), ("s\u{f6}lo", 4),
        ] as [(String, UInt8)] {
            let raw = try RBlock.run(
                ["rpc", "--raw", server.rpcSocket, "read", "offset=0", "length=1", "image=\(name).raw"])
            #expect(raw.status == 0 && Array(raw.output) == [byte], "\(name) \(raw.errors)")
        }
        // The name that an answer has is the one that is served.
        #expect(try call("open", "image=s\u{f6}lo.raw").text.utf8.contains(0xcc))
    }

    // What took minutes would exceed the time that a command has.
    @Test func `are soon found, however long the name of a file is`() throws {
        let folder = try TemporaryFolder()
        for index in 0..<2000 { try folder.write([], to: "\(decomposed)-\(index)") }
        try folder.write([UInt8](repeating: 1, count: 1 << 20), to: "\(decomposed).raw")
        var builder = QCOW2Builder(size: 1 << 20)
        builder.backingFile = String(repeating: "./", count: 480) + "\(composed).raw"
        try folder.write(builder.build().bytes, to: "dots.qcow2")
        #expect(try firstByte("dots.qcow2", in: folder).0 == 1)
        builder.backingFile = String(repeating: "u\u{308}/../", count: 100) + "\(composed).none"
        try folder.write(builder.build().bytes, to: "long.qcow2")
        #expect(try firstByte("long.qcow2", in: folder).1.status == 1)
    }

    @Test func `are the files that an image names, or the only ones that look like them`() throws {
        let folder = try TemporaryFolder()
        try folder.write([UInt8](repeating: 1, count: 1 << 20), to: "\(decomposed).raw")
        var builder = QCOW2Builder(size: 1 << 20)
        builder.backingFile = "\(composed).raw"
        try folder.write(builder.build().bytes, to: "top.qcow2")
        let (byte, result) = try firstByte("top.qcow2", in: folder)
        #expect(byte == 1 && result.errors.contains("cafe\\u{301}.raw"), "\(result.errors)")
        try folder.write([UInt8](repeating: 2, count: 1 << 20), to: "\(composed).raw")
        let (exact, silent) = try firstByte("top.qcow2", in: folder)
        #expect(exact == 2 && silent.errors == "")
        // In another folder whose name was changed as well, as archives of a Mac have it.
        _ = try folder.makeFolder("u\u{308}")
        try folder.write(
            Array(VMDKText.flat(named: "\u{fc}/\(composed)-flat.vmdk", sectors: 8).utf8), to: "disk.vmdk")
        try folder.write([UInt8](repeating: 5, count: 4096), to: "u\u{308}/\(decomposed)-flat.vmdk")
        let (flat, noted) = try firstByte("disk.vmdk", in: folder)
        #expect(flat == 5 && noted.errors.contains("u\\u{308}/cafe\\u{301}-flat.vmdk"), "\(noted.errors)")
        // Two that look like the third are refused, with what they are.
        try folder.write([1], to: "\u{c5}.raw")
        try folder.write([2], to: "A\u{30a}.raw")
        builder.backingFile = "\u{212b}.raw"
        try folder.write(builder.build().bytes, to: "two.qcow2")
        let (none, refused) = try firstByte("two.qcow2", in: folder)
        #expect(none == nil && refused.status == 1 && refused.errors.contains("A\\u{30a}.raw"), "\(refused.errors)")
    }
}

private enum VMDKText {
    static func flat(named name: String, sectors: Int) -> String {
        """
        # Disk DescriptorFile
        version=1
        CID=12345678
        parentCID=ffffffff
        createType="monolithicFlat"
        RW \(sectors) FLAT "\(name)" 0

        """
    }
}
