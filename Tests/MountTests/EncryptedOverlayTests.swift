import Foundation
import HostTools
import TestImages
import Testing

/// What is written over encrypted images with `--overlay-plaintext`. The judge is qemu-img, which opens overlays with the key of the
/// image under them.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io")))
struct `An encrypted disk with an overlay` {
    private static let marker = "this is for everybody"

    /// Makes the encrypted image $1 of the format $2, with the options $3.
    private static let image = """
        secret=secret,id=s,data=open
        qemu-img create -q -f $2 --object $secret -o encrypt.key-secret=s,encrypt.format=$3 $1 8M
        qemu-io --object $secret --image-opts driver=$2,file.filename=$1,encrypt.key-secret=s -c 'write -P 1 0 3M' >/dev/null
        printf open >../key
        """

    /// Runs `command` of qemu-img on the overlay of `image`.
    private func judge(_ folder: OverlaidFolder, _ image: String, _ command: String...) throws {
        let file = "driver=qcow2,file.filename=\(folder.overlay(image)),backing.encrypt.key-secret=s"
        let result = try Tool.run(
            "qemu-img", [command[0], "--object", "secret,id=s,data=open", "--image-opts", file] + command.dropFirst())
        #expect(result.status == 0, "\(result)")
    }

    private func write(_ mount: Mount, _ image: String) throws -> ToolResult {
        try Shell.run(
            """
            printf "$2" | dd of="$1" bs=1 seek=70000 conv=notrunc status=none || exit 1
            head -c 1M /dev/urandom | dd of="$1" bs=64k seek=40 conv=notrunc status=none; fallocate -p -o 1M -l 300000 "$1"
            """, mount.disk(image), Self.marker)
    }

    @Test(arguments: [
        ("a.qcow2", "qcow2", "luks,encrypt.iter-time=10"), ("b.qcow2", "qcow2", "aes"), ("c.qcow", "qcow", "aes"),
    ])
    func `is written to when that is said, and says that the overlay is not encrypted`(
        image: String, format: String, options: String
    ) throws {
        let folder = try OverlaidFolder(Self.image, image, format, options)
        let secret = ["--secret", "\(image)=file:\(folder.folder.file("key"))"]
        let overlaid = ["--overlay", folder.overlays] + secret
        var mount = try Mount(folder.images, options: overlaid + ["--overlay-plaintext"])
        #expect(try write(mount, image).status == 0)
        let facts = try mount.document(image)["rblock", "overlay"]
        #expect(facts?["plaintext"] == .bool(true) && facts?["write-error"] == nil, "\(facts as Any)")
        let digest = try folder.digest(image, mount)
        try mount.unmount(patience: 200)
        try Shell.check("grep -q \"$2\" \"$1\"", folder.overlay(image), Self.marker)
        try judge(folder, image, "check")
        try judge(folder, image, "convert", "-O", "raw", folder.folder.file("now"))
        #expect(try Shell.check("sha256sum <\"$1\"", folder.folder.file("now")) == digest)
        // Without the option it is shown, and is not written to.
        mount = try Mount(folder.images, options: overlaid)
        #expect(try folder.digest(image, mount) == digest)
        let refused = try write(mount, image)
        #expect(refused.status == 1 && refused.errors.contains("Read-only file system"), "\(refused)")
        let now = try mount.document(image)["rblock", "overlay"]
        #expect(now?["plaintext"] == .bool(true))
        #expect(now?["write-error", "hint"]?.text?.contains("--overlay-plaintext") == true, "\(now as Any)")
        try mount.unmount(patience: 200)
        // Its content does not go into the encrypted image, and goes into a new one.
        let sums = "cd \"$1\"; sha256sum images/* overlays/*"
        let before = try Shell.check(sums, folder.folder.path)
        let rest = ["--allow-path", folder.images, folder.overlay(image)]
        let commit = try Tool.run(Tool.rblock, ["commit", "--yes"] + rest)
        #expect(commit.status == 1 && commit.errors.contains("is encrypted, and what was written over it is not"))
        #expect(commit.errors.contains("'rblock convert --secret"), "\(commit.errors)")
        #expect(try Shell.check(sums, folder.folder.path) == before)
        let convert = try Tool.run(Tool.rblock, ["convert", "-q"] + secret + rest + [folder.folder.file("new.raw")])
        #expect(convert.status == 0, "\(convert)")
        #expect(try Shell.check("sha256sum <\"$1\"", folder.folder.file("new.raw")) == digest)
        let info = try Tool.run(Tool.rblock, ["info", "--output", "json"] + secret + rest)
        let base = try JSONValue(parsing: Data(info.text.utf8))["rblock", "base"]
        #expect(base?["plaintext"] == .bool(true) && base?["state"]?.text == "unchanged", "\(info)")
    }

    @Test func `is read-only without that, from the start`() throws {
        let folder = try OverlaidFolder(Self.image, "a.qcow2", "qcow2", "luks,encrypt.iter-time=10")
        let mount = try folder.mount("--secret", "a.qcow2=file:\(folder.folder.file("key"))")
        #expect(try write(mount, "a.qcow2").status == 1)
        let facts = try mount.document("a.qcow2")["rblock", "overlay"]
        #expect(facts?["plaintext"] == nil && facts?["exists"] == .bool(false))
        #expect(facts?["write-error", "message"]?.text?.contains("is encrypted") == true, "\(facts as Any)")
        try folder.end(mount)
        let refused = try Tool.run(
            Tool.rblockfs, ["--overlay-plaintext", folder.images, try folder.folder.makeFolder("mnt")])
        #expect(refused.status == 64 && refused.errors.contains("--overlay-plaintext goes with --overlay"))
    }
}
