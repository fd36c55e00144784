import Foundation
import HostTools
import TestImages
import Testing

@Suite("The command's words and exit statuses", .enabled(if: Tool.canMount("qemu-img")))
struct UsageTests {
    private func rblockfs(_ arguments: String...) throws -> ToolResult {
        try Tool.run(Tool.rblockfs, arguments, timeout: 300)
    }

    /// A failure must say so in one line of standard error that begins with the command's name.
    private func expectFailure(
        _ status: Int32, _ words: String..., from result: ToolResult, at location: SourceLocation = #_sourceLocation
    ) {
        #expect(result.status == status, "\(result.errors)", sourceLocation: location)
        #expect(result.output.isEmpty, sourceLocation: location)
        let lines = result.errors.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count == 2 && lines.last == "", "One line: \(result.errors)", sourceLocation: location)
        #expect(result.errors.hasPrefix("rblockfs: "), "\(result.errors)", sourceLocation: location)
        for word in words { #expect(result.errors.contains(word), "\(result.errors)", sourceLocation: location) }
    }

    /// A folder with an image folder and a mountpoint in it.
    private func makeFolder() throws -> (folder: TemporaryFolder, images: String, mountpoint: String) {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check("qemu-img create -q -f qcow2 \"$1/a.qcow2\" 1M", images)
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        return (folder, images, mountpoint)
    }

    @Test("--help shows examples and every exit status")
    func help() throws {
        let help = try rblockfs("--help")
        #expect(help.status == 0 && help.errors == "")
        for word in [
            "rblockfs [options] IMAGES MOUNTPOINT", "EXAMPLES", "losetup", "stats.json", "fusermount3 -u",
            "EXIT STATUS",
            "--allow-path", "--cache-size", "--foreground", "--raw-img", "--ignore-parent-id", "--ignore-cid", "-o ",
            "64 ", "66 ", "69 ",
            "70 ",
            "73 ", "77 ", "--uid", "--umask", "--pid-file", "--ready-fd", "--drop-privileges", "--user",
            "--kernel-path", "--files", "FILES OF GUESTS",
            "mount -t fuse.rblockfs", "rblock mount foo.qcow2:1", "loop,ro,noload", "norecovery", "rescue=nologreplay",
        ] { #expect(help.text.contains(word), "\(word)") }
        #expect(try rblockfs("-h").text == help.text)
    }

    @Test("Wrong usage ends with 64 and names what is wrong")
    func usage() throws {
        let (folder, images, mountpoint) = try makeFolder()
        for (arguments, word) in [
            ([], "IMAGES"), ([images], "MOUNTPOINT"), ([images, mountpoint, "more"], "more"),
            (["--no-such-option", images, mountpoint], "--no-such-option"),
            (["--cache-size", "many", images, mountpoint], "many"),
            (["-o", "cache_size=many", images, mountpoint], "many"),
            (["-o", "log_level=loud", images, mountpoint], "loud"),
            (["-o", "kernel_path=fast", images, mountpoint], "fast"),
            (["--kernel-path", "fast", images, mountpoint], "fast"),
            (["--log-level", "loud", images, mountpoint], "loud"),
            (["--uid", "no-such-user", images, mountpoint], "no-such-user"),
            (["--uid", "4294967295", images, mountpoint], "4294967295"), (["--gid", "-1", images, mountpoint], "gid"),
            (["-o", "gid=no-such-group", images, mountpoint], "no-such-group"),
            (["--umask", "8", images, mountpoint], "8"), (["-o", "umask=1000", images, mountpoint], "1000"),
            (["--ready-fd", "7", images, mountpoint], "--foreground"),
            (["--files", "--overlay", folder.file("o"), images, mountpoint], "--files"),
            (["-o", "files,overlay=\(folder.file("o"))", images, mountpoint], "--overlay"),
        ] {
            let result = try Tool.run(Tool.rblockfs, arguments, timeout: 300)
            #expect(result.status == 64 && result.output.isEmpty, "\(arguments)")
            #expect(result.errors.contains(word), "\(result.errors)")
        }
        #expect(!Mount.isMounted(mountpoint))
        withExtendedLifetime(folder) {}
    }

    @Test("An -o option that is unknown is named")
    func unknownMountOption() throws {
        let (folder, images, mountpoint) = try makeFolder()
        let result = try rblockfs("-o", "allow_other,frobnicate=3", images, mountpoint)
        #expect(result.status != 0)
        expectFailure(result.status, "frobnicate", from: result)
        #expect(!Mount.isMounted(mountpoint))
        withExtendedLifetime(folder) {}
    }

    @Test("IMAGES, or a folder of --allow-path, that is not there ends with 66")
    func noImages() throws {
        let (folder, images, mountpoint) = try makeFolder()
        expectFailure(66, folder.file("gone"), "No such file", from: try rblockfs(folder.file("gone"), mountpoint))
        expectFailure(
            66, folder.file("gone"), "No such file",
            from: try rblockfs("--allow-path", folder.file("gone"), images, mountpoint))
        expectFailure(66, folder.file("gone"), from: try rblockfs("-f", folder.file("gone"), mountpoint))
        #expect(!Mount.isMounted(mountpoint))
    }

    @Test("A mountpoint that is missing, a file, busy or over the images ends with 73")
    func mountpoints() throws {
        let (folder, images, mountpoint) = try makeFolder()
        expectFailure(73, folder.file("gone"), "No such file", from: try rblockfs(images, folder.file("gone")))
        expectFailure(73, "a.qcow2", "Not a directory", from: try rblockfs(images, "\(images)/a.qcow2"))
        expectFailure(73, images, from: try rblockfs(images, images))
        expectFailure(73, folder.path, from: try rblockfs(images, folder.path))
        let mount = try Mount(images, at: mountpoint, in: folder)
        expectFailure(73, mountpoint, "busy", "fusermount3 -u", from: try rblockfs(images, mountpoint))
        #expect(mount.isServing)
        #expect(try mount.document("a.qcow2")["format"]?.text == "qcow2")
    }

    @Test("After a server was killed, the next mount takes the dead one away, and says so", arguments: [1, 2])
    func killed(times: Int) throws {
        let (folder, images, mountpoint) = try makeFolder()
        // They unmount when they go.
        var mounts: [Mount] = []
        defer { mounts = [] }
        for _ in 0..<times {
            let mount = try Mount(images, at: mountpoint, in: folder)
            mounts.append(mount)
            kill(mount.server, SIGKILL)
            #expect(mount.waitForEnd())
            #expect(throws: PosixFailure.self) { try Status(mount.disk("a.qcow2")) }
        }
        let result = try rblockfs(images, mountpoint)
        #expect(result.status == 0, "\(result.errors)")
        #expect(
            result.errors
                == "rblockfs: mountpoint \(mountpoint): the server of the mount there was gone; removed the mount\n")
        #expect(FileManager.default.fileExists(atPath: "\(mountpoint)/a.qcow2/disk.raw"))
        let table = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
        #expect(table.split(separator: "\n").count { $0.contains(" \(mountpoint) ") } == 1)
        try Tool.check("fusermount3", "-u", mountpoint)
        #expect(wait(seconds: 60) { Mount.server(of: mountpoint) == nil })
    }

    @Test("A dead mount that is not one of rblockfs is left alone", .enabled(if: Tool.isRoot))
    func foreignDeadMount() throws {
        let (folder, images, mountpoint) = try makeFolder()
        let mounted = try Shell.run(
            "exec 9<>/dev/fuse && mount -i -t fuse.other other \"$1\" -o fd=9,rootmode=40000,user_id=0,group_id=0",
            mountpoint)
        try #require(mounted.status == 0, "\(mounted.errors)")
        defer { _ = try? Tool.run("umount", ["-l", mountpoint]) }
        expectFailure(73, mountpoint, "fusermount3 -u \(mountpoint)", from: try rblockfs(images, mountpoint))
        #expect(Mount.isMounted(mountpoint))
        withExtendedLifetime(folder) {}
    }

    @Test("Without /dev/fuse, it ends with 69", .enabled(if: Tool.isRoot))
    func noFuse() throws {
        let (folder, images, mountpoint) = try makeFolder()
        // In a mount namespace of its own, an empty /dev hides the device.
        let result = try Shell.run(
            "unshare -m bash -c 'mount -t tmpfs none /dev && \"$@\"' bash \"$1\" \"$2\" \"$3\"", Tool.rblockfs, images,
            mountpoint)
        expectFailure(69, "/dev/fuse", "modprobe fuse", from: result)
        withExtendedLifetime(folder) {}
    }
}
