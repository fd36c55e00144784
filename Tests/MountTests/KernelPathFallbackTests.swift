import Foundation
import HostTools
import TestImages
import Testing

@Suite("Where the kernel may not read by itself", .enabled(if: Tool.canMount("qemu-img", "cmp", "setpriv")))
struct KernelPathFallbackTests {
    /// The words of the reason, by the options that lead to it.
    static let reasons = [
        (["--kernel-path", "off"], "--kernel-path is off"), (["-o", "kernel_path=off"], "--kernel-path is off"),
        (["--drop-privileges"], "needs CAP_SYS_ADMIN"), (["--user", "daemon"], "needs CAP_SYS_ADMIN"),
    ]

    @Test(
        "The disk is read through the server, and stats.json says why", .enabled(if: Tool.isRoot), arguments: reasons)
    func fallBack(options: [String], words: String) throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check("chmod 755 \"$1\" \"$1/images\"", folder.path)
        try Pattern.writeDisk("\(images)/a.raw", size: 1 << 20, seed: 1)
        let mount = try Mount(images, options: options + ["-o", "allow_other"])
        try Tool.check("cmp", "\(images)/a.raw", mount.disk("a.raw"))
        let (name, reason) = try mount.kernelPath("a.raw")
        #expect(name == "server")
        let known = KernelPath.passesThrough || words.contains("off") ? words : "no FUSE passthrough"
        #expect(reason?.contains(known) == true, "\(reason ?? "none")")
        #expect(try mount.reads("a.raw") ?? 0 > 0)
        let stats = try JSONValue(parsing: FileManager.default.contents(atPath: mount.file("stats.json")) ?? Data())
        #expect(stats["rblock", "kernel-path", "available"]?.array?.isEmpty == true)
        #expect(stats["rblock", "kernel-path", "reason"]?.text == reason)
    }

    @Test("With require there is no mount where nothing can be read so, and the reason is said")
    func require() throws {
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Pattern.writeDisk(folder.file("a.raw"), size: 1 << 20, seed: 3)
        try Mount.register(mountpoint)
        for options in [["--kernel-path", "require"], ["-f", "-o", "kernel_path=require"]] {
            let result = try Tool.run(
                Tool.rblockfs, options + ["--drop-privileges", folder.file("a.raw"), mountpoint], timeout: 60)
            #expect(result.status == 77 || !Tool.isRoot)
            #expect(result.errors.hasPrefix("rblockfs: --kernel-path require: "), "\(result.errors)")
            #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
            #expect(!Mount.isMounted(mountpoint))
        }
        guard KernelPath.passesThrough else { return }
        // What is not flat is served all the same.
        try Shell.check(
            "cd \"$1\" && mkdir i && mv a.raw i && qemu-img convert -O qcow2 i/a.raw i/b.qcow2", folder.path)
        let mount = try Mount(folder.file("i"), kernelPath: "require")
        #expect(try mount.kernelPath("a.raw").name == "passthrough")
        #expect(try mount.kernelPath("b.qcow2").reason?.contains("none of its files has its size") == true)
        try Tool.check("cmp", mount.disk("a.raw"), mount.disk("b.qcow2"))
    }

    @Test("So it is for images on an overlayfs, and on a block device", .enabled(if: KernelPath.passesThrough))
    func fileSystems() throws {
        let folder = try TemporaryFolder()
        let merged = try folder.makeFolder("merged")
        try CleanUp.register("umount -l \"$1\"", merged)
        defer { _ = try? Tool.run("umount", ["-l", merged]) }
        try Shell.check("cd \"$1\" && mkdir lower upper work", folder.path)
        try Pattern.writeDisk(folder.file("lower/a.raw"), size: 1 << 20, seed: 4)
        let options = "lowerdir=\(folder.file("lower")),upperdir=\(folder.file("upper")),workdir=\(folder.file("work"))"
        if try Tool.run("mount", ["-t", "overlay", "overlay", "-o", options, merged]).status == 0 {
            let mount = try Mount(merged)
            #expect(try mount.kernelPath("a.raw").reason?.contains("stacked on others, as overlayfs is") == true)
            try Tool.check("cmp", folder.file("lower/a.raw"), mount.disk("a.raw"))
        }
        guard Tool.canUseLoopDevices() else { return }
        let device = try LoopDevice(folder.file("lower/a.raw"))
        let mount = try Mount(device.path, options: ["--format", "raw"])
        let name = String(device.path.dropFirst("/dev/".count))
        #expect(try mount.kernelPath(name).reason?.contains("is no regular file") == true)
        try Tool.check("cmp", folder.file("lower/a.raw"), mount.disk(name))
        try mount.unmount()
    }

    @Test(
        "So it is on a disk with sectors of 4096 bytes, where loop devices over the file would fail",
        .enabled(if: KernelPath.passesThrough && Tool.canUseLoopDevices("mkfs.ext4")))
    func largeSectors() throws {
        let folder = try TemporaryFolder()
        try Shell.check("truncate -s 16M \"$1\"", folder.file("device"))
        let device = try LoopDevice(folder.file("device"), isWritable: true, options: ["-b", "4096"])
        try Tool.check("mkfs.ext4", "-q", device.path)
        let host = try DeviceMount(device, options: "rw")
        let size = 1 << 20 | 512
        try Pattern.writeDisk("\(host.path)/a.raw", size: UInt64(size), seed: 6)
        let mount = try Mount("\(host.path)/a.raw")
        #expect(try mount.kernelPath("a.raw").reason?.contains("in sectors of 512 bytes: Invalid argument") == true)
        for directIO in ["on", "off"] {
            let reader = try LoopDevice(mount.disk("a.raw"), options: ["--direct-io=\(directIO)"])
            try Shell.check("cmp -n $3 \"$1\" \"$2\"", reader.path, "\(host.path)/a.raw", "\(size)")
            try reader.detach()
        }
    }

    @Test("An image that another program has open for writing is read through the server")
    func lockedImage() throws {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("a.raw"), size: 1 << 20, seed: 5)
        let mount = try Mount(folder.path)
        let program = """
            qemu-io -f raw -c 'sleep 3000' "$2" >/dev/null &
            for i in $(seq 50); do grep -q '"writing" *: *true' "$1" && break; sleep 0.05; done
            cat "$1"; wait
            """
        let answer = try Shell.check(program, mount.stats("a.raw"), folder.file("a.raw"))
        let document = try JSONValue(parsing: Data(answer.utf8))
        #expect(document["rblock", "kernel-path", "path"]?.text == "server")
        if KernelPath.passesThrough {
            #expect(document["rblock", "kernel-path", "reason"]?.text?.contains("open for writing") == true)
        }
        #expect(try mount.kernelPath("a.raw").name == KernelPath.name("auto"))
    }
}
