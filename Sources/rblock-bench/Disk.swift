import Foundation
import TestImages

/// An image to read.
struct DiskImage {
    var name: String
    var path: String
}

/// A disk filled from real files, which compress as real disks do.
struct Disk {
    let path: String
    private let folder: TemporaryFolder

    init(size: Int, in folder: TemporaryFolder) throws {
        self.folder = folder
        path = folder.file("disk")
        // tar ends by SIGPIPE once head has enough. What is missing at the end is a hole.
        let fill = "tar -cf - /usr /opt 2>/dev/null | head -c \(size) > '\(path)'; truncate -s \(size) '\(path)'"
        try Tool.check("sh", "-c", fill, timeout: 600)
        try Self.warm(path)
    }

    /// Makes an image of every kind that is measured.
    func makeImages() throws -> [DiskImage] {
        let kinds: [(name: String, file: String, options: [String])] = [
            ("qcow2", "plain.qcow2", ["-O", "qcow2"]),
            ("qcow2, zlib", "zlib.qcow2", ["-c", "-O", "qcow2"]),
            ("qcow2, zstd", "zstd.qcow2", ["-c", "-O", "qcow2", "-o", "compression_type=zstd"]),
            ("vmdk, monolithicSparse", "sparse.vmdk", ["-O", "vmdk"]),
        ]
        return try kinds.map { kind in
            let image = DiskImage(name: kind.name, path: folder.file(kind.file))
            let result = try Tool.run(
                "qemu-img", ["convert", "-q", "-f", "raw"] + kind.options + [path, image.path], timeout: 1200)
            guard result.status == 0 else { throw ToolFailure(description: result.errors) }
            try Self.warm(image.path)
            return image
        }
    }

    /// Reads the file into the page cache, so that only the servers' work is measured, and not the disk under them.
    private static func warm(_ path: String) throws {
        try Tool.check("sh", "-c", "cat '\(path)' >/dev/null", timeout: 600)
    }
}
