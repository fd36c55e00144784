import Foundation
import HostTools
import TestImages
import Testing

@Suite("Holes", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp", "cp")))
struct HoleTests {
    @Test(
        "SEEK_DATA and SEEK_HOLE agree with the content and with each other",
        arguments: ["disk.raw", "plain.qcow2", "zlib.qcow2", "small-clusters.qcow2", "sparse.vmdk", "split-flat.vmdk"])
    func seek(name: String) throws {
        let gallery = try Gallery([name], size: 12 << 20, seed: 11)
        // What the host's file system tells of holes changes until everything is written, and when they are read.
        try Shell.check("sync -f \"$1\"", gallery.images)
        let mount = try Mount(gallery.images)
        let stored = try Status(mount.disk(name)).blocks * 512
        let runs = try Self.runs(mount.disk(name))
        let bytes = [UInt8](try #require(FileManager.default.contents(atPath: mount.disk(name))))
        let size = bytes.count
        var holes = 0
        for (start, end) in zip([0] + runs.map(\.upperBound), runs.map(\.lowerBound) + [size]) {
            #expect(bytes[start..<end].allSatisfy { $0 == 0 }, "The hole from \(start) to \(end) is zero.")
            holes += end - start
        }
        #expect(holes > 1 << 20, "The disk has holes of half a megabyte.")
        #expect(stored == size - holes, "st_blocks counts what is no hole.")
    }

    /// The runs of data that lseek(2) finds, one after the other.
    private static func runs(_ path: String) throws -> [Range<Int>] {
        let file = try OpenedFile(path)
        let size = try file.size()
        var runs: [Range<Int>] = []
        var position: Int64 = 0
        while let data = try file.next(hole: false, from: position) {
            let hole = try #require(try file.next(hole: true, from: data))
            try #require(data >= position && hole > data && hole <= size)
            // From any place within a run, the same end is found.
            let inside = data + (hole - data) / 2
            #expect(try file.next(hole: false, from: inside) == inside)
            #expect(try file.next(hole: true, from: inside) == hole)
            runs.append(Int(data)..<Int(hole))
            position = hole
        }
        return runs
    }

    @Test("cp makes a sparse and equal copy", arguments: ["raw", "qcow2", "vmdk"])
    func sparseCopy(format: String) throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check(
            """
            cd "$1"; truncate -s 500M disk
            head -c 3M /dev/urandom | dd of=disk bs=1M seek=70 conv=notrunc status=none
            qemu-img convert -f raw -O $2 disk images/disk.$2
            """, folder.path, format)
        let mount = try Mount(images)
        try Tool.check("cp", "--sparse=auto", mount.disk("disk.\(format)"), folder.file("copy"))
        let copy = try Status(folder.file("copy"))
        #expect(copy.size == 500 << 20)
        #expect((3 << 20...4 << 20).contains(copy.blocks * 512))
        try Tool.check("cmp", folder.file("disk"), folder.file("copy"))
        // It asked for the holes, and did not read them.
        let read = try #require(try mount.document("disk.\(format)")["rblockfs", "counters", "bytes-read"]?.number)
        #expect(read < 64 << 20)
    }
}
