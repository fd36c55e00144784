import Foundation
import TestImages
import Testing

@Suite("A folder that changes under the mount", .enabled(if: Tool.canMount("qemu-img", "cmp", "find")))
struct LiveFolderTests {
    /// A folder `images` with `a.raw`, of 1 MiB.
    private func makeFolder() throws -> (folder: TemporaryFolder, images: String) {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk(folder.file("images/a.raw"), size: 1 << 20, seed: 1)
        return (folder, images)
    }

    private func names(_ mount: Mount, _ path: String = "") throws -> [String] {
        try Shell.check("ls \"$1\"", mount.file(path)).split(separator: "\n").map { String($0) }
    }

    @Test("Images that are added, renamed and removed appear, change their names and vanish")
    func comingAndGoing() throws {
        let (folder, images) = try makeFolder()
        defer { withExtendedLifetime(folder) {} }
        let mount = try Mount(images)
        #expect(try names(mount) == ["a.raw"])
        try Shell.check("cd \"$1\" && qemu-img create -q -f qcow2 b.qcow2 3M && cp a.raw c.raw", images)
        #expect(try wait(seconds: 5) { try names(mount) == ["a.raw", "b.qcow2", "c.raw"] })
        #expect(try Status(mount.disk("b.qcow2")).size == 3 << 20)
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("c.raw"))
        try Shell.check("cd \"$1\" && mv b.qcow2 d.qcow2 && rm c.raw", images)
        #expect(try wait(seconds: 5) { try names(mount) == ["a.raw", "d.qcow2"] })
        #expect(try wait(seconds: 5) { try Shell.run("stat \"$1\"", mount.disk("c.raw")).status != 0 })
        #expect(try Status(mount.disk("d.qcow2")).size == 3 << 20)
    }

    @Test("A name that was looked for before its image came is found when it is there")
    func negativeEntries() throws {
        let (folder, images) = try makeFolder()
        defer { withExtendedLifetime(folder) {} }
        let mount = try Mount(images)
        #expect(try Shell.run("stat \"$1\"", mount.disk("new.raw")).status != 0)
        try Shell.check("cp \"$1\"/a.raw \"$1\"/new.raw", images)
        #expect(wait(seconds: 5) { (try? Status(mount.disk("new.raw")).size) == 1 << 20 })
    }

    @Test("Two changes within one tick of the clock are both seen")
    func sameTick() throws {
        let (folder, images) = try makeFolder()
        defer { withExtendedLifetime(folder) {} }
        let mount = try Mount(images)
        for round in 1...20 {
            try Shell.check("cp --reflink=auto \"$1\"/a.raw \"$1\"/x$2.raw", images, "\(round)")
            _ = try names(mount)
            try Shell.check("ln \"$1\"/a.raw \"$1\"/y$2.raw", images, "\(round)")
        }
        #expect(try wait(seconds: 5) { try names(mount).count == 41 })
    }

    @Test("Subfolders are folders, also those that come later; links to folders lead in, never back or out")
    func subfolders() throws {
        let (folder, images) = try makeFolder()
        try Shell.check(
            """
            cd "$1"; mkdir -p images/deep/er outside; cp images/a.raw images/deep/er/b.raw; cp images/a.raw outside/
            cd images; ln -s deep/er short; ln -s ../.. deep/up; ln -s .. deep/back; ln -s "$1/outside" out
            """, folder.path)
        let mount = try Mount(images)
        #expect(try names(mount) == ["a.raw", "deep", "short"])
        #expect(try names(mount, "deep") == ["er"])
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("deep/er/b.raw"))
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("short/b.raw"))
        #expect(try Shell.check("find \"$1\" -name disk.raw | wc -l", mount.path) == "3")
        try Shell.check("cd \"$1\" && mkdir deep/new && mv a.raw deep/new/", images)
        #expect(try wait(seconds: 5) { try names(mount, "deep") == ["er", "new"] })
        #expect(try names(mount, "deep/new") == ["a.raw"])
        try Shell.check("rm -r \"$1\"/deep", images)
        // The link leads nowhere now, and an image of that name would say so: it has no image's name.
        #expect(try wait(seconds: 5) { try names(mount) == [] })
    }

    @Test("--allow-path lets links to folders lead there")
    func allowedFolder() throws {
        let (folder, images) = try makeFolder()
        try Shell.check("cd \"$1\" && mkdir out && cp images/a.raw out/ && ln -s \"$1/out\" images/out", folder.path)
        let mount = try Mount(images, options: ["--allow-path", folder.file("out")])
        #expect(try names(mount) == ["a.raw", "out"])
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("out/a.raw"))
    }

    @Test("A reader keeps the file that it opened, and who comes after its replacement sees the new one")
    func replacedWhileRead() throws {
        let (folder, images) = try makeFolder()
        try Pattern.writeDisk(folder.file("new.raw"), size: 2 << 20, seed: 2)
        let old = [UInt8](try #require(FileManager.default.contents(atPath: "\(images)/a.raw")))
        let new = [UInt8](try #require(FileManager.default.contents(atPath: folder.file("new.raw"))))
        let mount = try Mount(images)
        let reader = try OpenedFile(mount.disk("a.raw"))
        #expect(try reader.read(4096, at: 0) == Array(old[..<4096]))
        try Shell.check("mv \"$1\"/new.raw \"$1\"/images/a.raw", folder.path)
        #expect(wait(seconds: 5) { (try? Status(mount.disk("a.raw")).size) == 2 << 20 })
        #expect(try OpenedFile(mount.disk("a.raw")).read(2 << 20, at: 0) == new)
        #expect(try reader.read(1 << 20, at: 0) == old, "The one that was opened is still there.")
        #expect(try OpenedFile(mount.disk("a.raw")).read(4096, at: 0) == Array(new[..<4096]))
    }
}
