import Foundation
import HostTools
import TestImages
import Testing

@Suite("Copies of large sparse disks", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cp", "tar", "cmp")))
struct SparseCopyTests {
    /// The pieces of data on the disk: 1 MiB each, at places that are no multiple of one another.
    private static let count = 100

    /// The place of a piece on a disk of `size` bytes.
    private static func place(_ piece: Int, size: Int64) -> Int64 {
        (Int64(piece) * (size >> 20) / Int64(count) + Int64(piece * 7 % 9)) << 20
    }

    /// A mount of one image of `size` bytes with the pieces on it; each is filled with a number of its own.
    private static func mount(_ format: String, size: Int64, _ folder: TemporaryFolder) throws -> Mount {
        let writes = (0..<count).map { "write -q -P \($0 + 1) \(place($0, size: size)) 1M" }
        try folder.write(Array(writes.joined(separator: "\n").utf8), to: "writes")
        let images = try folder.makeFolder("images")
        try Shell.check(
            "cd \"$1\" && qemu-img create -q -f $2 images/big.$2 $3 && qemu-io -t unsafe -f $2 images/big.$2 <writes >/dev/null",
            folder.path, format, "\(size)")
        return try Mount(images)
    }

    /// Whether `copy` has the size, the blocks and the bytes of the disk, and what the mount gave for it is no more than
    /// the data and what the kernel read ahead of it.
    private static func check(_ copy: String, _ mount: Mount, _ format: String, size: Int64, readAhead: Int) throws {
        let status = try Status(copy)
        #expect(status.size == size)
        // And the blocks that the file system needs to tell where they lie.
        #expect((100 << 20...102 << 20).contains(status.blocks * 512))
        let file = try OpenedFile(copy)
        for piece in 0..<count {
            let place = place(piece, size: size)
            let edges = try file.read(1 << 20 + 2, at: max(0, place - 1))
            let zeros = [UInt8](repeating: 0, count: place > 0 ? 1 : 0)
            let data = [UInt8](repeating: UInt8(piece + 1), count: 1 << 20)
            #expect(edges.starts(with: zeros + data) && edges.last == 0, "at \(place)")
        }
        let read = try #require(try mount.document("big.\(format)")["rblockfs", "counters", "bytes-read"]?.number)
        #expect((100 << 20...(100 << 20) + count * readAhead).contains(read), "\(read) bytes were read")
    }

    @Test(
        "cp of a disk of 1 TiB with 100 MiB on it reads and writes little more than these",
        arguments: ["qcow2", "vmdk"])
    func copy(format: String) throws {
        let folder = try TemporaryFolder()
        let mount = try Self.mount(format, size: 1 << 40, folder)
        try Tool.check("cp", "--sparse=auto", mount.disk("big.\(format)"), folder.file("copy"))
        // It reads one piece after the other, and the kernel reads ahead in the hole behind each: up to three times what
        // was read of it.
        try Self.check(folder.file("copy"), mount, format, size: 1 << 40, readAhead: 4 << 20)
    }

    @Test("So do tar -S and qemu-img convert", arguments: ["qcow2", "vmdk"], ["tar", "qemu-img"])
    func otherTools(format: String, tool: String) throws {
        let folder = try TemporaryFolder()
        // The walks over all tables, which a test build is slow at, are for cp.
        let size: Int64 = 16 << 30
        let mount = try Self.mount(format, size: size, folder)
        let script =
            tool == "tar"
            ? "set -o pipefail; tar -cSf - -C \"${1%/*}\" disk.raw | tar -xSf - --transform s/disk.raw/copy/ -C \"${2%/*}\""
            : "qemu-img convert -f raw -O raw \"$1\" \"$2\""
        try Shell.check(script, mount.disk("big.\(format)"), folder.file("copy"))
        try Self.check(folder.file("copy"), mount, format, size: size, readAhead: 4 << 20)
    }
}
