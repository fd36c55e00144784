import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "bash")))
struct `The place of a delta and its base` {
    private func backing(_ name: String, in disks: DeltaFolder) throws -> String? {
        try QemuImg.info(disks.file(name), format: "qcow2")["backing-filename"] as? String
    }

    @Test func `is written so that QEMU finds the base, and so do we`() throws {
        let disks = try DeltaFolder()
        try disks.makePair(size: 1 << 20, seed: 40)
        try Shell.check(
            """
            cd "$1"
            mkdir sub other
            cp base.raw sub/base.raw
            cp base.raw other/base.raw
            cp base.raw nbd:base.raw
            ln -s sub/base.raw link.raw
            ln -s . here
            """, disks.path)
        for (base, name) in [
            ("base.raw", "base.raw"), ("./here/base.raw", "base.raw"), ("sub/base.raw", "sub/base.raw"),
            ("link.raw", "sub/base.raw"), ("nbd:base.raw", "./nbd:base.raw"),
            ("\(disks.path)/base.raw", "base.raw"),
        ] {
            try disks.delta("--force", base, "changed.raw", "d.qcow2")
            #expect(try backing("d.qcow2", in: disks) == name)
            try disks.expect("d.qcow2", isDisk: "changed.raw", base)
            let hash = try RBlock.run(["hash", "d.qcow2"], in: disks.path)
            #expect(hash.status == 0, "\(base): \(hash.errors)")
        }
        let other = try disks.run("base.raw", "changed.raw", "other/d.qcow2")
        #expect(other.status == 0 && other.errors.contains("--allow-path"), "\(other.errors)")
        #expect(try backing("other/d.qcow2", in: disks) == "\(disks.path)/base.raw")
        try disks.expect("other/d.qcow2", isDisk: "changed.raw")
        #expect(try RBlock.run(["hash", "other/d.qcow2"], in: disks.path).errors.contains("base.raw"))
        #expect(try RBlock.run(["hash", "--allow-path", ".", "other/d.qcow2"], in: disks.path).status == 0)
        try disks.delta("--backing-name", "base.raw", "base.raw", "changed.raw", "other/named.qcow2")
        #expect(try backing("other/named.qcow2", in: disks) == "base.raw")
        try disks.expect("other/named.qcow2", isDisk: "changed.raw")
    }

    @Test(.enabled(if: Tool.canUseLoopDevices()))
    func `may be a device, which QEMU reads`() throws {
        let disks = try DeltaFolder()
        try disks.makePair(size: 4 << 20, seed: 41)
        let base = try LoopDevice(disks.file("base.raw"))
        let changed = try LoopDevice(disks.file("changed.raw"))
        let result = try disks.run(base.path, changed.path, "d.qcow2")
        #expect(result.status == 0 && result.errors.contains("is a device"), "\(result.errors)")
        #expect(try backing("d.qcow2", in: disks) == base.path)
        let theirs = try Tool.run(
            "qemu-img", ["compare", "-f", "qcow2", "-F", "raw", "d.qcow2", "changed.raw"], in: disks.path)
        #expect(theirs.status == 0, "\(theirs.text)\(theirs.errors)")
        #expect(try disks.granules(65536, in: "d.qcow2") == disks.differences(65536))
        try disks.delta(
            "--force", "--backing-name", "base.raw", base.path, changed.path, "d.qcow2")
        try disks.expect("d.qcow2", isDisk: "changed.raw")
        let onto = try disks.run("--force", "base.raw", "changed.raw", changed.path)
        #expect(onto.status == 64 && onto.errors.contains("must be a file"), "\(onto.errors)")
    }

    @Test func `is refused where something would be lost or misread`() throws {
        let disks = try DeltaFolder()
        try disks.makePair(size: 1 << 20, seed: 42)
        try Shell.check("cd \"$1\"; cp base.raw base; cp changed.raw there.qcow2; printf QFI >bad.qcow2", disks.path)
        let before = try Shell.check("cd \"$1\"; sha256sum *", disks.path)
        for (arguments, status, word) in [
            (["base.raw", "changed.raw", "there.qcow2"], 1, "--force"),
            (["--force", "base", "changed.raw", "base"], 1, "made of"),
            (["--force", "base.raw", "there.qcow2", "--format-changed", "raw", "there.qcow2"], 1, "made of"),
            (["base.raw", "changed.raw", "d.vmdk"], 64, "vmdk"), (["base.raw", "gone.raw", "d.qcow2"], 1, "gone.raw"),
            (["bad.qcow2", "base.raw", "d.qcow2"], 1, "bad.qcow2"),
            (["base.raw", "changed.raw", "gone/d.qcow2"], 1, "gone"),
            (["-o", "backing_file=x", "base.raw", "changed.raw", "d.qcow2"], 64, "--backing-name"),
            (["-o", "cluster_size=3", "base.raw", "changed.raw", "d.qcow2"], 64, "power of two"),
            (["-o", "colour=red", "base.raw", "changed.raw", "d.qcow2"], 64, "cluster_size"),
            (["--backing-name", "", "base.raw", "changed.raw", "d.qcow2"], 1, "1 to 1023"),
            (["--snapshot", "a", "--from-bitmap", "b", "base.raw", "changed.raw", "d.qcow2"], 64, "--from-bitmap"),
            (["base.raw", "changed.raw"], 64, "OUT"),
        ] {
            let result = try RBlock.run(["delta"] + arguments, in: disks.path)
            #expect(result.status == Int32(status), "\(arguments): \(result.status) \(result.errors)")
            #expect(result.errors.contains(word), "\(arguments): \(result.errors)")
            #expect(try Shell.check("cd \"$1\"; sha256sum *", disks.path) == before, "\(arguments)")
        }
        let help = try disks.run("--help")
        for word in ["EXAMPLES", "EXIT STATUS", "--from-bitmap", "--backing-name", "snapshot"] {
            #expect(help.status == 0 && help.text.contains(word), "\(word)")
        }
    }
}
