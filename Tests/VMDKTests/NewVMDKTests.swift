import BlockImage
import TestImages
import Testing

@testable import VMDK

struct `A new disk` {
    /// A disk that is refused, and why.
    struct Refusal: Sendable, CustomTestStringConvertible {
        var message: String
        var size: UInt64 = 1 << 20
        var path = "folder/disk.vmdk"
        var change: @Sendable (inout NewVMDK) -> Void = { _ in }
        var testDescription: String { message }
    }

    static let refusals = [
        Refusal(message: "size is 0, but must be at least 1", size: 0),
        Refusal(message: "size is 1125899906842625, but must be at most 1125899906842624", size: (1 << 50) + 1),
        Refusal(message: "size is 17583596109825, but must be at most 17583596109824", size: (8192 * 2047 << 20) + 1) {
            $0.subformat = .twoGbMaxExtentSparse
        },
        Refusal(message: "option zeroed_grain: subformat is monolithicFlat") {
            $0.subformat = .monolithicFlat
            $0.hasZeroedGrains = true
        },
        Refusal(message: "option zeroed_grain: subformat is streamOptimized") {
            $0.subformat = .streamOptimized
            $0.hasZeroedGrains = true
        },
        Refusal(message: "option hwversion: is 0, but must be 1 to 999") { $0.hardwareVersion = 0 },
        Refusal(message: "option toolsversion: is -1, but must be 0 to 2147483647") { $0.toolsVersion = -1 },
        Refusal(message: "the compression level is 13, but must be 1 to 12") { $0.compressionLevel = 13 },
        Refusal(message: "option subformat: is \"twoGbMaxExtentFlat\"") {
            $0.subformat = .twoGbMaxExtentFlat
            $0.parent = NewVMDK.Parent(name: "base.vmdk", cid: 1)
        },
        Refusal(message: "the name of the parent has a quote") { $0.parent = NewVMDK.Parent(name: "a\"b", cid: 1) },
        Refusal(message: "the name of the parent has control characters") {
            $0.parent = NewVMDK.Parent(name: "a\r\nCID=1", cid: 1)
        },
        Refusal(message: "the name of the parent is empty") { $0.parent = NewVMDK.Parent(name: "", cid: 1) },
        Refusal(message: "the name of the parent is a device") { $0.parent = NewVMDK.Parent(name: "/dev/sda", cid: 1) },
        Refusal(message: "the name of the parent has 4096 bytes, but must have less than 4096") {
            $0.parent = NewVMDK.Parent(name: String(repeating: "x", count: 4096), cid: 1)
        },
        Refusal(message: "the content identifier of the parent is ffffffff") {
            $0.parent = NewVMDK.Parent(name: "base.vmdk", cid: .max)
        },
        Refusal(message: "the name of the image has a quote", path: "folder/a\".vmdk"),
        Refusal(message: "the name of the image has a colon", path: "folder/a:b.vmdk") {
            $0.subformat = .monolithicFlat
        },
        Refusal(
            message: "the descriptor has", size: 8192 * 2047 << 20,
            path: "folder/" + String(repeating: "x", count: 200) + ".vmdk"
        ) { $0.subformat = .twoGbMaxExtentFlat },
    ]

    @Test(arguments: refusals)
    func `is refused`(refusal: Refusal) throws {
        var disk = NewVMDK(size: refusal.size)
        refusal.change(&disk)
        let error = imageError { () throws(ImageError) in try disk.validate(path: refusal.path) }
        #expect(error?.code == .unsupported && error?.path == refusal.path)
        #expect(error?.message.hasPrefix(refusal.message) == true, "\(error?.message ?? "nothing")")
    }

    @Test(arguments: [
        ("disk.vmdk", "disk-flat.vmdk"), ("disk", "disk-flat"), ("a.b.c", "a.b-flat.c"), (".hidden", ".hidden-flat"),
        ("a:b.vmdk", "a:b-flat.vmdk"),
    ])
    func `has files named after its image`(name: String, flat: String) throws {
        var disk = NewVMDK(size: 1 << 20)
        #expect(disk.extents(ofImage: name).map(\.name?.text) == [name])
        disk.subformat = .monolithicFlat
        #expect(disk.extents(ofImage: name).map(\.name?.text) == [flat])
    }

    @Test func `is cut into files of 2047 MiB`() throws {
        var disk = NewVMDK(size: 3 << 40)
        disk.subformat = .twoGbMaxExtentSparse
        let extents = disk.extents(ofImage: "disk.vmdk")
        #expect(extents.count == 1537)
        #expect(extents[0].name?.text == "disk-s001.vmdk" && extents[1536].name?.text == "disk-s1537.vmdk")
        #expect(extents.dropLast().allSatisfy { $0.sectors == 2047 << 11 })
        #expect(extents.reduce(0) { $0 + $1.sectors } == 3 << 31)
    }

    @Test(
        arguments: [
            (NewVMDK.AdapterType.ide, 512, "1", "16"), (.ide, 4 << 30, "8322", "16"), (.ide, 1 << 40, "16383", "16"),
            (.lsilogic, 5 << 30, "652", "255"), (.buslogic, 1 << 40, "133674", "255"),
            (.legacyESX, 1 << 20, "1", "255"),
        ] as [(NewVMDK.AdapterType, UInt64, String, String)])
    func `has the geometry of its adapter`(
        adapter: NewVMDK.AdapterType, size: UInt64, cylinders: String, heads: String
    ) throws {
        var disk = NewVMDK(size: size)
        disk.adapterType = adapter
        disk.hardwareVersion = 10
        disk.toolsVersion = 10309
        let descriptor = Descriptor(parsing: NewDescriptor(disk: disk, extents: [], cid: 1).bytes)
        #expect(descriptor.value(of: "ddb.adapterType") == adapter.rawValue)
        #expect(descriptor.value(of: "ddb.geometry.cylinders") == cylinders)
        #expect(descriptor.value(of: "ddb.geometry.heads") == heads)
        #expect(descriptor.value(of: "ddb.geometry.sectors") == "63")
        #expect(descriptor.value(of: "ddb.virtualHWVersion") == "10")
        #expect(descriptor.value(of: "ddb.toolsVersion") == "10309")
    }
}
