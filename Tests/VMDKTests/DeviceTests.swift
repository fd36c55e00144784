import BlockImage
import TestImages
import Testing

@testable import VMDK

@Suite struct DeviceTests {
    private static let table = (0..<512).map { UInt8(truncatingIfNeeded: $0 &* 7) | 1 }

    private static let partitioned = """
        # Disk DescriptorFile
        createType="partitionedDevice"
        RW 1 FLAT "disk-pt.vmdk" 0
        RW 2 FLAT "\\\\.\\PhysicalDrive0" 63 6E29-11 "disk 0"
        RW 1 ZERO
        NOACCESS 1 FLAT "/dev/sdb" 0

        """

    @Test func `a disk some of which lies on a device is read but there`() throws {
        let layer = try openLayer(Self.partitioned, ["disk-pt.vmdk": MemoryFile(Self.table, path: "disk-pt.vmdk")])
        let image = Image(layer: layer)
        #expect(image.virtualSize == 5 * 512)
        #expect(try image.bytes(512, at: 0) == Self.table)
        #expect(try image.bytes(1024, at: 1536).allSatisfy { $0 == 0 })
        let denied = ImageError(
            .denied, path: "memory.img",
            #"extent "\\.\PhysicalDrive0": is a device, and only files are opened; the disk from 0x200 to 0x600 lies there"#
        )
        for start in [512, 1535, 0] {
            #expect(
                imageError { () throws(ImageError) in _ = try image.bytes(513, at: UInt64(start)) } == denied)
        }
        #expect(
            layer.notes == [
                #"memory.img: extents on devices cannot be read; there are 1, the first on "\\.\PhysicalDrive0""#,
                "memory.img: extents whose access is NOACCESS are read as zeros; there are 1",
            ])
        #expect(layer.extents.map(\.line?.partitionUUID) == [nil, "6E29-11", nil, nil])
        #expect(layer.extents.map(\.line?.deviceID) == [nil, "disk 0", nil, nil])
        #expect(layer.extents.map(\.line?.hostOffset?.rawValue) == [0, 63 * 512, nil, 0])
        #expect(layer.extents.map(\.path) == ["disk-pt.vmdk", nil, nil, nil])
    }

    @Test func `a disk all of which lies on devices is refused, whatever zeros it has`() throws {
        let head = "# Disk DescriptorFile\ncreateType=\"fullDevice\"\n"
        let text = head + "RW 5 FLAT \"/dev/sda\" 0\nRW 1 ZERO\nRW 7 FLAT \"/dev/sdb\" 0\n"
        #expect(
            imageError { () throws(ImageError) in _ = try openLayer(text) }
                == ImageError(
                    .unsupported, path: "memory.img", offset: HostOffset(UInt64(head.utf8.count)),
                    "extent: the disk is the device \"/dev/sda\" itself (fullDevice), not a file; open the device "
                        + "directly, or copy it to an image"))
    }

    @Test func `a fullDevice in a file, as VirtualBox makes it of a raw disk, is read`() throws {
        let text = "# Disk DescriptorFile\ncreateType=\"fullDevice\"\nRW 1 FLAT \"/images/disk.raw\" 0\n"
        let layer = try openLayer(text, ["disk.raw": MemoryFile(Self.table)])
        #expect(try Image(layer: layer).wholeDisk() == Self.table)
    }

    @Test(arguments: [
        "vmfs", "vmfsThin", "vmfsPreallocated", "VMFSEAGERZEROEDTHICK", "thickLazy", "custom", "partitionedDevice",
        "fullDevice", "monolithicFlat", "MonolithicSparse", "2GbMaxExtentFlat", "vmfsRawDeviceMap", "", "anything",
    ])
    func `no createType decides anything, nor does its case`(createType: String) throws {
        let text = """
            # Disk DescriptorFile
            CREATETYPE="\(createType)"
            rw 1 vmfs "f"
            RDONLY 1 Flat "f" 1
            NoAccess 1 FLAT "gone" 0
            RW 1 FLAT "f" 0
            """
        let flat = Self.table + Self.table.reversed()
        let layer = try openLayer(text, ["f": MemoryFile(flat)])
        #expect(try Image(layer: layer).wholeDisk() == flat + [UInt8](repeating: 0, count: 512) + Self.table)
        #expect(layer.description.createType == createType)
    }
}
