import Foundation
import HostTools
import TestImages
import Testing

@Suite("Large images", .serialized, .enabled(if: Tool.canMount("qemu-img", "qemu-io", "dd", "jq")))
struct LargeImageTests {
    @Test("Reading all over a disk of 64 GiB keeps the server under 100 MiB", .timeLimit(.minutes(10)))
    func memory() throws {
        let folder = try TemporaryFolder()
        // A cluster in each of 2,048 L2 tables (32 MiB of tables, twice what the cache keeps), and 64 MiB of compressed
        // clusters in the two tables that are left out, twice the cache as well.
        var commands = (0..<2048).filter { !(128..<130).contains($0) }.map {
            "write -P \($0 % 255 + 1) \($0 * 32 << 20 | 0x4000) 16k"
        }
        commands.append("write -c -P 77 \(1 << 32) 64M")
        try folder.write(Array(commands.joined(separator: "\n").utf8), to: "commands")
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 -o cluster_size=16k big.qcow2 64G
            qemu-io -t unsafe big.qcow2 < commands > /dev/null
            qemu-img create -q -f vmdk big.vmdk 64G
            qemu-io -t unsafe -c 'write -P 5 10G 8M' -c 'write -P 6 60G 8M' big.vmdk > /dev/null
            """, folder.path)
        let mount = try Mount(folder.path)
        let file = try OpenedFile(mount.disk("big.qcow2"))
        // Of each table the beginning: its other clusters are zeros, and need no memory.
        for position in stride(from: 0, to: Int64(64 << 30), by: 32 << 20) { _ = try file.read(2 << 20, at: position) }
        for position in stride(from: Int64(1 << 32), to: 1 << 32 + 64 << 20, by: 1 << 20) {
            _ = try file.read(1 << 20, at: position)
        }
        #expect(try mount.document("big.qcow2")["rblockfs", "counters", "bytes-read"]?.number ?? 0 >= 4 << 30)
        let grains = try OpenedFile(mount.disk("big.vmdk"))
        for position in stride(from: 0, to: Int64(64 << 30), by: 32 << 20) {
            _ = try grains.read(1 << 20, at: position)
        }
        let counters = try #require(try mount.document("big.qcow2")["rblockfs", "counters"])
        #expect(counters["decompressions"]?.number ?? 0 >= 4096)
        #expect(counters["table-cache-misses"]?.number ?? 0 >= 2048)
        let peak = try mount.memory("VmHWM")
        #expect(peak < 100 << 10, "\(peak) KiB")
        // And the bytes are right where they are.
        for table in [0, 1, 1000, 2047] {
            let bytes = try file.read(3 << 14, at: Int64(table * 32 << 20))
            let written = [UInt8](repeating: UInt8(table % 255 + 1), count: 1 << 14)
            let zeros = [UInt8](repeating: 0, count: 1 << 14)
            #expect(bytes == zeros + written + zeros, "in L2 table \(table)")
        }
    }

    @Test("A sparse disk of 1 TiB answers at once", arguments: ["qcow2", "vmdk"])
    func oneTebibyte(format: String) throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            "cd \"$1\" && qemu-img create -q -f $2 big.$2 1T && qemu-io -c 'write -P 1 1000G 1M' big.$2", folder.path,
            format)
        #if DEBUG
            // The walk over 32,768 grain tables takes ten times as long as in the real build.
            let limit = 60.0
        #else
            let limit = 2.0
        #endif
        var start = Date.now
        func isSoon(_ what: String) {
            let seconds = Date.now.timeIntervalSince(start)
            #expect(seconds < limit, "\(what) took \(seconds) s")
            start = .now
        }
        let mount = try Mount(folder.path)
        isSoon("mounting")
        let status = try Status(mount.disk("big.\(format)"))
        isSoon("stat")
        // What takes long to count is an estimate at first: no more than the image's file has.
        #expect(status.size == 1 << 40 && (1 << 20...256 << 20).contains(status.blocks * 512))
        let document = try mount.document("big.\(format)")
        isSoon("stats.json")
        #expect(document["virtual-size"]?.number == 1 << 40)
        #expect(try wait(seconds: 60) { try Status(mount.disk("big.\(format)")).blocks * 512 == 1 << 20 })
        start = .now
        #expect(try OpenedFile(mount.disk("big.\(format)")).next(hole: false, from: 0) == 1000 << 30)
        isSoon("SEEK_DATA")
        #expect(try OpenedFile(mount.disk("big.\(format)")).read(1, at: 1000 << 30) == [1])
    }
}
