import Foundation
import HostTools
import TestImages
import Testing

@Suite("Options", .enabled(if: Tool.canMount("qemu-img", "cmp")))
struct OptionTests {
    /// The mount's line of the mount table, after the mountpoint.
    private func entry(_ mount: Mount) throws -> String {
        try Shell.check("grep -F \" $1 \" /proc/self/mounts", mount.path)
    }

    @Test("The mount table says what is mounted, and that it is read-only")
    func table() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 1)
        let mount = try Mount(gallery.images)
        let fields = try entry(mount).split(separator: " ").map(String.init)
        #expect(fields[0] == gallery.images && fields[2] == "fuse.rblockfs")
        #expect(fields[3].split(separator: ",").contains("ro"))
        #expect(fields[3].contains("default_permissions") && !fields[3].contains("allow_other"))
    }

    @Test(
        "-o takes what FUSE programs and fstab pass",
        arguments: [
            ["-o", "ro"], ["-o", "rw,nosuid,nodev,noauto,nofail,_netdev,user,defaults"], ["-o", "allow_other"],
            ["-o", "cache_size=1M", "-o", "log_level=debug"], ["--cache-size", "0"], ["--cache-size", "512k"],
            ["--log-level", "critical", "--raw-img"], ["--ignore-parent-id"], ["--ignore-cid"],
            ["-o", "ro,ignore_parent_id,ignore_cid"], ["--slow-keys"],
            ["-o", "ro,slow_keys"],
        ])
    func accepted(options: [String]) throws {
        let gallery = try Gallery(["plain.qcow2", "zlib.qcow2"], seed: 2)
        let mount = try Mount(gallery.images, options: options)
        #expect(try entry(mount).contains(" ro,"))
        for name in ["plain.qcow2", "zlib.qcow2"] { try Tool.check("cmp", gallery.disk, mount.disk(name)) }
        #expect(try entry(mount).contains("allow_other") == options.contains("allow_other"))
    }

    @Test(
        "Owner and permissions of files can be chosen, by number and by name",
        arguments: [
            (["--uid", "1234", "--gid", "2345", "--umask", "027"], "1234:2345:550 1234:2345:440 1234:2345:440"),
            (["-o", "uid=daemon,gid=daemon"], "1:1:555 1:1:444 1:1:444"),
            (["-o", "umask=0077"], "me:me:500 me:me:400 me:me:400"),
            (["--umask", "777", "--uid", "0"], "0:me:0 0:me:0 0:me:0"),
        ])
    func ownership(options: [String], expected: String) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        let mount = try Mount(gallery.images, options: options)
        let shown = try Shell.check("cd \"$1\"; stat -c %u:%g:%a . | xargs", mount.path)
        #expect(shown == expected.split(separator: " ")[0].replacingOccurrences(of: "me", with: "\(geteuid())"))
        guard Tool.isRoot else { return }
        let all = try Shell.check(
            "cd \"$1\"; stat -c %u:%g:%a plain.qcow2 plain.qcow2/disk.raw plain.qcow2/stats.json | xargs", mount.path)
        #expect(all == expected.replacingOccurrences(of: "me", with: "0"))
        try Tool.check("cmp", gallery.disk, mount.disk("plain.qcow2"))
    }

    @Test(
        "With allow_other, the kernel keeps to owner and permissions",
        .enabled(if: Tool.isRoot && Tool.areThere("setpriv")))
    func othersPermissions() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 6)
        for (options, readers) in [
            ("allow_other", [0, 1234, 5678]), ("allow_other,uid=1234,umask=077", [0, 1234]), ("uid=1234", [0]),
            ("allow_other,gid=5678,umask=027", [0, 5678]),
        ] {
            let mount = try Mount(gallery.images, options: ["-o", options])
            try Shell.check("chmod 755 \"$1/..\" \"$2/..\"", mount.path, gallery.images)
            for user in [0, 1234, 5678] {
                let result = try Tool.run(
                    "setpriv",
                    [
                        "--reuid", "\(user)", "--regid", "\(user)", "--clear-groups", "cmp", gallery.disk,
                        mount.disk("plain.qcow2"),
                    ])
                #expect((result.status == 0) == readers.contains(user), "\(options), \(user): \(result.errors)")
            }
        }
    }

    @Test("-o fsname= names the source of the mount")
    func name() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 3)
        let mount = try Mount(gallery.images, options: ["-o", "fsname=my-images"])
        #expect(try entry(mount).hasPrefix("my-images "))
    }

    @Test("mount(8) mounts it, also with the options behind", .enabled(if: Tool.isRoot))
    func mountHelper() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 4)
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        // As mount.fuse3 calls a file system: source, mountpoint, options.
        try Tool.check(Tool.rblockfs, gallery.images, mountpoint, "-o", "ro,allow_other,dev,suid")
        try Tool.check("cmp", gallery.disk, "\(mountpoint)/plain.qcow2/disk.raw")
        try umount(mountpoint)
        guard Tool.path("mount.fuse3") != nil else { return }
        // mount.fuse3 finds the type of "rblockfs#source" through the PATH.
        try Shell.check(
            "PATH=\"${1%/*}:$PATH\" mount.fuse3 \"rblockfs#$2\" \"$3\" -o ro,allow_other", Tool.rblockfs,
            gallery.images,
            mountpoint)
        try Tool.check("cmp", gallery.disk, "\(mountpoint)/plain.qcow2/disk.raw")
        try umount(mountpoint)
        #expect(wait(seconds: 60) { Mount.server(of: mountpoint) == nil })
    }

    /// The kernel gives the device number of a mount that is gone to the next one.
    @Test("a server whose mount was taken away leaves alone what was mounted there since", .enabled(if: Tool.isRoot))
    func laterMount() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        let mount = try Mount(gallery.images)
        kill(mount.server, SIGSTOP)
        defer { kill(mount.server, SIGCONT) }
        try Tool.check("umount", "-i", "-l", "--no-canonicalize", mount.path)
        try Tool.check(Tool.rblockfs, gallery.images, mount.path)
        kill(mount.server, SIGCONT)
        #expect(mount.waitForEnd())
        try Tool.check("cmp", gallery.disk, mount.disk("plain.qcow2"))
        try umount(mount.path)
        #expect(wait(seconds: 60) { Mount.server(of: mount.path) == nil })
    }

    /// umount(8) reads the table of mounts, and may miss one while others come and go (util-linux 2.38: "not mounted").
    private func umount(_ mountpoint: String) throws {
        #expect(try wait(seconds: 60) { try Tool.run("umount", [mountpoint]).status == 0 })
    }
}
