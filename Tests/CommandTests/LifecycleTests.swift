import Foundation
import HostTools
import TestImages
import Testing

@Suite("From mounting to the end", .enabled(if: Tool.canMount("qemu-img", "umount", "cmp")))
struct LifecycleTests {
    @Test("It returns only when the mount answers, and says nothing")
    func background() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 1)
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let said = try Shell.check(
            """
            said=$("$1" "$2" "$3" 2>&1); cmp "$4" "$3/plain.qcow2/disk.raw" >&2; fusermount3 -u "$3"; echo "[$said]"
            """, Tool.rblockfs, gallery.images, mountpoint, gallery.disk, timeout: 300)
        #expect(said == "[]")
        #expect(wait(seconds: 60) { Mount.server(of: mountpoint) == nil })
    }

    @Test("The server keeps nothing of its caller: no descriptor, no terminal, no folder")
    func detached() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 2)
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let result = try Shell.run(
            """
            cd "$4"; exec 7>held 8>&7 200>&7; "$1" "$2" "$3" || exit 1
            server=$(pgrep -f "^$1 --foreground.* $3\\$")
            for descriptor in 0 1 2; do readlink /proc/$server/fd/$descriptor; done
            readlink /proc/$server/fd/* | grep -c held; readlink /proc/$server/cwd; ps -o tty= -o sid= -p $server
            echo $server; fusermount3 -u "$3"
            """, Tool.rblockfs, gallery.images, mountpoint, folder.path, timeout: 300)
        let lines = result.text.split(separator: "\n").map(String.init)
        try #require(lines.count == 7, "\(result.text)\(result.errors)")
        #expect(lines[..<5] == ["/dev/null", "/dev/null", "/dev/null", "0", "/"])
        #expect(
            lines[5].split(separator: " ").map(String.init) == ["?", lines[6]], "It leads a session without a terminal."
        )
    }

    @Test("fusermount3 -u and umount end the server", arguments: ["fusermount3 -u", "umount"])
    func unmounted(command: String) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 3)
        let mount = try Mount(gallery.images)
        if command == "umount" && !Tool.isRoot { return }
        try Tool.check("cmp", gallery.disk, mount.disk("plain.qcow2"))
        try Shell.check("\(command) \"$1\"", mount.path)
        #expect(mount.waitForEnd())
        #expect(!mount.isMounted)
    }

    @Test("SIGTERM, SIGINT and SIGHUP end the server and leave no mount", arguments: [SIGTERM, SIGINT, SIGHUP])
    func signals(signal: CInt) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 4)
        let mount = try Mount(gallery.images)
        // Also while a file is open.
        let file = try OpenedFile(mount.disk("plain.qcow2"))
        #expect(try file.read(4096, at: 0).count == 4096)
        kill(mount.server, signal)
        #expect(mount.waitForEnd())
        #expect(!mount.isMounted)
        #expect(try FileManager.default.contentsOfDirectory(atPath: mount.path) == [])
    }

    @Test("So do they where its starter had every signal blocked", .enabled(if: Tool.areThere("python3")))
    func blockedSignals() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 8)
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let script = """
            import os, signal, sys
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            os.execv(sys.argv[1], sys.argv[1:])
            """
        try Tool.check("python3", "-c", script, Tool.rblockfs, gallery.images, mountpoint)
        let server = try #require(Mount.server(of: mountpoint))
        try Tool.check("cmp", gallery.disk, "\(mountpoint)/plain.qcow2/disk.raw")
        kill(server, SIGTERM)
        #expect(wait(seconds: 60) { !Mount.isRunning(server) && !Mount.isMounted(mountpoint) })
        if Mount.isRunning(server) { kill(server, SIGKILL) }
    }

    @Test("A mount in use is not unmounted but lazily, and the server ends with the last file")
    func busy() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        let mount = try Mount(gallery.images)
        var file: OpenedFile? = try OpenedFile(mount.disk("plain.qcow2"))
        let refusal = try Tool.run("fusermount3", ["-u", mount.path])
        #expect(refusal.status != 0 && refusal.errors.contains("busy"))
        #expect(mount.isMounted && mount.isServing)
        try Tool.check("fusermount3", "-u", "-z", mount.path)
        #expect(!mount.isMounted)
        let expected = [UInt8](try #require(FileManager.default.contents(atPath: gallery.disk)))
        #expect(try file?.read(expected.count, at: 0) == expected, "Who has it open goes on reading.")
        #expect(mount.isServing)
        file = nil
        #expect(mount.waitForEnd())
    }

    @Test("So it is with umount and umount -l", .enabled(if: Tool.isRoot))
    func busyForUmount() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 9)
        let mount = try Mount(gallery.images)
        var file: OpenedFile? = try OpenedFile(mount.disk("plain.qcow2"))
        let refusal = try Tool.run("umount", [mount.path])
        #expect(refusal.status != 0 && refusal.errors.contains("busy"))
        try Tool.check("cmp", gallery.disk, mount.disk("plain.qcow2"))
        try Tool.check("umount", "-l", mount.path)
        #expect(!mount.isMounted)
        // The place is free for the next one, while the first goes on.
        try Tool.check(Tool.rblockfs, gallery.images, mount.path)
        try Tool.check("cmp", gallery.disk, mount.disk("plain.qcow2"))
        let expected = [UInt8](try #require(FileManager.default.contents(atPath: gallery.disk)))
        #expect(try file?.read(expected.count, at: 0) == expected)
        #expect(mount.isServing)
        file = nil
        #expect(mount.waitForEnd())
        try Tool.check("cmp", gallery.disk, mount.disk("plain.qcow2"))
        try Tool.check("umount", mount.path)
        #expect(wait(seconds: 60) { Mount.server(of: mount.path) == nil })
    }

    @Test("SIGTERM does not wait for open files: readers get errors")
    func termWhileBusy() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 10)
        let mount = try Mount(gallery.images)
        let file = try OpenedFile(mount.disk("plain.qcow2"))
        kill(mount.server, SIGTERM)
        #expect(mount.waitForEnd())
        #expect(!mount.isMounted)
        #expect(throws: PosixFailure.self) { try file.read(4096, at: 1 << 20) }
    }

    @Test(
        "-f serves in the foreground until the mount goes, and ends with 0",
        arguments: ["fusermount3", "SIGTERM", "SIGINT"])
    func foreground(end: String) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 6)
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let result = try Shell.run(
            """
            set -m  # A job of its own: others have SIGINT ignored.
            "$1" -f "$2" "$3" & server=$!
            for turn in {1..200}; do grep -q " $3 " /proc/self/mountinfo && break; sleep 0.05; done
            cmp "$4" "$3/plain.qcow2/disk.raw" || exit 99
            kill -0 $server || exit 98
            case $5 in fusermount3) fusermount3 -u "$3";; *) kill -$5 $server;; esac
            wait $server
            """, Tool.rblockfs, gallery.images, mountpoint, gallery.disk, end, timeout: 300)
        #expect(result.status == 0, "\(result.errors)")
        #expect(!Mount.isMounted(mountpoint))
        #expect(Mount.server(of: mountpoint) == nil)
    }

    @Test("A mountpoint may be relative, end in a slash, be a link, or have odd characters in its name")
    func oddMountpoints() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 7)
        let folder = try TemporaryFolder()
        for name in ["relative", "with blank", "new\nline", "comma,back\\slash", "ümläut"] {
            let mountpoint = try folder.makeFolder(name)
            try Mount.register(mountpoint)
            let result = try Shell.run(
                "cd \"$2\" && \"$1\" \"$3\" \"$4/\" && cmp \"$5\" \"./$4/plain.qcow2/disk.raw\"; status=$?;"
                    + " fusermount3 -u \"$2/$4\" && exit $status",
                Tool.rblockfs, folder.path, gallery.images, name, gallery.disk, timeout: 300)
            #expect(result.status == 0, "\(name): \(result.errors)")
        }
        try Shell.check("cd \"$1\" && ln -s relative link", folder.path)
        let mount = try Mount(gallery.images, at: folder.file("link"), in: folder)
        try Tool.check("cmp", gallery.disk, mount.disk("plain.qcow2"))
        try Tool.check("fusermount3", "-u", folder.file("relative"))
        #expect(mount.waitForEnd())
    }
}
