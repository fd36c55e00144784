import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "As an ordinary user",
    .enabled(if: Tool.isRoot && Tool.canMount("qemu-img", "cmp", "jq", "setpriv", "unshare", "mknod")))
struct OrdinaryUserTests {
    /// Runs `script` as user 65534 in a mount namespace of its own, in which /dev/fuse may be opened by everyone; $1 is
    /// the command, $2 the images, $3 a mountpoint of the user's, $4 the disk. What it mounted goes with the namespace.
    private func run(_ script: String, _ gallery: Gallery) throws -> ToolResult {
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Shell.check(
            "chmod 755 \"$1\" \"$2\" \"$3/..\" && chown 65534:65534 \"$2\" && mknod -m 666 \"$1/fuse\" c 10 229"
                + " && cp \"$4\" \"$1/rblockfs\" && chmod 755 \"$1/rblockfs\"",
            folder.path, mountpoint, gallery.images, Tool.rblockfs)
        return try Tool.run(
            "unshare",
            [
                "-m", "bash", "-c",
                """
                mount --bind "$1" /dev/fuse || exit 97
                setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "$2" bash "${@:3}"
                status=$?; umount -l "$5" 2>/dev/null; exit $status
                """, "bash", folder.file("fuse"), script, folder.file("rblockfs"), gallery.images, mountpoint,
                gallery.disk,
            ], timeout: 300)
    }

    @Test("It mounts through fusermount3, and reads right")
    func mounts() throws {
        let gallery = try Gallery(["plain.qcow2", "zstd.qcow2"], seed: 1)
        let result = try run(
            """
            set -e; "$1" "$2" "$3"; for name in plain zstd; do cmp "$4" "$3/$name.qcow2/disk.raw"; done
            [ "$(stat -c %u "$3/plain.qcow2/disk.raw")" = 65534 ]
            fusermount3 -u "$3"; for turn in {1..100}; do pgrep -f "foreground.* $3\\$" >/dev/null || exit 0; sleep 0.1; done
            exit 96
            """, gallery)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
    }

    @Test("The kernel reads nothing by itself for it, which stats.json says, and --kernel-path require as well")
    func kernelPath() throws {
        let gallery = try Gallery(["disk.raw"], seed: 11)
        let result = try run(
            """
            "$1" --kernel-path require "$2" "$3"; echo $?
            set -e; "$1" "$2" "$3"; cmp "$4" "$3/disk.raw/disk.raw"
            jq -r '.rblock | ."kernel-path".path, ."kernel-path".reason, .counters.reads > 0' "$3/disk.raw/stats.json"
            jq -c '.rblock."kernel-path".available' "$3/stats.json"; fusermount3 -u "$3"
            """, gallery)
        let lines = result.text.split(separator: "\n")
        // 69 where the kernel cannot do it for root either.
        #expect(result.status == 0 && ["77", "69"].contains(lines.first ?? ""), "\(result.text)\(result.errors)")
        #expect(lines.count == 5 && lines[1] == "server" && lines[3...] == ["true", "[]"], "\(result.text)")
        #expect(result.errors == "rblockfs: --kernel-path require: \(lines.count > 2 ? lines[2] : "")\n")
    }

    @Test("Images that may not be read, and a mountpoint that may not be used, end with 77")
    func permissions() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 2)
        try Shell.check("cd \"$1/..\" && mkdir -m 700 secret && mkdir -m 755 theirs", gallery.images)
        for script in ["\"$1\" \"$2/../secret\" \"$3\"", "\"$1\" \"$2\" \"$2/../theirs\""] {
            let result = try run(script, gallery)
            #expect(result.status == 77, "\(result.errors)")
            let lines = result.errors.split(separator: "\n")
            #expect(lines.count == 1 && lines[0].hasPrefix("rblockfs: "), "\(result.errors)")
        }
    }

    @Test("An image that may not be read tells so, and the others are shown")
    func unreadableImage() throws {
        let gallery = try Gallery(["plain.qcow2", "zlib.qcow2"], seed: 3)
        try Shell.check("cd \"$1\"; mkdir -m 700 locked; ln -s locked/zlib.qcow2 locked.qcow2", gallery.images)
        let result = try run(
            """
            set -e; "$1" "$2" "$3"; cmp "$4" "$3/plain.qcow2/disk.raw"; cat "$3/locked.qcow2/stats.json" | jq -r .error.message
            fusermount3 -u "$3"
            """, gallery)
        #expect(result.status == 0 && result.text.contains("Permission denied"), "\(result.text)\(result.errors)")
    }

    @Test("allow_other is refused with the line that root would have to write, and works with it")
    func allowOther() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 4)
        for allowed in [false, true] {
            let result = try Isolated.run(
                """
                echo "$5" >"$4/fuse.conf"; mount --bind "$4/fuse.conf" /etc/fuse.conf; chown 65534 "$2"
                user() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
                user rblockfs -o allow_other "$1" "$2" || exit
                cmp "$3" "$2/plain.qcow2/disk.raw" && user fusermount3 -u "$2"
                """, gallery, allowed ? "user_allow_other" : "")
            if allowed {
                #expect(result.status == 0 && result.errors == "", "\(result.errors)")
            } else {
                let lines = result.errors.split(separator: "\n")
                #expect(result.status == 77 && lines.count == 1, "\(result.errors)")
                #expect(result.errors.contains("echo user_allow_other >>/etc/fuse.conf"), "\(result.errors)")
            }
        }
    }

    @Test("SIGTERM, a dead mount, and --drop-privileges, which has nothing to drop")
    func ends() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        let result = try Isolated.run(
            """
            chown 65534 "$2"; setpriv --reuid 65534 --regid 65534 --clear-groups bash -c '
                rblockfs --drop-privileges "$1" "$2" || exit 1; server=$(server); exec 5<"$2/plain.qcow2/disk.raw"
                kill $server; for_long ended $server; gone "$2" || exit 2
                rblockfs "$1" "$2" || exit 3; server=$(server); kill -9 $server; for_long ended $server
                ls "$2" 2>/dev/null && exit 4
                rblockfs "$1" "$2" || exit 5; cmp "$3" "$2/plain.qcow2/disk.raw" || exit 6
                fusermount3 -u "$2" && gone "$2"' bash "$@"
            """, gallery)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(result.errors.contains("removed the mount"), "\(result.errors)")
    }

    @Test(
        "Who is root only in a user namespace of their own mounts without fusermount3",
        arguments: ["", "--drop-privileges"])
    func userNamespace(options: String) throws {
        let gallery = try Gallery(["plain.qcow2", "zlib.qcow2"], seed: 6)
        let result = try Isolated.run(
            """
            chown 65534 "$2"; setpriv --reuid 65534 --regid 65534 --clear-groups unshare -rm bash -c '
                rblockfs -o allow_other $5 "$1" "$2" || exit 1; server=$(server)
                for name in plain zlib; do cmp "$3" "$2/$name.qcow2/disk.raw" || exit 2; done
                [ "$(stat -c %u "$2/plain.qcow2/disk.raw")" = 0 ] || exit 3
                umount "$2" || exit 4; for_long ended $server
                rblockfs $5 "$1" "$2" || exit 5; server=$(server); kill $server; for_long ended $server; gone "$2" || exit 6
                rblockfs "$1" "$2" || exit 7; server=$(server); kill -9 $server; for_long ended $server
                rblockfs "$1" "$2" || exit 8; cmp "$3" "$2/plain.qcow2/disk.raw" && umount "$2"' bash "$@"
            """, gallery, options)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
    }
}
