import BlockImage
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `Every kind of VMDK that qemu-img makes is read as qemu-img reads it` {
    static let sparse = ["monolithicSparse", "twoGbMaxExtentSparse", "streamOptimized"]
    static let flat = ["monolithicFlat", "twoGbMaxExtentFlat"]

    @Test(arguments: sparse + flat, [Disk.oddSize, 5 << 20, 512])
    func `every subformat, with sizes that are and are not whole grains`(subformat: String, size: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: size)
        try QemuImg.convert(
            source, to: oracle.folder.file("image.vmdk"), as: "vmdk", options: ["subformat=\(subformat)"])
        try oracle.agrees(on: "image.vmdk", as: .vmdk)
    }

    @Test(arguments: sparse + flat)
    func `disks of no bytes, which qemu-img makes and cannot open, have none or are refused`(
        subformat: String
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.vmdk")
        try QemuImg.create(path, format: "vmdk", size: 0, options: ["subformat=\(subformat)"])
        #expect(throws: ToolFailure.self) { try QemuImg.info(path, format: "vmdk") }
        let opened = oracle.open("image.vmdk", as: .vmdk).disk
        if subformat == "monolithicSparse" || subformat == "streamOptimized" {
            #expect(try opened.result.get().virtualSize == 0)
        } else {
            // Without an extent line a descriptor is rather cut than empty.
            #expect(opened.error?.code == .corrupt)
        }
    }

    /// The kinds of adapter, each with one of the hardware versions, of which `compat6` is one, too.
    static let hardware = [
        "adapter_type=ide", "adapter_type=buslogic,hwversion=7", "adapter_type=lsilogic,compat6=on",
        "adapter_type=legacyESX,hwversion=10",
    ]

    @Test(arguments: sparse, hardware)
    func `every adapter and version of the hardware, with and without grains of zeros, of a sparse disk`(
        subformat: String, hardware: String
    ) throws {
        for zeroedGrain in ["on", "off"] {
            let oracle = try Oracle(try TemporaryFolder())
            let source = try Disk.write("source.raw", in: oracle.folder, size: 1 << 20 | 512, seed: 4)
            try QemuImg.convert(
                source, to: oracle.folder.file("image.vmdk"), as: "vmdk",
                options: ["subformat=\(subformat)", hardware, "zeroed_grain=\(zeroedGrain)"])
            try oracle.agrees(on: "image.vmdk", as: .vmdk)
        }
    }

    @Test(arguments: flat, hardware)
    func `every adapter and version of the hardware, of a flat disk`(subformat: String, hardware: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: 1 << 20 | 512, seed: 4)
        try QemuImg.convert(
            source, to: oracle.folder.file("image.vmdk"), as: "vmdk",
            options: ["subformat=\(subformat)", hardware])
        try oracle.agrees(on: "image.vmdk", as: .vmdk)
    }

    @Test(arguments: ["monolithicSparse", "twoGbMaxExtentSparse"] + flat, [false, true])
    func `disks that are written, overwritten, zeroed and discarded here and there`(
        subformat: String, zeroedGrain: Bool
    ) throws {
        // A flat disk has no grains.
        if Self.flat.contains(subformat) && zeroedGrain { return }
        let oracle = try Oracle(try TemporaryFolder())
        let folder = oracle.folder
        let path = folder.file("image.vmdk")
        try QemuImg.create(
            path, format: "vmdk", size: Disk.oddSize,
            options: ["subformat=\(subformat)"] + (zeroedGrain ? ["zeroed_grain=on"] : []))
        try folder.write((0..<29).flatMap { Pattern.sector($0, salt: 7) }, to: "pattern")
        for seed in 1...3 as ClosedRange<UInt64> {
            let writes = Disk.writes(
                over: Disk.oddSize, cluster: 65536, compressed: false, source: folder.file("pattern"), seed: seed)
            try QemuImg.io(path, format: "vmdk", writes)
            try oracle.agrees(on: "image.vmdk", as: .vmdk, mayLeak: zeroedGrain)
        }
    }

    @Test func `a stream whose grains are written one by one, in no order`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.vmdk")
        try QemuImg.create(path, format: "vmdk", size: Disk.oddSize, options: ["subformat=streamOptimized"])
        try oracle.agrees(on: "image.vmdk", as: .vmdk)
        let grains = [40, 3, 47, 0, 21, 22, 5]
        try QemuImg.io(path, format: "vmdk", grains.map { "write -c -P \($0 + 1) \($0 * 64)k 64k" })
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
        try oracle.agrees(on: "image.vmdk", as: .vmdk, mayLeak: option == "zeroed_grain")
    }

    @Test func `grains that were replaced by zeros are no sign that empty tables have lost them`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.vmdk")
        // Of its three grain tables two have no entry.
        try QemuImg.create(path, format: "vmdk", size: 80 << 20, options: ["zeroed_grain=on"])
        try QemuImg.io(path, format: "vmdk", ["write -P 3 0 1M", "write -z 0 512k"])
        try oracle.agrees(on: "image.vmdk", as: .vmdk, mayLeak: true)
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

    @Test func `a stream of more than 2 GiB, of which little is written`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let size = (5 << 30) + 512 as UInt64
        let source = oracle.folder.file("source.raw")
        try QemuImg.create(source, format: "raw", size: size)
        let places: [UInt64] = [0, (2 << 30) - 512, 3 << 30, size - 512]
        try QemuImg.io(
            source, format: "raw", places.enumerated().map { "write -P \($0.offset + 1) \($0.element) 512" })
        let path = oracle.folder.file("image.vmdk")
        try QemuImg.convert(source, to: path, as: "vmdk", options: ["subformat=streamOptimized"])
        let opened = oracle.open("image.vmdk", as: .vmdk)
        let image = try opened.disk.result.get()
        #expect(image.virtualSize == size)
        for (index, place) in places.enumerated() {
            #expect(try image.bytes(512, at: place) == Array(repeating: UInt8(index + 1), count: 512))
        }
        #expect(try oracle.differencesOfInfo(opened, .vmdk) == [])
        #expect(try oracle.differencesOfMap(opened, image, .vmdk) == [])
    }
}
