import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "sha256sum")))
struct `A part of a VMDK disk` {
    /// Split and flat disks, and whole disks that are only called as parts are.
    private func images() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"
            qemu-img create -q -f raw disk 4M; qemu-io -f raw -c 'write -P 7 64k 1M' disk >/dev/null
            qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat disk web.vmdk
            qemu-img convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse disk split.vmdk
            qemu-img convert -f raw -O vmdk -o subformat=twoGbMaxExtentFlat disk cut.vmdk
            qemu-img create -q -f vmdk alone.vmdk 4M
            for name in alone-flat alone-s001; do
              qemu-img create -q -f vmdk $name.vmdk 4M; qemu-io -f vmdk -c 'write -P 9 0 1M' $name.vmdk >/dev/null
            done
            qemu-img create -q -f vmdk -b alone.vmdk -F vmdk alone-delta.vmdk
            # A descriptor that was renamed names what it always named.
            qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat disk old.vmdk; mv old.vmdk new.vmdk
            """, folder.path)
        return folder
    }

    @Test(arguments: [
        ("web-flat.vmdk", "web.vmdk"), ("split-s001.vmdk", "split.vmdk"), ("cut-f001.vmdk", "cut.vmdk"),
        ("old-flat.vmdk", "new.vmdk"),
    ])
    func `is no image by itself, and says which one it belongs to`(part: String, owner: String) throws {
        let folder = try images()
        for verb in [
            ["hash", part], ["convert", part, "out.qcow2"], ["read", part], ["map", part], ["info", part],
            ["check", part],
            ["diff", part, "web.vmdk"], ["delta", "web.vmdk", part, "out.qcow2"],
        ] {
            let result = try RBlock.run(verb, in: folder.path)
            #expect(result.status == (verb[0] == "diff" ? 2 : 1), "\(verb): \(result.errors)")
            #expect(result.errors.contains("the disk of \(owner)"), "\(verb): \(result.errors)")
        }
        let inspect = try RBlock.run(["inspect", part], in: folder.path)
        #expect((inspect.text + inspect.errors).contains("the disk of \(owner)"), "\(inspect.text)\(inspect.errors)")
        #expect(try RBlock.run(["hash", owner], in: folder.path).status == 0)
        let raw = try RBlock.run(["hash", "--format", "raw", part], in: folder.path)
        #expect(raw.status == 0 && raw.errors.isEmpty)
    }

    @Test func `is what descriptors name, whatever it is called, for mount and servers`() throws {
        let folder = try images()
        try FileManager.default.removeItem(atPath: folder.file("disk"))
        let shown = [
            "alone-delta.vmdk", "alone-flat.vmdk", "alone-s001.vmdk", "alone.vmdk", "cut.vmdk", "new.vmdk",
            "split.vmdk",
            "web.vmdk",
        ]
        let mount = try Mount(folder.path)
        // A folder that takes long to look at is listed by names alone at first.
        #expect(
            try wait(seconds: 60) {
                try Shell.check("ls -I stats.json \"$1\"", mount.path) == shown.joined(separator: "\n")
            })
        for name in shown {
            let expected = try RBlock.run(["hash", name], in: folder.path)
            #expect(expected.status == 0, "\(expected.errors)")
            let sum = try Shell.check("sha256sum <\"$1\" | cut -c 1-64", mount.disk(name))
            #expect(expected.text == "\(sum)  \(name)\n")
        }
        let server = try ImageServer([folder.path])
        #expect(
            try wait(seconds: 60) {
                let list = try RBlock.run(["rpc", server.rpcSocket, "list"])
                let names = try JSONValue(parsing: list.output).array?.compactMap { $0["name"]?.text } ?? []
                return names.filter { !$0.contains("/") } == shown
            })
    }

    @Test func `whose descriptor is lost is the disk where it is flat, with a note`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"
            qemu-img create -q -f raw disk 4M; qemu-io -f raw -c 'write -P 7 64k 1M' disk >/dev/null
            cp disk srv-flat.vmdk; head -c 497 /dev/urandom >srv.vmdk; cp disk gone-flat.vmdk
            """, folder.path)
        let expected = try RBlock.run(["hash", "--format", "raw", "disk"], in: folder.path).text.prefix(64)
        for name in ["srv-flat.vmdk", "gone-flat.vmdk"] {
            let hash = try RBlock.run(["hash", name], in: folder.path)
            #expect(hash.status == 0 && hash.text.prefix(64) == expected, "\(hash.errors)")
            #expect(hash.errors.contains("no descriptor beside it names this flat extent"))
            let inspect = try RBlock.run(["inspect", name], in: folder.path)
            #expect(inspect.status == 0 && inspect.text.contains("no descriptor beside it"), "\(inspect.text)")
        }
        let lost = try RBlock.run(["hash", "srv.vmdk"], in: folder.path)
        #expect(lost.status == 1 && lost.errors.contains("srv-flat.vmdk beside it may hold its disk"), "\(lost.errors)")
        let mount = try Mount(folder.path)
        #expect(wait(seconds: 60) { FileManager.default.fileExists(atPath: mount.disk("srv-flat.vmdk")) })
        try Tool.check("cmp", folder.file("disk"), mount.disk("srv-flat.vmdk"))
        #expect(try mount.document("srv.vmdk")["error", "message"]?.text?.contains("srv-flat.vmdk") == true)
    }

    @Test func `is named by its bytes, and by other letters only where no file has these`() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        // Whole disks that only look like parts: another Latin-1 letter, another normal form, another case.
        try Shell.check(
            """
            cd "$1"; truncate -s 1M ../disk
            convert() { qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat ../disk "$1"; }
            whole() { qemu-img create -q -f vmdk "$1" 1M; }
            convert $'n\\374.vmdk'; whole $'n\\344-flat.vmdk'
            convert $'\\303\\251.vmdk'; whole $'e\\314\\201-flat.vmdk'
            convert disk.vmdk; whole DISK-flat.vmdk
            # One that was copied by a system that changed its letters.
            convert other.vmdk; mv other-flat.vmdk Other-Flat.vmdk
            """, images)
        let mount = try Mount(images)
        let shown = [
            "DISK-flat.vmdk", "\\303\\251.vmdk", "disk.vmdk", "e\\314\\201-flat.vmdk", "n\\344-flat.vmdk",
            "n\\374.vmdk", "other.vmdk",
        ]
        #expect(
            try wait(seconds: 60) {
                let listed = try Shell.check("cd \"$1\"; LC_ALL=C ls -b -I stats.json", mount.path)
                return listed.split(separator: "\n").map(String.init).sorted() == shown.sorted()
            })
        let part = try Shell.check("cd \"$1\"; \"$2\" hash $'n\\374-flat.vmdk' 2>&1 || true", images, Tool.rblock)
        #expect(part.contains("the disk of"), "\(part)")
        for name in ["DISK-flat.vmdk", "e\u{301}-flat.vmdk"] {
            let whole = try RBlock.run(["hash", name], in: images)
            #expect(whole.status == 0, "\(whole.errors)")
        }
    }

    @Test(.timeLimit(.minutes(10))) func `costs little to find in a large folder`() throws {
        let folder = try TemporaryFolder()
        // None of these looks like a part, so that none is opened.
        for index in 0..<10_000 { try folder.write([], to: "image-\(index).vmdk") }
        let server = try Mount(folder.path)
        #expect(try Shell.check("ls \"$1\" | wc -l", server.path) == "10001")
        // Of the processor, in hundredths of a second.
        let time = try Shell.check("awk '{ print $14 + $15 }' /proc/$1/stat", "\(server.server)")
        #expect(Int(time) ?? .max < 2000, "\(time)")
    }
}
