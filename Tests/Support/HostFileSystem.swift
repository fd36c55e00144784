import Foundation
import HostTools

/// A file system of the kernel for one test, mounted for writing, and unmounted with the last reference.
package final class HostFileSystem: Sendable {
    /// Where it is mounted.
    package let path: String
    private let folder: TemporaryFolder

    /// Mounts an empty file system of `size` bytes: `kind` is tmpfs, or one that there is a mkfs for.
    package init(_ kind: String, size: Int) throws {
        folder = try TemporaryFolder()
        path = try folder.makeFolder("mnt")
        try CleanUp.register("umount -l \"$1\"; rm -rf --one-file-system \"${1%/*}\"", path)
        if kind == "tmpfs" {
            try Tool.check("mount", "-t", "tmpfs", "-o", "size=\(size)", "tmpfs", path)
        } else {
            try Shell.check(
                "truncate -s $2 \"$1/device\"; mkfs.$3 \"$1/device\" >/dev/null; mount -o loop \"$1/device\" \"$1/mnt\"",
                folder.path, "\(size)", kind)
        }
    }

    deinit {
        // The kernel lets go of the loop device by itself.
        _ = try? Tool.run("umount", ["-l", path])
    }

    /// The path of `name` in it.
    package func file(_ name: String) -> String { "\(path)/\(name)" }
}
