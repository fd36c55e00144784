import Foundation
import HostTools
import TestImages
import Testing

@Suite("Images that change under the mount", .enabled(if: Tool.canMount("qemu-img", "cmp")))
struct ChangeTests {
    /// Raw disks `old.raw` and `new.raw` of one size, one time and different bytes; the first is `images/a.raw` as well,
    /// which backs `images/top.qcow2`.
    private func makeFolder() throws -> (folder: TemporaryFolder, images: String) {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk(folder.file("old.raw"), size: 1 << 20, seed: 1)
        try Pattern.writeDisk(folder.file("new.raw"), size: 1 << 20, seed: 2)
        try Shell.check(
            """
            cd "$1"; touch -d 2020-01-01 old.raw new.raw; cp -p old.raw images/a.raw
            qemu-img create -q -f qcow2 -b a.raw -F raw images/top.qcow2
            """, folder.path)
        return (folder, images)
    }

    /// Puts `new.raw` in the place of `images/a.raw`, as a program does that writes a new file first.
    private func replace(_ folder: TemporaryFolder) throws {
        try Shell.check("cd \"$1\" && cp -p new.raw temporary && mv temporary images/a.raw", folder.path)
    }

    @Test("An image that is replaced while it is not open is read anew, though size and time are the same")
    func replaced() throws {
        let (folder, images) = try makeFolder()
        let mount = try Mount(images)
        for name in ["a.raw", "top.qcow2"] { try Tool.check("cmp", folder.file("old.raw"), mount.disk(name)) }
        try replace(folder)
        for name in ["a.raw", "top.qcow2"] { try Tool.check("cmp", folder.file("new.raw"), mount.disk(name)) }
    }

    @Test("So it is when the image had been closed in between, because many others were opened")
    func replacedWhileClosed() throws {
        let (folder, images) = try makeFolder()
        // At most 128 stay open.
        try Shell.check("cd \"$1\" && for i in {1..150}; do ln a.raw other$i.raw; done", images)
        let mount = try Mount(images)
        for name in ["a.raw", "top.qcow2"] { try Tool.check("cmp", folder.file("old.raw"), mount.disk(name)) }
        // Only the descriptors of the others stay.
        try Shell.check("cat \"$1\"/other*/stats.json >/dev/null", mount.path)
        try replace(folder)
        for name in ["a.raw", "top.qcow2"] { try Tool.check("cmp", folder.file("new.raw"), mount.disk(name)) }
    }

    @Test("Who has the disk open goes on reading the one that was opened")
    func keptOpen() throws {
        let (folder, images) = try makeFolder()
        let mount = try Mount(images)
        let old = [UInt8](try #require(FileManager.default.contents(atPath: folder.file("old.raw"))))
        let new = [UInt8](try #require(FileManager.default.contents(atPath: folder.file("new.raw"))))
        var file: OpenedFile? = try OpenedFile(mount.disk("a.raw"))
        #expect(try file?.read(4096, at: 0) == Array(old[..<4096]))
        try replace(folder)
        #expect(try file?.read(1 << 20, at: 0) == old)
        file = nil
        // The kernel tells the server of the last close a little later.
        #expect(wait(seconds: 60) { (try? OpenedFile(mount.disk("a.raw")).read(1 << 20, at: 0)) == new })
    }

    @Test("A new size shows after a second or two")
    func resized() throws {
        let (folder, images) = try makeFolder()
        let mount = try Mount(images)
        #expect(try Status(mount.disk("a.raw")).size == 1 << 20)
        try Shell.check(
            "cd \"$1\" && qemu-img convert -O qcow2 new.raw t && qemu-img resize -q t 3M && mv t images/top.qcow2"
                + " && head -c 5120 /dev/urandom >> images/a.raw", folder.path)
        #expect(try wait(seconds: 60) { try Status(mount.disk("a.raw")).size == 1 << 20 | 5120 })
        #expect(try wait(seconds: 60) { try Status(mount.disk("top.qcow2")).size == 3 << 20 })
        try Shell.check("cmp -n 1053696 \"$1\" \"$2\"", "\(images)/a.raw", mount.disk("a.raw"))
        try Shell.check("cmp -n 1048576 \"$1\" \"$2\"", folder.file("new.raw"), mount.disk("top.qcow2"))
    }
}
