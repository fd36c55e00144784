import Foundation
import HostTools
import TestImages
import Testing

/// A folder with images in `images`, that is mounted on `mnt` with overlays in `changes`.
final class OverlayImages: Sendable {
    let folder: TemporaryFolder
    var path: String { folder.path }

    /// Has `script` make images in the folder `images`.
    init(_ script: String) throws {
        folder = try TemporaryFolder()
        try Mount.register(folder.file("mnt"))
        try Shell.check("cd \"$1\"; mkdir images mnt changes; cd images\n" + script, path)
    }

    /// The path of the overlay of `image`.
    func overlay(_ image: String) -> String { folder.file("changes/\(image).overlay.qcow2") }

    /// Mounts the images so.
    func mount() throws -> Mount {
        try Mount(
            folder.file("images"), options: ["--overlay", folder.file("changes")], at: folder.file("mnt"), in: folder)
    }

    /// Mounts, has `script` write with its disk in $1, and unmounts.
    func write(_ image: String, _ script: String = OverlayImages.changes) throws {
        let mount = try mount()
        try Shell.check(script, mount.disk(image))
        try mount.unmount()
    }

    /// Writes to a disk of 32 MiB, or a little less: data, long and short, at the end as well, and holes.
    static let changes = """
        random() { head -c $2 /dev/urandom | dd of="$disk" bs=1k seek=$1 conv=notrunc status=none; }
        disk=$1; size=$(stat -c %s "$1")
        random 100 1M; random 3001 3000; random 9000 4096; random $((size / 1024)) $((size % 1024))
        fallocate -p -o 5M -l 3M "$1"; fallocate -p -o 12583000 -l 70000 "$1"; fallocate -z -o 16M -l 12345 "$1"
        """

    /// Runs `rblock` with the folder of images allowed.
    func run(_ verb: String, _ image: String, _ options: String...) throws -> ToolResult {
        try RBlock.run([verb] + options + [overlay(image)], in: path)
    }

    /// The disk of the overlay, by qemu-img; without an overlay, that of the image.
    func disk(_ image: String) throws -> String {
        let isThere = FileManager.default.fileExists(atPath: overlay(image))
        let format = !isThere && image.hasSuffix(".raw") ? "raw" : "qcow2"
        return try Shell.check(
            "cd \"$1\"; qemu-img convert -f $2 -O raw \"$3\" disk; sha256sum <disk; rm disk", path, format,
            isThere ? overlay(image) : folder.file("images/\(image)"))
    }

    /// What `rblock info` says of the image under the overlay.
    func base(of image: String) throws -> JSONValue? {
        try RBlock.json("info", "--allow-path", folder.file("images"), overlay(image))["rblock", "base"]
    }

    /// A script that makes images of 32 MiB.
    static let made = """
        qemu-img create -q -f qcow2 base.qcow2 32M; qemu-io -c 'write -P 7 0 9M' base.qcow2 >/dev/null; cp base.qcow2 other.qcow2
        qemu-img create -q -f vmdk disk.vmdk 32M; truncate -s 32M disk.raw
        qemu-img create -q -f qcow2 -o compat=0.10 old.qcow2 32M
        """

    /// Commits, which must be refused because of `words`, and change nothing.
    func refused(
        _ image: String, _ words: String, _ options: String..., status: Int32 = 1
    ) throws {
        let sums = "cd \"$1\"; find images changes -type f | sort | xargs sha256sum"
        let before = try Shell.check(sums, path)
        let result = try RBlock.run(
            ["commit", "--yes", "--allow-path", "images"] + options + [overlay(image)], in: path)
        #expect(result.status == status && result.errors.contains(words), "\(image), \(words): \(result)")
        #expect(try Shell.check(sums, path) == before, "\(words)")
    }
}
