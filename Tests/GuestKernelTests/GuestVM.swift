import BlockImage
import Catalog
import Foundation
import GuestFiles
import GuestKernel
import HostTools
import ImageFormats
import SystemPackage
import TestImages

/// What machines of these tests are made of.
enum GuestVM {
    /// Whether tests that boot one may run.
    static var isThere: Bool { BootKernel.isThere(Tool.areThere("qemu-system-x86_64")) }

    /// Whether the kernel of this host can be the judge of what it shows.
    static var hasJudge: Bool {
        isThere && Tool.canUseLoopDevices("mkfs.xfs", "mkfs.btrfs", "mkfs.ext4", "python3", "sha256sum")
            && ["xfs", "btrfs", "ext4"].allSatisfy { Tool.knowsFileSystem($0) }
    }

    /// The kernel that is booted.
    static let kernel = Result<KernelFiles, ImageError> { () throws(ImageError) in
        try KernelFiles.find(in: FilePath(BootKernel.folder), or: "/")
    }

    /// A machine with the raw images `paths` for reading, for file systems of `types`.
    static func reading(_ paths: [String], _ types: Set<String>) throws -> GuestMachine {
        let disks = try paths.map { MachineDisk(reading: try image($0), path: $0) }
        return try GuestMachine.start(disks: disks, types: types, kernel: try kernel.get())
    }

    /// The disk that the image at `path` has.
    static func image(_ path: String) throws -> Image {
        try NamedImage(FilePath(path)).open().disk.result.get()
    }
}

/// A file system in a file, which the kernel of this host fills and reads.
final class HostImage: Sendable {
    let path: String
    private let folder: TemporaryFolder

    /// An empty one of `size`, as truncate(1) has it, made by `mkfs`, a command and its options.
    init(_ mkfs: String, size: String) throws {
        folder = try TemporaryFolder()
        path = folder.file("disk.raw")
        try Shell.check("truncate -s $1 $2; \(mkfs) $2 >/dev/null", size, path)
    }

    private init(copying other: HostImage) throws {
        folder = try TemporaryFolder()
        path = folder.file("disk.raw")
        try Shell.check("cp --sparse=always $1 $2", other.path, path)
    }

    /// The same in another file, as it is now.
    func copy() throws -> HostImage { try HostImage(copying: self) }

    /// The name of another file beside it.
    func file(_ name: String) -> String { folder.file(name) }

    /// Has `script` run with the file system mounted at `$M`; answers what it prints. Nothing else sees that mount.
    @discardableResult
    func mounted(_ script: String, _ arguments: String...) throws -> String {
        let mountpoint = try folder.makeFolder("mnt")
        let program = """
            M=$1; mount -o loop,noatime $2 $M
            trap 'umount $M' EXIT
            shift 2
            \(script)
            """
        return try Shell.check(
            "exec unshare -m --propagation private bash -ec \"$@\"",
            arguments: [program, "bash", mountpoint, path] + arguments)
    }

    /// Every file as the kernel has it, each in a line.
    func kernelLines() throws -> [String] {
        try mounted("python3 -c \"$1\" $M", GuestTree.walk).split(separator: "\n").map(String.init).sorted()
    }

    /// The check sum of all its blocks that are not zeros, and of where these are.
    func sum() throws -> String {
        try Shell.check(
            """
            python3 -c '
            import hashlib, os, sys
            f, at, sum, zeros = os.open(sys.argv[1], os.O_RDONLY), 0, hashlib.sha256(), bytes(1 << 16)
            while True:
                try: at = os.lseek(f, at, os.SEEK_DATA) & -65536
                except OSError: break
                block = os.pread(f, 1 << 16, at)
                if block != zeros[:len(block)]: sum.update(b"%d" % at + block)
                at += 1 << 16
            print(sum.hexdigest(), os.fstat(f).st_size)' "$1"
            """, path)
    }
}
