import Foundation
import HostTools
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
        try Shell.check("ls -I stats.json \"$1\"", mount.file(path)).split(separator: "\n").map { String($0) }
    }

    /// Waits until a folder of the mount has `expected`: where the processors are busy, links and files may not be looked up in
    /// time, and are shown as they look.
    private func expectNames(
        _ expected: [String], in mount: Mount, _ path: String = "", at location: SourceLocation = #_sourceLocation
    ) throws {
        var found: [String] = []
        _ = try wait(seconds: 60) {
            found = try names(mount, path)
            return found == expected
        }
        #expect(found == expected, sourceLocation: location)
    }

    @Test("Images that are added, renamed and removed appear, change their names and vanish")
    func comingAndGoing() throws {
        let (folder, images) = try makeFolder()
        defer { withExtendedLifetime(folder) {} }
        let mount = try Mount(images)
        try expectNames(["a.raw"], in: mount)
        try Shell.check("cd \"$1\" && qemu-img create -q -f qcow2 b.qcow2 3M && cp a.raw c.raw", images)
        try expectNames(["a.raw", "b.qcow2", "c.raw"], in: mount)
        #expect(try Status(mount.disk("b.qcow2")).size == 3 << 20)
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("c.raw"))
        try Shell.check("cd \"$1\" && mv b.qcow2 d.qcow2 && rm c.raw", images)
        try expectNames(["a.raw", "d.qcow2"], in: mount)
        #expect(try wait(seconds: 60) { try Shell.run("stat \"$1\"", mount.disk("c.raw")).status != 0 })
        #expect(try Status(mount.disk("d.qcow2")).size == 3 << 20)
    }

    @Test("A name that was looked for before its image came is found when it is there")
    func negativeEntries() throws {
        let (folder, images) = try makeFolder()
        defer { withExtendedLifetime(folder) {} }
        let mount = try Mount(images)
        #expect(try Shell.run("stat \"$1\"", mount.disk("new.raw")).status != 0)
        try Shell.check("cp \"$1\"/a.raw \"$1\"/new.raw", images)
        #expect(wait(seconds: 60) { (try? Status(mount.disk("new.raw")).size) == 1 << 20 })
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
        #expect(try wait(seconds: 60) { try names(mount).count == 41 })
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
        try expectNames(["a.raw", "deep", "short"], in: mount)
        try expectNames(["er"], in: mount, "deep")
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("deep/er/b.raw"))
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("short/b.raw"))
        #expect(try Shell.check("find \"$1\" -name disk.raw | wc -l", mount.path) == "3")
        try Shell.check("cd \"$1\" && mkdir deep/new && mv a.raw deep/new/", images)
        try expectNames(["er", "new"], in: mount, "deep")
        try expectNames(["a.raw"], in: mount, "deep/new")
        try Shell.check("rm -r \"$1\"/deep", images)
        // The link leads nowhere now, and an image of that name would say so: it has no image's name.
        try expectNames([], in: mount)
    }

    @Test("--allow-path lets links to folders lead there")
    func allowedFolder() throws {
        let (folder, images) = try makeFolder()
        try Shell.check("cd \"$1\" && mkdir out && cp images/a.raw out/ && ln -s \"$1/out\" images/out", folder.path)
        let mount = try Mount(images, options: ["--allow-path", folder.file("out")])
        try expectNames(["a.raw", "out"], in: mount)
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
        #expect(wait(seconds: 60) { (try? Status(mount.disk("a.raw")).size) == 2 << 20 })
        #expect(try OpenedFile(mount.disk("a.raw")).read(2 << 20, at: 0) == new)
        #expect(try reader.read(1 << 20, at: 0) == old, "The one that was opened is still there.")
        #expect(try OpenedFile(mount.disk("a.raw")).read(4096, at: 0) == Array(new[..<4096]))
    }
}

@Suite("An image in use by another program", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp", "jq")))
struct UsedImageTests {
    @Test("One that is written to while it is read is not read on, and is read anew by who opens it")
    func writtenTo() throws {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("disk.raw"), size: 1 << 20, seed: 4)
        try Shell.check(
            "cd \"$1\" && mkdir images && qemu-img convert -O qcow2 disk.raw images/a.qcow2", folder.path)
        let mount = try Mount(folder.file("images"))
        let reader = try OpenedFile(mount.disk("a.qcow2"))
        #expect(try reader.read(4096, at: 0).count == 4096)
        try Shell.check(
            "cd \"$1\" && for f in images/a.qcow2 disk.raw; do qemu-io -f ${f##*.} -c 'write -q -P 9 512k 64k' $f; done",
            folder.path)
        // It is looked at every 20 ms, and what was read before that stays in the kernel's cache, unless it is dropped.
        #expect(
            wait(seconds: 60) {
                posix_fadvise(reader.descriptor, 0, 0, POSIX_FADV_DONTNEED)
                do { _ = try reader.read(65536, at: 900 << 10) } catch { return "\(error)".contains("Stale") }
                return false
            })
        try Tool.check("cmp", folder.file("disk.raw"), mount.disk("a.qcow2"))
        let notes = try mount.document("a.qcow2")["rblockfs", "notes"]?.array?.compactMap(\.text) ?? []
        #expect(notes.contains { $0.contains("changed or replaced") }, "\(notes)")
    }

    @Test("stats.json says who has an image in use: QEMU, reading or writing")
    func locks() throws {
        let folder = try TemporaryFolder()
        try Shell.check("cd \"$1\" && qemu-img create -q -f qcow2 a.qcow2 1M", folder.path)
        let mount = try Mount(folder.path)
        let program = """
            qemu-io $3 -c 'sleep 3000' "$2" >/dev/null & 
            for i in $(seq 50); do
                use=$(jq -c '.rblockfs."in-use".writing' "$1"); if [ $use != null ]; then break; fi; sleep 0.05
            done
            wait; echo $use $(jq -c '.rblockfs."in-use"' "$1")
            """
        for (option, writing) in [("-f qcow2", "true null"), ("-r", "false null")] {
            let answer = try Shell.check(program, mount.stats("a.qcow2"), folder.file("a.qcow2"), option)
            #expect(answer == writing)
        }
    }

    @Test("The stats.json of the mount counts what all images were asked for, and says how long that took")
    func totals() throws {
        let gallery = try Gallery(["plain.qcow2", "disk.raw"], seed: 5)
        // What the kernel reads by itself is not counted.
        let mount = try Mount(gallery.images, options: ["--kernel-path", "off"])
        for name in ["plain.qcow2", "disk.raw"] {
            try Shell.check("dd if=\"$1\" bs=64k iflag=direct of=/dev/null status=none", mount.disk(name))
        }
        let stats = try JSONValue(
            parsing: try #require(FileManager.default.contents(atPath: mount.file("stats.json"))))
        let counters = try #require(stats["rblockfs", "counters"])
        let size = Int(try Status(gallery.disk).size)
        #expect(counters["bytes-read"]?.number == 2 * size)
        #expect(counters["opens"]?.number == 2)
        let latency = try #require(counters["read-microseconds"])
        let figures = ["p50", "p90", "p99", "max"].compactMap { latency[$0]?.number }
        #expect(figures.count == 4 && figures == figures.sorted() && figures[3] > 0)
        #expect(stats["rblockfs", "table-cache", "used"]?.number ?? 0 > 0)
        let text = try Shell.check("wc -c < \"$1\"", mount.file("stats.json"))
        #expect(text == "\(try Status(mount.file("stats.json")).size)")
    }
}
