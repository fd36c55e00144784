import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.canMount("qemu-img", "cmp")))
struct `Paths on the command line of rblockfs that are not UTF-8` {
    @Test func `are those that are read, allowed, mounted on and written`() throws {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("disk"), size: 1 << 20, seed: 7)
        // The name of the mountpoint is known to who cleans up only by its folder.
        try CleanUp.register(
            "fusermount3 -u -z \"$1\"/mnt* 2>/dev/null; rm -rf --one-file-system \"$1\"", folder.path)
        try Shell.check(
            """
            cd "$1"; umlaut=$'\\374'
            mkdir "images$umlaut" "base$umlaut" "mnt$umlaut"
            qemu-img convert -O qcow2 disk "base$umlaut/b.qcow2"
            qemu-img create -q -f qcow2 -u -b "$1/base$umlaut/b.qcow2" -F qcow2 "images$umlaut/t$umlaut.qcow2" 1M
            "$2" --allow-path "base$umlaut" --pid-file "pid$umlaut" "images$umlaut" "mnt$umlaut"
            status=0
            cmp "mnt$umlaut/t$umlaut.qcow2/disk.raw" disk && test -s "pid$umlaut" || status=1
            fusermount3 -u "mnt$umlaut"
            for i in $(seq 100); do test -e "pid$umlaut" || break; sleep 0.1; done
            ! test -e "pid$umlaut"; rmdir "mnt$umlaut"; ls -b; exit $status
            """, folder.path, Tool.rblockfs)
    }
}
