import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: BootKernel.isThere && Tool.canMount()))
struct `A machine` {
    private func rblock(_ arguments: String...) throws {
        let result = try RBlock.run(arguments)
        guard result.status == 0 else {
            throw ToolFailure(description: "rblock \(arguments): \(result.status): \(result.errors)")
        }
    }

    @Test(.timeLimit(.minutes(10)))
    func `boots what was converted, a delta over its base, and a mounted image`() async throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        let disk = try BootDisk("disk.raw", marker: "this is the base", in: folder)
        let changed = try disk.copy(to: folder.file("changed.raw"), marker: "this was changed")
        let (base, delta, vmdk) = ("\(images)/base.qcow2", "\(images)/delta.qcow2", "\(images)/stream.vmdk")
        try rblock("convert", disk.path, base)
        try rblock("delta", base, changed.path, delta)
        try rblock("convert", "-o", "subformat=streamOptimized", changed.path, vmdk)
        // A marker, its directory entry, and what is around them: not the 16 MB of the kernel.
        #expect(try Status(delta).size < 1 << 20)
        let mount = try Mount(images)
        let boots: [(image: String, format: String, marker: String)] = [
            (base, "qcow2", "this is the base"), (delta, "qcow2", "this was changed"),
            (vmdk, "vmdk", "this was changed"), (mount.disk("delta.qcow2"), "raw", "this was changed"),
        ]
        try await withThrowingTaskGroup { group in
            for boot in boots {
                group.addTask {
                    let console = try Machine.boot(boot.image, format: boot.format)
                    #expect(console.contains(boot.marker), "\(boot.image): \(console)")
                }
            }
            try await group.waitForAll()
        }
        withExtendedLifetime((folder, mount)) {}
    }

    @Test(.timeLimit(.minutes(10)))
    func `boots from an overlay and writes to it, and from a mounted image, and each reads what the other wrote`()
        throws
    {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        let disk = try BootDisk("disk.raw", marker: "this is the base", in: folder)
        try rblock("convert", disk.path, "\(images)/base.qcow2")
        let sum = try Shell.check("sha256sum \"$1\"", "\(images)/base.qcow2")
        let (overlays, overlay) = (folder.file("overlays"), folder.file("overlays/base.qcow2.overlay.qcow2"))
        func write(marker: String, _ mount: Mount) throws {
            try Shell.check(
                "echo \"$2\" | mcopy -o -i \"$1@@1M\" - ::marker; : | mcopy -o -i \"$1@@1M\" - ::answer",
                mount.disk("base.qcow2"), marker)
        }
        func answer(_ mount: Mount) throws -> String {
            try Shell.check("mtype -i \"$1@@1M\" ::answer", mount.disk("base.qcow2"))
        }

        var mount = try Mount(images, options: ["--overlay", overlays])
        try write(marker: "written over it", mount)
        try mount.unmount(patience: 200)
        var console = try Machine.boot(overlay, format: "qcow2", isKept: true)
        #expect(console.contains("written over it"), "\(console)")

        mount = try Mount(images, options: ["--overlay", overlays])
        #expect(try answer(mount) == "written over it")
        try write(marker: "and once more", mount)
        console = try Machine.boot(mount.disk("base.qcow2"), format: "raw", isKept: true)
        #expect(console.contains("and once more"), "\(console)")
        #expect(try answer(mount) == "and once more")
        try mount.unmount(patience: 200)

        try Tool.check("qemu-img", "check", "-f", "qcow2", overlay)
        mount = try Mount(images, options: ["--overlay", overlays])
        #expect(try answer(mount) == "and once more")
        #expect(try Shell.check("sha256sum \"$1\"", "\(images)/base.qcow2") == sum)
        try mount.unmount(patience: 200)
    }
}
