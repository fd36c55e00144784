import Foundation
import HostTools
import RBlock
import TestImages
import Testing

/// What the first page of the documentation does, line by line; `print` adds to `lines`.
private struct FirstPage {
    var lines: [String] = []

    private mutating func print(_ items: Any...) {
        lines.append(items.map { "\($0)" }.joined(separator: " "))
    }

    mutating func run(_ path: String) throws {
        let disk = try DiskImage(path)
        print(disk.format, disk.size, "bytes,", disk.partitions.count, "partitions")
        print(try disk.read(512, at: 0).suffix(2) == [0x55, 0xaa] ? "bootable" : "no boot sector")
        var (stored, offset): (UInt64, UInt64) = (0, 0)
        while let extent = try disk.extent(at: offset) {
            if extent.content == .data { stored += extent.size }
            offset += extent.size
        }
        print(stored, "bytes are stored")
    }
}

@Suite(.enabled(if: Tool.areThere("qemu-img", "sfdisk")))
struct `The library` {
    /// A raw disk with a partition of its own bytes, and the same as QCOW2 with a snapshot.
    private func images() throws -> (folder: TemporaryFolder, raw: String, qcow2: String) {
        let folder = try TemporaryFolder()
        let (raw, qcow2) = (folder.file("disk.raw"), folder.file("disk.qcow2"))
        try Shell.check(
            "truncate -s 4M \"$1\" && printf '1M,2M,83\\n' | sfdisk -q \"$1\" && "
                + "printf 'first sector' | dd of=\"$1\" bs=1M seek=1 conv=notrunc status=none", raw)
        try Tool.check("qemu-img", "convert", "-O", "qcow2", raw, qcow2)
        try Tool.check("qemu-img", "snapshot", "-c", "monday", qcow2)
        return (folder, raw, qcow2)
    }

    @Test func `reads an image in the ten lines of its first page`() throws {
        let images = try images()
        var page = FirstPage()
        try page.run(images.qcow2)
        #expect(page.lines == ["qcow2 4194304 bytes, 1 partitions", "bootable", "131072 bytes are stored"])

        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        func lines(_ path: String, from start: String, to end: String) throws -> [Substring] {
            let text = try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
            return Array(
                text.split(separator: "\n").drop { !$0.contains(start) }.dropFirst().prefix { !$0.contains(end) })
        }
        let told = try lines("Sources/RBlock/RBlock.docc/RBlock.md", from: "let disk = try", to: "```")
        let done = try lines(
            "Tests/RBlockTests/FirstPageTests.swift", from: "let disk = try", to: "stored, \"bytes are stored")
        #expect(told.count == done.count + 1 && told.count < 10)
        for (told, done) in zip(told, done) { #expect(told == done.dropFirst(8)) }
    }

    @Test func `gives the bytes of every disk that an image holds`() throws {
        let images = try images()
        let raw = try Data(contentsOf: URL(fileURLWithPath: images.raw))
        for (name, bytes) in [("", raw), ("/p1", raw[(1 << 20)..<(3 << 20)]), ("@monday", raw), ("/layers/0", raw)] {
            let disk = try DiskImage(images.qcow2 + name)
            #expect(disk.size == UInt64(bytes.count) && disk.format == "qcow2" && disk.snapshots == ["monday"])
            #expect(Data(try disk.read(bytes.count, at: 0)) == Data(bytes), "\(name)")
        }
    }

    @Test func `says what is wrong as a value`() throws {
        let images = try images()
        func code(_ body: () throws(DiskImageError) -> Void) -> DiskImageError.Code? {
            do throws(DiskImageError) { try body() } catch { return error.code }
            return nil
        }
        let disk = try DiskImage(images.qcow2)
        #expect(code { () throws(DiskImageError) in _ = try disk.read(1, at: disk.size) } == .outOfRange)
        #expect(code { () throws(DiskImageError) in _ = try disk.read(-1, at: 0) } == .outOfRange)
        #expect(code { () throws(DiskImageError) in _ = try DiskImage(images.qcow2 + "/p9") } == .outOfRange)
        #expect(code { () throws(DiskImageError) in _ = try DiskImage(images.qcow2, format: "vmdk") } == .corrupt)
        #expect(code { () throws(DiskImageError) in _ = try DiskImage(images.qcow2, format: "floppy") } == .unsupported)
        #expect(code { () throws(DiskImageError) in _ = try DiskImage(images.folder.file("none")) } == .system(ENOENT))
        try Shell.check("printf x | dd of=\"$1\" bs=1 seek=200000 conv=notrunc status=none", images.qcow2)
        #expect(code { () throws(DiskImageError) in _ = try disk.read(1, at: 0) } == .changed)
    }
}
