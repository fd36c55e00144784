import Foundation
import HostTools
import TestImages
import Testing

@Suite("Encrypted images", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp")))
struct EncryptedImageTests {
    private static let script = """
        cd "$1"; secret=secret,id=s,data=open; image=images/disk.qcow2
        qemu-img create -q -f qcow2 --object $secret -o encrypt.key-secret=s,encrypt.format=$2 $image 8M
        options=driver=qcow2,file.filename=$image,encrypt.key-secret=s
        qemu-io --object $secret --image-opts $options -c 'write -P 1 0 1M' -c 'write -P 2 3333k 777' \
            -c 'write -z 512k 64k' >/dev/null
        qemu-img convert --object $secret --image-opts $options -O raw expected
        printf open > right; printf shut > wrong
        """

    @Test(
        "With their key they read as qemu-img reads them, by every cipher that it writes",
        arguments: [
            "aes", "luks,encrypt.iter-time=10", "luks,encrypt.iter-time=10,encrypt.cipher-alg=aes-192",
            "luks,encrypt.iter-time=10,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain64",
            "luks,encrypt.iter-time=10,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256",
            "luks,encrypt.iter-time=10,encrypt.hash-alg=sha1", "luks,encrypt.iter-time=10,encrypt.hash-alg=sha512",
        ])
    func content(format: String) throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check(Self.script, folder.path, format)
        let mount = try Mount(images, options: ["--secret", "disk.qcow2=file:\(folder.file("right"))"])
        try Tool.check("cmp", folder.file("expected"), mount.disk("disk.qcow2"))
        let disk = try OpenedFile(mount.disk("disk.qcow2"))
        let expected = try OpenedFile(folder.file("expected"))
        for position in [0, 1, 511, 513, 524_287, 3_412_991, 3_413_700] as [Int64] {
            #expect(try disk.read(1000, at: position) == expected.read(1000, at: position), "at \(position)")
        }
        let info = try JSONValue(
            parsing: try Tool.check("qemu-img", "info", "--output=json", "\(images)/disk.qcow2")
        ).leaves
        let stats = try mount.document("disk.qcow2").leaves
        for (key, value) in info { #expect(stats[key] == value, "\(key)") }
    }

    @Test("Without a key, or with a wrong one, the folder says so, and a damaged header is another error than both")
    func refusals() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check(Self.script, folder.path, "luks,encrypt.iter-time=10")
        func error(_ options: [String]) throws -> (code: String?, message: String?) {
            let mount = try Mount(images, options: options)
            #expect(access(mount.disk("disk.qcow2"), F_OK) != 0)
            let document = try mount.document("disk.qcow2")
            #expect(document["encrypted"]?.leaves.isEmpty == false)
            return (document["error", "code"]?.text, document["error", "message"]?.text)
        }
        let none = try error([])
        #expect(none.code == "denied")
        #expect(none.message?.contains("encrypted, no key") == true)
        let wrong = try error(["--secret", "disk.qcow2=file:\(folder.file("wrong"))"])
        #expect(wrong.code == "denied")
        #expect(wrong.message?.contains("fits none of the active key slots") == true)
        let other = try error(["--secret", "other.qcow2=file:\(folder.file("right"))"])
        #expect(other.message == none.message)
        // The LUKS header lies in a cluster of its own; its magic is the first thing in it.
        let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(images)/disk.qcow2")))
        let magic = try #require(
            stride(from: 0, to: bytes.count, by: 65536).first { bytes[$0..<$0 + 4] == [0x4c, 0x55, 0x4b, 0x53] })
        var damaged = bytes
        damaged[magic] = 0
        try folder.write(damaged, to: "images/disk.qcow2")
        let damage = try error(["--secret", "disk.qcow2=file:\(folder.file("right"))"])
        #expect(damage.code == "corrupt")
    }

    @Test("A key may come from the environment or an -o option, and one that is missing ends with 66")
    func sources() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check(Self.script, folder.path, "luks,encrypt.iter-time=10")
        let mount = try Mount(images, options: ["-o", "secret=\(images)/disk.qcow2=file:\(folder.file("right"))"])
        try Tool.check("cmp", folder.file("expected"), mount.disk("disk.qcow2"))
        let environment = try Shell.run(
            """
            mkdir -p "$2/mnt"; export KEY=open; "$1" --secret disk.qcow2=env:KEY "$2/images" "$2/mnt"
            cmp "$2/expected" "$2/mnt/disk.qcow2/disk.raw"; status=$?; fusermount3 -u "$2/mnt"; exit $status
            """, Tool.rblockfs, folder.path)
        #expect(environment.status == 0, "\(environment.errors)")
        for source in ["file:\(folder.file("none"))", "env:RBLOCK_NO_SUCH_VARIABLE"] {
            let result = try Tool.run(Tool.rblockfs, ["--secret", "disk.qcow2=\(source)", images, folder.file("mnt")])
            #expect(result.status == 66)
            #expect(result.errors.contains("the key of disk.qcow2"))
        }
    }
}
