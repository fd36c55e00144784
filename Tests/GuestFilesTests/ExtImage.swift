import BlockImage
import Foundation
import GuestFiles
import HostTools
import TestImages

/// A file system in a file, which the kernel fills and reads.
final class ExtImage: Sendable {
    /// The file.
    let path: String
    private let folder: TemporaryFolder

    /// An empty one of `size` as truncate(1) has it, made by `mkfs`, a command and its options.
    init(_ mkfs: String, size: String) throws {
        folder = try TemporaryFolder()
        path = folder.file("disk.img")
        // With a size for the journal: it would take most of a small one.
        try Shell.check("truncate -s $1 $2; \(mkfs) -q -F $2 >/dev/null", size, path)
    }

    private init(copying other: ExtImage) throws {
        folder = try TemporaryFolder()
        path = folder.file("disk.img")
        try Shell.check("cp --sparse=always $1 $2", other.path, path)
    }

    /// The same in another file, as it is now.
    func copy() throws -> ExtImage { try ExtImage(copying: self) }

    /// Has `script` run with the file system mounted at `$M`; answers what it prints.
    @discardableResult
    func mounted(_ options: String = "noatime", _ script: String, _ arguments: String...) throws -> String {
        let mountpoint = try folder.makeFolder("mnt")
        let program = """
            M=$1; mount -o loop,\(options) $2 $M
            trap 'umount $M' EXIT
            shift 2
            \(script)
            """
        // In a namespace of its own: a copy of the mount in that of another test would keep it mounted.
        return try Shell.check(
            "exec unshare -m --propagation private bash -ec \"$@\"",
            arguments: [program, "bash", mountpoint, path] + arguments)
    }

    /// The disk that it is.
    func disk() throws -> Image {
        Image(
            layer: RawLayer(
                file: MemoryFile(Array(try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped)))))
    }

    /// The file system, as this program reads it.
    func opened() throws -> any GuestFileSystem {
        guard let found = try GuestFileSystems.open(try disk(), path: path) else {
            throw ToolFailure(description: "\(path): no file system is found")
        }
        return found
    }

    /// Every file as the kernel has it, each in a line.
    func kernelLines(_ options: String = "noatime") throws -> [String] {
        try mounted(options, "python3 -c \"$1\" $M", GuestTree.walk).split(separator: "\n").map(String.init).sorted()
    }
}
