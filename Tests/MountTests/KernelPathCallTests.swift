import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "The system calls for disks that the kernel reads by itself",
    .enabled(if: KernelPath.passesThrough && Tool.canMount("strace", "cmp")))
struct KernelPathCallTests {
    @Test("Only files that were opened and checked are handed to the kernel, by no name, and each is taken back")
    func calls() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk("\(images)/a.raw", size: 1 << 20, seed: 1)
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        try Shell.check(
            """
            strace -f -qqq -o "$1/log" -e trace=open,openat,openat2,open_tree,mount_setattr,ioctl \
                "$2" -f "$1/images" "$1/mnt" 2>/dev/null &
            for i in {1..600}; do [ -e "$1/mnt/a.raw" ] && break; sleep 0.1; done
            cmp "$1/images/a.raw" "$1/mnt/a.raw/disk.raw" || exit 1
            exec 3<"$1/mnt/a.raw/disk.raw"
            if : 2>/dev/null >>"$1/mnt/a.raw/disk.raw"; then exit 2; fi
            if : 2>/dev/null 4<>"$1/mnt/a.raw/disk.raw"; then exit 3; fi
            cmp "$1/images/a.raw" - <&3 || exit 4
            exec 3<&-
            for i in {1..600}; do grep -q '"open-files" *: *0' "$1/mnt/stats.json" && break; sleep 0.1; done
            fusermount3 -u "$1/mnt"; wait
            """, folder.path, Tool.rblockfs)
        let log = try String(contentsOfFile: folder.file("log"), encoding: .utf8).split(separator: "\n")
        // _IOW(229, 1, …) registers a file, and _IOW(229, 2, …) forgets it.
        let registered = log.indices.filter { log[$0].contains("0xe5, 0x1, 0x10)") }
        #expect(registered.count >= 2, "a file in memory as a trial, and the image")
        #expect(log.count { $0.contains("0xe5, 0x2, 0x4)") } == registered.count)
        let trees = log.filter { $0.contains("open_tree(") }
        // Of each image once for all who have it open.
        #expect(trees.count == registered.count - 1 && trees.allSatisfy { $0.contains(", \"\", OPEN_TREE_CLONE") })
        // Calls of several threads have their end in a line of its own. To unmount, /dev/null takes the device's place.
        let others = ["resumed>", "\"/dev/null\"", "open_tree("]
        for line in log[(registered.first ?? 0)...]
        where line.contains("open") && !others.contains(where: line.contains) {
            let isKnown = ["\"/proc/self/", "\"\(images)", "openat2("].contains(where: line.contains)
            #expect(isKnown && !line.contains("O_RDWR") && !line.contains("O_WRONLY"), "\(line)")
        }
    }
}
