import BlockImage
import HostTools
import ImageFormats
import TestImages
import Testing

@testable import OVA

/// What an appliance is for: the images in it are opened and read where they are.
struct `Images inside an appliance` {
    private func open(_ disk: String, of found: Appliance, as format: ImageFormat) throws -> OpenedImage {
        let disk = try #require(found.disks.first { $0.folderName.text == disk })
        let opener = ImageOpener(policy: found.policy, resources: LayerResources())
        return opener.open(try disk.file.get(), as: format, counters: ReadCounters())
    }

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "tar")),
        arguments: ["monolithicSparse", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
    func `are read through slices, with the other members that they name`(subformat: String) throws {
        let folder = try TemporaryFolder()
        var random = SeededRandom(seed: 7)
        let content = (0..<300_000).map { _ in UInt8.random(in: 0...255, using: &random) }
        try folder.write(content + [UInt8](repeating: 0, count: 724_000), to: "raw")
        try Shell.check(
            """
            cd "$1"; qemu-img convert -O vmdk -o subformat=\(subformat) raw disk.vmdk
            qemu-img convert -O raw disk.vmdk expected
            echo '<Envelope/>' >a.ovf; tar --format=ustar -cf x.ova a.ovf disk*.vmdk; rm disk*.vmdk
            """, folder.path)
        let found = try Appliance(folder.open("x.ova"))
        for _ in 0..<2 {
            let opened = try open("disk.vmdk", of: found, as: .vmdk)
            #expect(try opened.disk.result.get().firstDifference(from: folder.file("expected")) == nil)
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "tar"))) func `may be overlays of others, but not of themselves`()
        throws
    {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; head -c 100352 /dev/urandom >base.raw; qemu-img convert -O qcow2 base.raw base.qcow2
            qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
            qemu-img create -q -f qcow2 -u -b x/loop.qcow2 -F qcow2 loop.qcow2 1M
            qemu-img create -q -f qcow2 -u -b /etc/passwd -F raw out.qcow2 1M
            qemu-img convert -O raw base.qcow2 expected
            tar -cf x.ova base.qcow2 top.qcow2 loop.qcow2 out.qcow2
            """, folder.path)
        let found = try Appliance(folder.open("x.ova"))
        let top = try open("top.qcow2", of: found, as: .qcow2)
        #expect(try top.disk.result.get().firstDifference(from: folder.file("expected")) == nil)
        // It has no identity to be known by, but chains end at some length.
        #expect(throws: ImageError.self) { _ = try open("loop.qcow2", of: found, as: .qcow2).disk.result.get() }
        #expect(
            throws: ImageError(
                .denied, path: "\(folder.path)/x.ova/out.qcow2",
                "backing file \"/etc/passwd\": the archive has no such member, and an image in an archive may name "
                    + "nothing else; looked for \"../etc/passwd\" and \"passwd\" as well")
        ) { _ = try open("out.qcow2", of: found, as: .qcow2).disk.result.get() }
    }
}
