import Foundation
import HostTools
import TestImages
import Testing

@Suite("Files of guests whose images change", .enabled(if: Tool.canMount("mkfs.ext4", "qemu-img", "python3")))
struct GuestChangeTests {
    /// Guests `old.raw` and `new.raw`, of one size and time; the first is `images/a.raw` as well, which backs `images/top.qcow2`.
    private func makeFolder() throws -> (folder: TemporaryFolder, images: String) {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; mkdir -p images
            for name in old new; do
                mkdir -p $name/etc $name/only-$name; head -c 3M /dev/zero | tr '\\0' ${name:0:1} >$name/etc/large; echo $name >$name/etc/name
                ln -s /only-$name $name/link; mkfs.ext4 -q -d $name $name.raw 16M; touch -d 2020-01-01 $name.raw
            done
            cp -p old.raw images/a.raw; qemu-img create -q -f qcow2 -b a.raw -F raw images/top.qcow2
            """, folder.path)
        return (folder, folder.file("images"))
    }

    private func replace(_ folder: TemporaryFolder, by name: String = "new") throws {
        try Shell.check("cd \"$1\" && cp -p $2.raw temporary && mv temporary images/a.raw", folder.path, name)
    }

    @Test func `of an image that is replaced nothing old is read any more`() throws {
        let (folder, images) = try makeFolder()
        let mount = try Mount(images, options: ["--files"])
        for turn in 0..<6 {
            let (now, before) = turn % 2 == 0 ? ("old", "new") : ("new", "old")
            if turn > 0 { try replace(folder, by: now) }
            for image in ["a.raw", "top.qcow2"] {
                let top = mount.file("\(image)/files")
                // The kernel may know names and attributes for a second; what is opened is looked up again.
                #expect(try Shell.check("cat \"$1\"/etc/name", top) == now, "\(turn) \(image)")
                #expect(
                    try Shell.check("head -c 4 \"$1\"/etc/large", top)
                        == String(repeating: String(now.prefix(1)), count: 4))
                #expect(try Shell.check("ls -d \"$1\"/only-*", top) == "\(top)/only-\(now)", "\(turn) \(image)")
                #expect(try Shell.check("cd \"$1\"/link && pwd -P", top) == "\(top)/only-\(now)")
                #expect(try Shell.run("ls \"$1\"/only-$2", top, before).status != 0)
            }
        }
    }

    @Test func `an open file of it is read on where it was replaced, and is refused where it was written to`()
        throws
    {
        let (folder, images) = try makeFolder()
        let mount = try Mount(images, options: ["--files"])
        let path = mount.file("a.raw/files/etc/large")
        do {
            let file = try OpenedFile(path)
            #expect(try file.read(1, at: 0) == Array("o".utf8))
            try replace(folder)
            #expect(try file.read(1, at: 2 << 20) == Array("o".utf8))
            // Whoever comes by its name gets the new one.
            #expect(wait(seconds: 20) { (try? OpenedFile(path).read(1, at: 2 << 20)) == Array("n".utf8) })
        }
        let file = try OpenedFile(path)
        #expect(try file.read(1, at: 0) == Array("n".utf8))
        try Shell.check("dd if=\"$1\"/old.raw of=\"$1\"/images/a.raw conv=notrunc status=none", folder.path)
        #expect(wait(seconds: 20) { (try? file.read(1, at: (3 << 20) - 1)) == nil })
        #expect(wait(seconds: 20) { (try? Shell.check("cat \"$1\"", mount.file("a.raw/files/etc/name"))) == "old" })
        #expect(try OpenedFile(path).read(1, at: (3 << 20) - 1) == Array("o".utf8))
    }

    @Test func `a working directory in it ends with the image, and no other image is held up`() throws {
        let (folder, images) = try makeFolder()
        let mount = try Mount(images, options: ["--files"])
        let result = try Shell.run(
            """
            cd "$1"/a.raw/files/etc; cat name; mv "$2"/images/a.raw "$2"/gone; sleep 1.2; cat name 2>&1; ls 2>&1
            cd "$1"; ls; cat "$1"/a.raw/files/etc/name 2>&1; true
            """, mount.path, folder.path)
        let lines = result.text.split(separator: "\n").map(String.init)
        #expect(
            lines.first == "old" && lines.filter { $0 == "old" || $0 == "name" || $0 == "large" }.count == 1, "\(lines)"
        )
        #expect(lines.contains("stats.json") && !lines.contains("a.raw"), "\(lines)")
        // Nothing holds the file that has lost its name.
        #expect(
            try wait(seconds: 20) {
                try Shell.run("ls -l /proc/$1/fd | grep -q /gone", "\(mount.server)").status == 1
            })
    }
}
