import Foundation
import HostTools
import TestImages

/// Runs scripts where mounts and processes are their own, and are gone with the script: in a mount and a process
/// namespace, in which the command under test is installed as /usr/local/bin/rblockfs, and /dev/fuse may be opened by
/// everyone.
enum Isolated {
    /// The programs that it needs.
    static let isThere =
        Tool.isRoot
        && Tool.canMount("qemu-img", "cmp", "mount", "umount", "setpriv", "unshare", "mknod", "pgrep", "mount.fuse3")

    /// What scripts begin with: how to find the server, and how to wait.
    private static let prelude = """
        mount --bind "$1" /usr/local/bin && mount --bind "$2" /dev/fuse || exit 97
        shift 2
        server() { pgrep -f '^([^ ]*/)?rblockfs --foreground'; }
        mounted() { grep -q " $1 " /proc/self/mountinfo; }
        for_long() { local turn; for turn in {1..400}; do "$@" && return; sleep 0.05; done; echo "never: $*" >&2; exit 96; }
        ended() { ! readlink "/proc/$1/exe" >/dev/null 2>&1; }
        gone() { ! mounted "$1"; }
        export -f server mounted for_long ended gone
        PATH=/usr/local/bin:$PATH

        """

    /// Runs `script` in bash: $1 is the folder of images, $2 a mountpoint of everybody's, $3 the disk that each image is,
    /// $4 a folder of its own; the rest are `arguments`.
    static func run(_ script: String, _ gallery: Gallery, _ arguments: String..., timeout: Double = 300) throws
        -> ToolResult
    {
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        let programs = try folder.makeFolder("bin")
        let own = try folder.makeFolder("own")
        try Shell.check(
            "chmod 755 \"$1\" \"$5/..\" && chmod 777 \"$2\" \"$4\" && cp \"$6\" \"$3/rblockfs\""
                + " && chmod 755 \"$3\" \"$3/rblockfs\" && mknod -m 666 \"$1/fuse\" c 10 229",
            folder.path, mountpoint, programs, own, gallery.images, Tool.rblockfs)
        return try Tool.run(
            "unshare",
            [
                "-mpf", "--kill-child", "--mount-proc", "bash", "-c", prelude + script, "bash", programs,
                folder.file("fuse"), gallery.images, mountpoint, gallery.disk, own,
            ] + arguments, timeout: timeout)
    }
}
