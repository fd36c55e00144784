import Foundation
import HostTools
import Testing

@Suite("Reading ahead", .enabled(if: Tool.canMount("qemu-img", "dd", "cmp", "shuf")))
struct ReadAheadTests {
    private static let clusters = 256

    /// A mount of `zlib.qcow2`, all of whose clusters of 64 KiB are compressed, and the disk that it was made from.
    private func mount() throws -> (folder: TemporaryFolder, mount: Mount, disk: String) {
        let folder = try TemporaryFolder()
        let disk = folder.file("disk")
        // Text compresses; every line tells its number.
        try Shell.check("seq -f 'line %.0f of a disk that compresses well enough' 1 400000 | head -c 16M >\"$1\"", disk)
        _ = try folder.makeFolder("images")
        try Tool.check(
            "qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", "-c", disk, folder.file("images/zlib.qcow2"))
        return (folder, try Mount(folder.file("images")), disk)
    }

    private func decompressions(_ mount: Mount) throws -> Int {
        Int(try mount.document("zlib.qcow2")["rblockfs", "counters", "decompressions"]?.number ?? 0)
    }

    @Test("A reader in order finds the next clusters inflated, and each is inflated once")
    func inOrder() throws {
        let (folder, mount, disk) = try mount()
        try withExtendedLifetime(folder) {
            let image = mount.disk("zlib.qcow2")
            try Shell.check("dd if=\"$1\" of=/dev/null bs=64k count=32 iflag=direct status=none", image)
            // The 32 that were read, by requests that the kernel does not add to, 4 MiB behind them, and the last one, in which
            // stats.json looks for what the member of a RAID has there.
            #expect(try wait(seconds: 60) { try decompressions(mount) == 32 + 64 + 1 })
            try Shell.check("cmp \"$1\" \"$2\"", disk, image)
            #expect(try decompressions(mount) == Self.clusters)
        }
        try mount.unmount()
    }

    @Test("A reader here and there has nothing inflated that they did not ask for")
    func inNoOrder() throws {
        let (folder, mount, disk) = try mount()
        try withExtendedLifetime(folder) {
            // What stats.json itself reads: the first cluster and the last.
            #expect(try decompressions(mount) == 2)
            // At steps of 4 MiB back and forth, so that no two follow each other.
            try Shell.check(
                """
                for place in 64 128 192 1 65 129 193 2 66 130 194 3; do
                    dd bs=64k count=1 skip=$place iflag=direct status=none <"$2" | cmp -n 65536 -i 0:$((place * 65536)) - "$1"
                done
                """, disk, mount.disk("zlib.qcow2"))
            #expect(try decompressions(mount) == 2 + 12)
        }
        try mount.unmount()
    }
}
