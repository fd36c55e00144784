import HostTools
import TestImages
import Testing

/// 7-Zip reads a stream by its markers from its start to its end, and opens none that has none before its tables.
@Suite(.enabled(if: Tool.areThere("7zz")))
struct `A streamOptimized VMDK that is written` {
    @Test func `is the disk for 7-Zip as well`() throws {
        let folder = try TemporaryFolder()
        // Two grain tables, of 32 MiB each.
        try Pattern.writeDisk(folder.file("disk.raw"), size: 40 << 20, seed: 12)
        let text = try Shell.check(
            """
            cd "$2"; "$1" convert -O vmdk -o subformat=streamOptimized disk.raw disk.vmdk >/dev/null
            7zz x -so disk.vmdk 2>errors | cmp - disk.raw && echo same
            """, Tool.rblock, folder.path)
        #expect(text.contains("same"), "\(text)")
    }
}
