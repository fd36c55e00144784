import Foundation
import HostTools
import TestImages
import Testing

/// A folder of images, and one for the overlays of what is written to their disks.
final class OverlaidFolder: Sendable {
    let folder: TemporaryFolder
    var images: String { folder.file("images") }
    var overlays: String { folder.file("overlays") }
    private let before: String

    /// Has `script` make images, in the folder of these.
    init(_ script: String, _ arguments: String...) throws {
        folder = try TemporaryFolder()
        _ = try folder.makeFolder("images")
        _ = try Shell.check("cd \"$1\"; shift\n" + script, arguments: [folder.file("images")] + arguments)
        before = try Self.sums(folder.file("images"))
    }

    private static func sums(_ folder: String) throws -> String {
        try Shell.check(
            "cd \"$1\"; find . -type f | sort | xargs -d '\\n' sha256sum; find . -printf '%p %T@\\n' | sort", folder)
    }

    /// Mounts the images with their overlays.
    func mount(_ options: String...) throws -> Mount {
        try Mount(images, options: ["--overlay", overlays] + options)
    }

    /// The overlay of `image`.
    func overlay(_ image: String) -> String { "\(overlays)/\(image).overlay.qcow2" }

    /// Ends `mount`; the images must be as they were, and every overlay clean, by QEMU's check, unless QEMU opens none.
    func end(
        _ mount: Mount, mayLeak: Bool = false, isForQEMU: Bool = true, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        // What other tests write may have to go to the disk first.
        try mount.unmount(patience: 200)
        try #require(try Self.sums(images) == before, sourceLocation: sourceLocation)
        if isForQEMU { try checkOverlays(mayLeak: mayLeak, sourceLocation: sourceLocation) }
    }

    /// Every overlay must have neither errors nor, unless `mayLeak`, leaks.
    func checkOverlays(mayLeak: Bool = false, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let found = try Shell.check(
            """
            find "$1" -name '*.qcow2' | while read name; do
              status=0; said=$(qemu-img check -f qcow2 "$name" 2>&1) || status=$?
              [ $status = 0 ] || [ $status = 3 -a "$2" = yes ] || echo "$name: $status $said"
            done
            """, overlays, mayLeak ? "yes" : "no")
        try #require(found == "", "\(found)", sourceLocation: sourceLocation)
    }

    /// The digest of the disk of `image` as QEMU reads it from the overlay.
    func digestByQEMU(_ image: String) throws -> String {
        try Shell.check(
            "cd \"$2\"; qemu-img convert -f qcow2 -O raw \"$1\" converted; sha256sum <converted; rm converted",
            overlay(image), folder.path)
    }

    /// The digest of the disk of `image` as `mount` has it.
    func digest(_ image: String, _ mount: Mount) throws -> String {
        try Shell.check("sha256sum <\"$1\"", mount.disk(image))
    }
}
