import Foundation
import HostTools
import Testing

/// What people do with the programs, as scripts that go by JSON and exit statuses alone.
@Suite(
    .enabled(
        if: Tool.canUseLoopDevices("qemu-img", "qemu-io", "jq", "sfdisk", "mkfs.ext4", "nbdinfo", "nbdcopy", "tar")))
struct `A script` {
    @Test(arguments: ["migrate", "backup", "rescue", "build"])
    func `needs no prose`(name: String) throws {
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "Scripts/\(name).sh")
        let folder = try TemporaryFolder()
        try CleanUp.register("umount -l \"$1/guest\" \"$1/mnt\" 2>/dev/null; true", folder.path)
        let result = try Shell.run(
            "cd \"$2\"; PATH=${1%/*}:$PATH:/usr/sbin:/sbin; exec bash \"$3\"", Tool.rblock, folder.path, script.path)
        #expect(result.status == 0 && result.text.hasSuffix("done\n"), "\(name): \(result.text)\n\(result.errors)")
    }
}
