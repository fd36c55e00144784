import Foundation
import HostTools
import TestImages
import Testing

@Suite("Images that cannot be read", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "mkfifo", "cmp")))
struct RefusalTests {
    /// What stats.json says is wrong with an image that has no disk.raw.
    private func refusal(_ mount: Mount, _ name: String) throws -> (code: String, message: String) {
        let entries = try Shell.check("timeout 60 ls \"$1\"", mount.file(name))
        #expect(entries == "stats.json", "\(name) has no disk")
        #expect(try Shell.run("timeout 60 cat \"$1\"", mount.disk(name)).status == 1)
        let error = try #require(try mount.document(name)["error"], "\(name) has an error")
        #expect(error["offset"] == nil || error["offset"]?.number != nil)
        return (try #require(error["code"]?.text), try #require(error["message"]?.text))
    }

    @Test("What is no image has stats.json with the reason, and no disk.raw", .timeLimit(.minutes(10)))
    func reasons() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"
            head -c 100000 /dev/urandom > garbage.qcow2; head -c 100000 /dev/urandom > garbage.vmdk
            : > empty.qcow2; : > empty.vmdk; printf 'QFI\\373' > short.qcow2
            qemu-img create -q -u -f qcow2 -b gone.raw -F raw orphan.qcow2 1M
            mkfifo pipe.qcow2; mkdir folder.qcow2; ln -s nowhere.raw dangling.qcow2; ln -s /dev/zero device.raw
            ln -s loop.raw loop.raw
            """, folder.path)
        let mount = try Mount(folder.path)
        #expect(try Shell.check("ls \"$1\"/folder.qcow2", mount.path) == "", "A folder is one, whatever its name.")
        for (name, code, words) in [
            ("garbage.qcow2", "corrupt", "magic"), ("garbage.vmdk", "corrupt", "VMDK"), ("empty.qcow2", "", "is empty"),
            ("empty.vmdk", "", "is empty"), ("short.qcow2", "", "0x4"), ("orphan.qcow2", "", "gone.raw"),
            ("pipe.qcow2", "denied", "FIFO"), ("device.raw", "denied", "/dev"), ("dangling.qcow2", "", "No such file"),
            ("loop.raw", "", "links"),
        ] {
            let refusal = try refusal(mount, name)
            #expect(code.isEmpty || refusal.code == code, "\(name): \(refusal)")
            #expect(refusal.message.contains(words) && refusal.message.contains(name), "\(name): \(refusal)")
        }
        #expect(mount.isServing)
        try mount.unmount()
    }

    @Test("Damage inside an image gives EIO there, and nowhere else; the server and other images go on")
    func damaged() throws {
        let gallery = try Gallery(["plain.qcow2", "zlib.qcow2", "split-sparse.vmdk"], seed: 1)
        try Shell.check(
            """
            cd "$1"
            qemu-img create -q -f qcow2 cut.qcow2 4M; qemu-io -c 'write -P 9 0 4M' cut.qcow2 >/dev/null
            truncate -s -2M cut.qcow2
            qemu-img create -q -f qcow2 l2.qcow2 4M; qemu-io -c 'write -P 9 0 1M' l2.qcow2 >/dev/null
            # The first entry of the first L2 table, the fifth cluster of a new image: an offset that is not aligned.
            printf '\\200\\0\\0\\0\\0\\5\\2\\0' | dd of=l2.qcow2 bs=1 seek=$((4 * 65536)) conv=notrunc status=none
            head -c 2M /dev/urandom > garbage.qcow2
            """, gallery.images)
        let mount = try Mount(gallery.images)
        for name in ["cut.qcow2", "l2.qcow2"] where try Shell.run("test -e \"$1\"", mount.disk(name)).status == 0 {
            let end = try Status(mount.disk(name)).size
            let file = try OpenedFile(mount.disk(name))
            let failure = #expect(throws: PosixFailure.self, "\(name)") {
                for offset in stride(from: Int64(0), to: end, by: 65536) { _ = try file.read(65536, at: offset) }
            }
            #expect(failure?.number == EIO, "\(name)")
            #expect(try mount.document(name)["rblockfs", "counters", "read-errors"]?.number ?? 0 > 0, "\(name)")
        }
        #expect(try OpenedFile(mount.disk("cut.qcow2")).read(65536, at: 0) == Array(repeating: 9, count: 65536))
        #expect(try refusal(mount, "garbage.qcow2").code == "corrupt")
        for name in ["plain.qcow2", "zlib.qcow2", "split-sparse.vmdk"] {
            try Tool.check("cmp", "-n", "\(try Status(gallery.disk).size)", gallery.disk, mount.disk(name))
        }
        #expect(mount.isServing)
    }

    @Test("A good image keeps its bytes while others beside it fail", .timeLimit(.minutes(10)))
    func besideReaders() throws {
        let gallery = try Gallery(["zstd.qcow2", "sparse.vmdk"], seed: 2)
        try Shell.check(
            "cd \"$1\" && for i in {1..8}; do head -c 200k /dev/urandom > bad$i.qcow2; done", gallery.images)
        let mount = try Mount(gallery.images)
        try Shell.check(
            """
            { for turn in {1..8}; do cat "$1"/bad*/disk.raw "$1"/bad*/stats.json >/dev/null 2>&1; done; true; } &
            for turn in {1..3}; do for disk in "$1"/{zstd.qcow2,sparse.vmdk}/disk.raw; do
                dd if="$disk" bs=777k iflag=direct status=none | head -c $(stat -c %s "$2") | cmp - "$2"
            done; done; wait
            """, mount.path, gallery.disk)
        #expect(mount.isServing)
    }

    @Test("A backing file that is put in place after a failure is found")
    func recovery() throws {
        let gallery = try Gallery(["disk.raw"], seed: 3)
        try Shell.check(
            "cd \"$1\" && qemu-img create -q -f qcow2 -b disk.raw -F raw top.qcow2 && mv disk.raw ../disk.away",
            gallery.images)
        let mount = try Mount(gallery.images)
        #expect(try refusal(mount, "top.qcow2").message.contains("disk.raw"))
        try Shell.check("mv \"$1\"/../disk.away \"$1\"/disk.raw", gallery.images)
        #expect(wait(seconds: 60) { (try? Status(mount.disk("top.qcow2"))) != nil })
        try Tool.check("cmp", gallery.disk, mount.disk("top.qcow2"))
        #expect(try mount.document("top.qcow2")["error"] == nil)
    }
}
