import BlockImage
import FormatCore
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

struct `What is said of a VMDK image` {
    /// `format-specific.data` of the image that is called `name`.
    private func data(_ opened: OpenedImage) throws -> JSONValue {
        let layer = try #require(opened.layers.first)
        let document = try JSONValue(parsing: JSONEncoder().encode(ImageInfo(layer)))
        return try #require(document["format-specific", "data"])
    }

    private func json(_ text: String) throws -> JSONValue { try JSONValue(parsing: Data(text.utf8)) }

    @Test func `is all that its descriptor says`() throws {
        let folder = try Folder()
        try folder.folder.write([UInt8](repeating: 1, count: 4 * 512), to: "disk-flat.vmdk")
        let text = """
            # Disk DescriptorFile
            version=4
            encoding="windows-1252"
            CID=0000000a
            parentCID=ffffffff
            parentFileNameHint="old.vmdk"
            createType="custom"
            RW 2 FLAT "C:\\VMs\\disk-flat.vmdk" 1
            RDONLY 1 vmfs "disk-flat.vmdk"
            NOACCESS 3 FLAT "\\\\.\\PhysicalDrive0" 63 6E29-11 "disk 0"
            RW 5 ZERO
            changeTrackPath="gone-ctk.vmdk"
            ddb.adapterType = "lsilogic"
            ddb.virtualHWVersion = "21"
            ddb.geometry.cylinders = "522"
            ddb.geometry.heads = "255"
            ddb.geometry.sectors = "63"
            ddb.geometry.biosCylinders = "1"
            ddb.geometry.biosHeads = "2"
            ddb.geometry.biosSectors = "3"
            ddb.uuid = "60 00"
            ddb.uuid.image = "i"
            ddb.uuid.modification = "m"
            ddb.uuid.parent = "p"
            ddb.uuid.parentmodification = "pm"
            ddb.longContentID = "2d31"
            ddb.toolsVersion = "12389"
            ddb.thinProvisioned = "1"
            ddb.comment = "Gr
            """
        let comment: [UInt8] = [0xfc, 0xdf, 0x65, 0x22, 0x0a]
        try folder.folder.write(Array(text.utf8) + comment, to: "disk.vmdk")
        let opened = try folder.open("disk.vmdk")
        #expect(opened.disk.error == nil)
        let path = folder.folder.file("disk-flat.vmdk")
        let expected = """
            {"cid": 10, "parent-cid": 4294967295, "create-type": "custom", "parent-file-name-hint": "old.vmdk",
            "version": "4", "encoding": "windows-1252", "change-track-path": "gone-ctk.vmdk",
            "adapter-type": "lsilogic", "hardware-version": "21", "tools-version": "12389", "thin-provisioned": true,
            "long-content-id": "2d31", "geometry": {"cylinders": 522, "heads": 255, "sectors": 63},
            "bios-geometry": {"cylinders": 1, "heads": 2, "sectors": 3},
            "uuids": {"disk": "60 00", "image": "i", "modification": "m", "parent": "p", "parent-modification": "pm"},
            "extents": [
            {"filename": "\(path)", "format": "FLAT", "virtual-size": 1024, "access": "RW", "type": "FLAT",
            "name": "C:\\\\VMs\\\\disk-flat.vmdk", "offset": 512},
            {"filename": "\(path)", "format": "VMFS", "virtual-size": 512, "access": "RDONLY", "type": "VMFS",
            "name": "disk-flat.vmdk", "offset": 0},
            {"format": "FLAT", "virtual-size": 1536, "access": "NOACCESS", "type": "FLAT",
            "name": "\\\\\\\\.\\\\PhysicalDrive0", "offset": 32256, "partition-uuid": "6E29-11", "device-id": "disk 0"},
            {"format": "ZERO", "virtual-size": 2560, "access": "RW", "type": "ZERO"}],
            "disk-database": {"ddb.adapterType": "lsilogic", "ddb.virtualHWVersion": "21",
            "ddb.geometry.cylinders": "522", "ddb.geometry.heads": "255", "ddb.geometry.sectors": "63",
            "ddb.geometry.biosCylinders": "1", "ddb.geometry.biosHeads": "2", "ddb.geometry.biosSectors": "3",
            "ddb.uuid": "60 00", "ddb.uuid.image": "i", "ddb.uuid.modification": "m", "ddb.uuid.parent": "p",
            "ddb.uuid.parentmodification": "pm", "ddb.longContentID": "2d31", "ddb.toolsVersion": "12389",
            "ddb.thinProvisioned": "1", "ddb.comment": "Grüße"}}
            """
        #expect(try data(opened) == json(expected))
        #expect(opened.layers.first.map { ImageInfo($0).backingFilename } == .some(nil))
    }

    @Test func `of a refused one are the lines of its descriptor`() throws {
        let folder = try Folder()
        let text = "# Disk DescriptorFile\nRW 2 VMFSRDM \"disk-rdm.vmdk\"\nRW 5 FLAT \"/dev/sda\" 3\n"
        try folder.folder.write(Array(text.utf8), to: "disk.vmdk")
        let opened = try folder.open("disk.vmdk")
        #expect(opened.disk.error?.code == .unsupported)
        let expected = """
            {"extents": [
            {"format": "VMFSRDM", "virtual-size": 1024, "access": "RW", "type": "VMFSRDM", "name": "disk-rdm.vmdk",
            "filename": "\(folder.folder.path)/disk-rdm.vmdk"},
            {"format": "FLAT", "virtual-size": 2560, "access": "RW", "type": "FLAT", "name": "/dev/sda",
            "filename": "/dev/sda", "offset": 1536}]}
            """
        #expect(try data(opened) == json(expected))
    }

    @Test func `with a sparse header is what that says`() throws {
        let folder = try Folder()
        try folder.delta("child.vmdk", over: "none", parentCID: nil)
        var extent = Array(try Data(contentsOf: URL(fileURLWithPath: folder.folder.file("child.vmdk.delta"))))
        extent[72] = 1
        try folder.folder.write(extent, to: "bare.vmdk")
        let opened = try folder.open("bare.vmdk")
        let expected = """
            {"header-version": 1, "unclean-shutdown": true, "extents": [{"filename": "\(folder.folder.file("bare.vmdk"))",
            "format": "", "virtual-size": 1048576, "cluster-size": 65536}]}
            """
        #expect(try data(opened) == json(expected))
    }

    @Test func `is bounded, and leaves out what is no number`() throws {
        let folder = try Folder()
        let entries = (0..<300).map { "DDB.k\($0)=\"v\"\n" }.joined()
        let text = "# Disk DescriptorFile\n\(entries)ddb.geometry.heads=-1\nddb.thinProvisioned=0\nRW 2 ZERO\n"
        try folder.folder.write(Array(text.utf8), to: "disk.vmdk")
        let data = try data(folder.open("disk.vmdk"))
        guard case .object(let database)? = data["disk-database"] else {
            Issue.record("no disk database")
            return
        }
        #expect(database.count == 256)
        #expect(data["geometry"] == nil)
        #expect(data["thin-provisioned"] == .bool(false))
    }
}
