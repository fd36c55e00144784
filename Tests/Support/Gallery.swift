import Foundation
import HostTools

/// One disk, kept as every kind of image that qemu-img writes and rblockfs reads, in a folder of its own.
package final class Gallery: Sendable {
    /// The ways to store a disk, by the name of the image, and the options of `qemu-img convert` for it.
    package static let kinds: [(name: String, options: [String])] = [
        ("disk.raw", ["-O", "raw"]),
        ("plain.qcow2", ["-O", "qcow2"]),
        ("small-clusters.qcow2", ["-O", "qcow2", "-o", "cluster_size=4k"]),
        ("old.qcow2", ["-O", "qcow2", "-o", "compat=0.10"]),
        ("zlib.qcow2", ["-O", "qcow2", "-c"]),
        ("zstd.qcow2", ["-O", "qcow2", "-c", "-o", "compression_type=zstd"]),
        ("sparse.vmdk", ["-O", "vmdk", "-o", "subformat=monolithicSparse"]),
        ("flat.vmdk", ["-O", "vmdk", "-o", "subformat=monolithicFlat"]),
        ("split-sparse.vmdk", ["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]),
        ("split-flat.vmdk", ["-O", "vmdk", "-o", "subformat=twoGbMaxExtentFlat"]),
        ("stream.vmdk", ["-O", "vmdk", "-o", "subformat=streamOptimized"]),
    ]

    /// The folder of images.
    package let images: String
    /// The disk itself, outside that folder.
    package let disk: String
    private let folder: TemporaryFolder

    /// Makes the images `names` (all of `kinds` where it is empty) of a disk of `size` bytes that `seed` decides.
    package init(_ names: [String] = [], size: UInt64 = 5 << 20 | 0x1_2600, seed: UInt64) throws {
        folder = try TemporaryFolder()
        images = try folder.makeFolder("images")
        disk = folder.file("disk")
        try Pattern.writeDisk(disk, size: size, seed: seed)
        for (name, options) in Gallery.kinds where names.isEmpty || names.contains(name) {
            let result = try Tool.run(
                "qemu-img", ["convert", "-f", "raw"] + options + [disk, file(name)], in: images)
            guard result.status == 0 else { throw ToolFailure(description: "\(name): \(result.errors)") }
        }
    }

    /// The path of an image.
    package func file(_ name: String) -> String { "\(images)/\(name)" }

    /// The checksum of every file of the folder, as sha256sum prints it.
    package func checksums() throws -> String {
        try Shell.check("cd \"$1\" && find . -type f -print0 | sort -z | xargs -0 sha256sum", images)
    }
}
