import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `Every kind of VMDK that this version reads is read as qemu-img reads it` {
    @Test(
        arguments: [
            "monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat", "twoGbMaxExtentFlat", "streamOptimized",
        ],
        [Disk.oddSize, 5 << 20, 512])
    func `every subformat, with sizes that are and are not whole grains`(subformat: String, size: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: size)
        try QemuImg.convert(
            source, to: oracle.folder.file("image.vmdk"), as: "vmdk", options: ["subformat=\(subformat)"])
        try oracle.agrees(on: "image.vmdk", as: .vmdk)
    }

    @Test(arguments: ["compat6", "zeroed_grain", "hwversion=7", "adapter_type=lsilogic"])
    func `every option that changes what is written`(option: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.vmdk")
        let setting = option.contains("=") ? option : "\(option)=on"
        try QemuImg.create(path, format: "vmdk", size: Disk.oddSize, options: [setting])
        try QemuImg.io(
            path, format: "vmdk",
            [
                "write -P 3 0 512k", "write -z 128k 128k", "write -z 1M 64k", "write -P 4 1500k 1k",
                "write -P 5 2047k 2k",
            ]
        )
        try oracle.agrees(on: "image.vmdk", as: .vmdk)
    }

    @Test(arguments: [(2 << 30) - (1 << 20), 2 << 30, (4 << 30) + 512] as [UInt64])
    func `disks that fill one extent file of 2 GiB, or take several`(size: UInt64) throws {
        for subformat in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
            let oracle = try Oracle(try TemporaryFolder())
            let path = oracle.folder.file("image.vmdk")
            try QemuImg.create(path, format: "vmdk", size: size, options: ["subformat=\(subformat)"])
            let border = min(size - 1024, (2047 << 20) - 1024)
            try QemuImg.io(path, format: "vmdk", ["write -P 7 \(border) 1024", "write -P 8 \(size - 512) 512"])
            let opened = oracle.open("image.vmdk", as: .vmdk)
            let image = try opened.disk.result.get()
            #expect(image.virtualSize == size)
            #expect(try image.bytes(512, at: size - 512) == Array(repeating: 8, count: 512))
            #expect(try image.bytes(1024, at: border).first == 7)
            #expect(try oracle.differencesOfInfo(opened, .vmdk) == [])
            #expect(try oracle.differencesOfMap(opened, image, .vmdk) == [])
        }
    }
}
