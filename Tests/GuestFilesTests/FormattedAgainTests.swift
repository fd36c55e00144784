import BlockImage
import Foundation
import GuestFiles
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("mkfs.ext4", "mkfs.vfat", "mkfs.exfat", "xorriso")))
struct `A disk that was formatted again` {
    private static let kinds = [
        "mkfs.ext4 -q -F", "mkfs.ext2 -q -F -b 1024", "mkfs.vfat -F 32", "mkfs.vfat -F 16", "mkfs.exfat",
        // An image of a CD is copied over a disk.
        "mkfs.iso9660() { xorriso -as mkisofs -quiet -R -o \"$1.iso\" /dev/null 2>&1; dd if=\"$1.iso\" of=\"$1\" conv=notrunc 2>&1; }; mkfs.iso9660",
    ]

    /// What was left of the file system before must not be shown in place of the one that is there.
    @Test(arguments: kinds, kinds)
    func `has its last file system, or is refused`(first: String, second: String) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("disk")
        try Shell.check(
            "truncate -s 64M \"$1\"; PATH=$PATH:/usr/sbin; \(first) \"$1\" >/dev/null; \(second) \"$1\" >/dev/null",
            path)
        let disk = Image(layer: RawLayer(file: MemoryFile(Array(try Data(contentsOf: URL(fileURLWithPath: path))))))
        let type = second.split(separator: " ")[0].dropFirst("mkfs.".count).prefix { $0 != "(" }
        do throws(ImageError) {
            let found = try GuestFileSystems.open(disk, path: path)
            #expect(found?.info.type == String(type), "\(first), \(second)")
        } catch {
            #expect(error.code == .unsupported && "\(error)".contains("has the superblocks of"), "\(error)")
        }
    }
}
