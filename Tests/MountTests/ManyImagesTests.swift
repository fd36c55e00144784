import Foundation
import HostTools
import Testing

@Suite("Many images", .serialized, .enabled(if: Tool.canMount("qemu-img", "find", "prlimit", "python3", "jq")))
struct ManyImagesTests {
    /// A folder of `count` links to one image each, so that it is made fast; names as disk-00001.qcow2.
    private func folder(of count: Int) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            "cd \"$1\" && qemu-img create -q -f qcow2 disk-00001.qcow2 1M"
                + " && python3 -c 'import os,sys\nfor i in range(2, int(sys.argv[1]) + 1):"
                + " os.link(\"disk-00001.qcow2\", \"disk-%05d.qcow2\" % i)' $2", folder.path, "\(count)")
        return folder
    }

    @Test("10,000 images are mounted at once and listed, and none is opened for it")
    func tenThousand() throws {
        let folder = try folder(of: 10_000)
        let start = Date.now
        let mount = try Mount(folder.path)
        #expect(Date.now.timeIntervalSince(start) < 60)
        let before = try mount.openFiles()
        #expect(before < 32)
        #expect(try Shell.check("ls -U -I stats.json \"$1\" | wc -l", mount.path) == "10000")
        #expect(try Shell.check("ls -l \"$1\" | grep -c '^dr-xr-xr-x'", mount.path) == "10000")
        #expect(try Shell.check("ls -I stats.json \"$1\" | sort | tail -n 1", mount.path) == "disk-10000.qcow2")
        // The server may still have had the folder open when it was asked first.
        #expect(try wait(seconds: 60) { try mount.openFiles() <= before }, "A listing opens no image.")
        let idle = try mount.openFiles()
        #expect(try mount.document("disk-05000.qcow2")["virtual-size"]?.number == 1 << 20)
        // Held open: unused, its file would be closed soon.
        let opened = try OpenedFile(mount.disk("disk-05000.qcow2"))
        #expect(try mount.openFiles() > idle, "Looking into one opens it.")
        // A node takes less than 2 KiB: 20 MiB for all, beside what a server of a test build takes for itself.
        #expect(try mount.memory("VmRSS") < 60 << 10, "KiB")
        let stats = try JSONValue(
            parsing: try #require(FileManager.default.contents(atPath: mount.file("stats.json"))))
        // The folder itself is one more.
        #expect(stats["rblockfs", "entries"]?.number == 10_001)
        #expect(stats["rblockfs", "open-images"]?.number == 1)
        #expect(stats["rblockfs", "images"]?.text == folder.path)
        #expect(stats["rblockfs", "counters", "opens"]?.number == 1)
        withExtendedLifetime(opened) {}
    }

    @Test("find and ls -R over 300 images do not run out of descriptors")
    func descriptors() throws {
        let folder = try folder(of: 300)
        let mount = try Mount(folder.path)
        try Tool.check("prlimit", "--pid", "\(mount.server)", "--nofile=180:180")
        #expect(try Shell.check("ls -lR \"$1\" | grep -c disk.raw", mount.path) == "300")
        #expect(try Shell.check("find \"$1\" -name disk.raw -size 1M | wc -l", mount.path) == "300")
        let errors = "cat \"$1\"/*/stats.json | jq -s 'map(select(.error)) | length'"
        #expect(try Shell.check(errors, mount.path) == "0")
        #expect(try mount.openFiles() <= 180)
    }
}
