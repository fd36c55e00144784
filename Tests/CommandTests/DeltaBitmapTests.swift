import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `rblock delta from a bitmap` {
    /// A folder with `base.qcow2`, and `disk.qcow2` with bitmaps: `all` was there before all changes, `disabled` was
    /// disabled after the first, `torn` is in use still.
    private func makeDisks() throws -> DeltaFolder {
        let disks = try DeltaFolder()
        try disks.makePair(seed: 30)
        try Shell.check(
            """
            cd "$1"
            qemu-img convert -f raw -O qcow2 base.raw base.qcow2
            cp base.qcow2 disk.qcow2
            qemu-img bitmap --add -g 4k disk.qcow2 all
            qemu-img bitmap --add -g 64k disk.qcow2 disabled
            # What is written again, and as it was, is dirty too.
            qemu-io -f qcow2 -c 'write -P 1 1M 1k' -c 'write -z 2M 64k' disk.qcow2 >/dev/null
            qemu-img convert -f qcow2 -O raw disk.qcow2 was.raw
            qemu-io -f raw -c 'write -P 0 3M 4k' base.raw >/dev/null
            qemu-img bitmap --disable disk.qcow2 disabled
            qemu-io -f qcow2 -c 'write -P 3 4M 4k' disk.qcow2 >/dev/null
            qemu-img convert -f qcow2 -O raw disk.qcow2 now.raw
            """, disks.path)
        return disks
    }

    @Test func `holds what is marked, and compares nothing`() throws {
        let disks = try makeDisks()
        try disks.delta("--from-bitmap", "all", "base.qcow2", "disk.qcow2", "d.qcow2")
        #expect(try disks.granules(65536, in: "d.qcow2") == [16, 32, 64])
        try disks.expect("d.qcow2", isDisk: "now.raw")
        try disks.delta(
            "--from-bitmap", "all", "--cluster-size", "4K", "base.qcow2", "disk.qcow2", "small.qcow2")
        #expect(try disks.granules(4096, in: "small.qcow2") == Set([256, 1024] + Array(512..<528)))
        try disks.expect("small.qcow2", isDisk: "now.raw")
        // Changed behind the back of the bitmap: what it does not mark is not looked at.
        try Shell.check("qemu-io -f qcow2 -c 'write -P 9 0 64k' \"$1/base.qcow2\" >/dev/null", disks.path)
        try disks.delta("--from-bitmap", "all", "base.qcow2", "disk.qcow2", "other.qcow2")
        #expect(try disks.granules(65536, in: "other.qcow2") == [16, 32, 64])
    }

    @Test func `says what a disabled one does not know`() throws {
        let disks = try makeDisks()
        let result = try disks.run("--from-bitmap", "disabled", "base.qcow2", "disk.qcow2", "d.qcow2")
        #expect(result.status == 0 && result.errors.contains("\"disabled\" is disabled"), "\(result.errors)")
        #expect(try disks.granules(65536, in: "d.qcow2") == [16, 32])
        try disks.expect("d.qcow2", isDisk: "was.raw")
    }

    @Test func `refuses one from which nothing can be learned, and says why`() throws {
        let disks = try makeDisks()
        // As a program leaves it that is killed while it writes to the image.
        let path = disks.file("disk.qcow2")
        try Shell.check(
            """
            qemu-io -f qcow2 -c 'write 0 1k' -c 'sigraise 9' "$1" >/dev/null 2>&1 || true
            qemu-img info -U "$1" | grep -q in-use
            """, path)
        for (arguments, words) in [
            (["--from-bitmap", "all", "base.qcow2", "disk.qcow2"], ["bitmap \"all\"", "was not saved"]),
            (["--from-bitmap", "any", "base.qcow2", "disk.qcow2"], ["no bitmap \"any\"", "\"all\", \"disabled\""]),
            (["--from-bitmap", "any", "base.qcow2", "base.qcow2"], ["no bitmap \"any\"", "it has none"]),
            (["--from-bitmap", "all", "base.qcow2", "base.raw"], ["is raw, which has no dirty bitmaps"]),
        ] {
            let result = try RBlock.run(["delta"] + arguments + ["d.qcow2"], in: disks.path)
            #expect(result.status == 1, "\(arguments): \(result.errors)")
            for word in words { #expect(result.errors.contains(word), "\(arguments): \(result.errors)") }
            #expect(!FileManager.default.fileExists(atPath: disks.file("d.qcow2")))
        }
    }
}
