import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

extension Oracle {
    /// Every byte of the VHDX `name`, random reads, the facts of `info` and the verdict of `check` are those of qemu. Its map is not
    /// compared: qemu-img knows of no holes in a VHDX. `copy`: the image that qemu-img reads in its place, since it writes to it.
    func agreesOnVHDX(
        _ name: String, copy: String? = nil, seed: UInt64 = 1, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let opened = open(name, as: .vhdx)
        let image: Image
        do {
            image = try opened.disk.result.get()
        } catch {
            Issue.record("\(name) is refused: \(error)", sourceLocation: sourceLocation)
            return
        }
        let raw = folder.file("\(name).oracle")
        let (isRead, refusal) = try QemuImg.reads(folder.file(copy ?? name), format: "vhdx", into: raw)
        try #require(isRead, "qemu-img: \(refusal)", sourceLocation: sourceLocation)
        #expect(try image.firstDifference(from: raw) == nil, "\(name)", sourceLocation: sourceLocation)
        #expect(try image.wrongRead(from: raw, seed: seed) == nil, "\(name)", sourceLocation: sourceLocation)
        let (sum, error) = image.allocation()
        #expect(error == nil, sourceLocation: sourceLocation)
        #expect(sum.data + sum.zero + sum.unallocated == image.virtualSize, sourceLocation: sourceLocation)
        try FileManager.default.removeItem(atPath: raw)
        guard copy == nil else { return }
        #expect(try differencesOfInfo(opened, .vhdx) == [], "\(name)", sourceLocation: sourceLocation)
        #expect(
            try CheckVerdict.differences(folder.file(name), .vhdx) == [], "\(name)", sourceLocation: sourceLocation)
    }
}

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `Every kind of VHDX that qemu-img makes is read as qemu-img reads it` {
    static let options = [
        "subformat=dynamic", "subformat=fixed", "subformat=dynamic,block_size=1M",
        "subformat=dynamic,block_size=2M,block_state_zero=off", "subformat=fixed,block_size=1M,log_size=2M",
        "subformat=dynamic,block_size=256M,log_size=16M",
    ]

    @Test(arguments: options, [Disk.oddSize, 17 << 20, 512])
    func `every option, with sizes that are and are not whole blocks`(options: String, size: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let source = try Disk.write("source.raw", in: oracle.folder, size: size)
        try QemuImg.convert(source, to: oracle.folder.file("image.vhdx"), as: "vhdx", options: [options])
        try oracle.agreesOnVHDX("image.vhdx")
    }

    @Test(arguments: options)
    func `disks that are written, overwritten and zeroed here and there`(options: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.vhdx")
        try QemuImg.create(path, format: "vhdx", size: Disk.oddSize, options: [options])
        try oracle.agreesOnVHDX("image.vhdx")
        try oracle.folder.write((0..<29).flatMap { Pattern.sector($0, salt: 7) }, to: "pattern")
        for seed in 1...3 as ClosedRange<UInt64> {
            let writes = Disk.writes(
                over: Disk.oddSize, cluster: 1 << 20, compressed: false, source: oracle.folder.file("pattern"),
                seed: seed)
            try QemuImg.io(path, format: "vhdx", writes.filter { !$0.hasPrefix("discard") && !$0.contains("-u") })
            try oracle.agreesOnVHDX("image.vhdx", seed: seed)
        }
    }

    @Test func `disks of several chunks, and of many blocks`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let path = oracle.folder.file("image.vhdx")
        // A chunk of 1 MiB blocks has 4 GiB.
        let size: UInt64 = 9 << 30 | 5 << 20
        try QemuImg.create(path, format: "vhdx", size: size, options: ["block_size=1M"])
        let places: [UInt64] = [0, 4 << 30 - 512, 4 << 30, 8 << 30 - 4096, 8 << 30, size - 512]
        try QemuImg.io(path, format: "vhdx", places.enumerated().map { "write -P \($0.offset + 1) \($0.element) 512" })
        let image = try oracle.open("image.vhdx", as: .vhdx).disk.result.get()
        #expect(image.virtualSize == size)
        for (index, place) in places.enumerated() {
            #expect(try image.bytes(512, at: place) == Array(repeating: UInt8(index + 1), count: 512), "\(place)")
        }
        #expect(try CheckVerdict.differences(path, .vhdx) == [])
    }

    @Test(arguments: [1, 40])
    func `a disk whose writer could not finish is read as QEMU replays its log`(count: Int) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let folder = oracle.folder
        let path = folder.file("image.vhdx")
        try QemuImg.create(path, format: "vhdx", size: 64 << 20, options: ["block_size=1M"])
        // What QEMU writes to the log it cannot write to the block allocation table, which it has at 2 MiB.
        var arguments: [String] = []
        for index in 0..<count { arguments += ["-c", "write -P \(index % 250 + 1) \(index * 1_500_160) 70000"] }
        let faults = "event=none,iotype=write,sector=4096".split(separator: ",").map { "file.inject-error.0.\($0)" }
        let options = ["driver=vhdx", "file.driver=blkdebug", "file.image.driver=file", "file.image.filename=\(path)"]
        let failed = try Tool.run(
            "qemu-io", arguments + ["--image-opts", (options + faults).joined(separator: ",")], timeout: 60)
        #expect((failed.text + failed.errors).contains("Input/output error"))
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let (isRead, refusal) = try QemuImg.reads(path, format: "vhdx", into: folder.file("none"))
        #expect(!isRead && refusal.contains("log"), "\(refusal)")
        try bytes.write(to: URL(fileURLWithPath: folder.file("copy.vhdx")))
        try QemuImg.run("check", "-q", "-r", "all", "-f", "vhdx", folder.file("copy.vhdx"))
        try oracle.agreesOnVHDX("image.vhdx", copy: "copy.vhdx")
        let opened = oracle.open("image.vhdx", as: .vhdx)
        #expect(opened.layers[0].notes.contains { $0.description.contains("replayed in memory") })
        #expect(try opened.disk.result.get().bytes(1, at: 0) == [1])
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)
    }
}

@Suite(.enabled(if: Tool.areThere(SecondReader.python)))
struct `VHDX disks that qemu-img does not read` {
    @Test(arguments: UInt64(1)...8)
    func `are read as the second reader reads them: differencing, and with sectors of 4096 bytes`(seed: UInt64) throws {
        let oracle = try Oracle(try TemporaryFolder())
        var random = SeededRandom(seed: seed)
        var base = VHDXBuilder(virtualSize: 4 << 20)
        base.sectorSize = seed % 2 == 0 ? 4096 : 512
        base.blocks = [0: .present(salt: 1), 1: .present(salt: 1), 3: .state(2)]
        var child = base
        child.dataWriteID = UUID(uuidString: "20000000-0000-4000-8000-00000000000B")!
        child.parent = [
            ("parent_linkage", "{\(base.dataWriteID.uuidString)}"), ("relative_path", ".\\base.vhdx"),
            ("absolute_win32_path", "C:\\disks\\base.vhdx"),
        ]
        child.blocks = [:]
        for block in 0..<4 as Range<UInt64> {
            switch UInt64.random(in: 0..<4, using: &random) {
            case 0: child.blocks[block] = .state(UInt64.random(in: 0...3, using: &random))
            case 1: child.blocks[block] = .present(salt: seed + 9)
            default:
                let sectors = (0..<(1 << 20) / Int(base.sectorSize)).map { _ in Bool.random(using: &random) }
                child.blocks[block] = .partial(salt: seed + 9, sectors: sectors)
            }
        }
        try base.build().save(to: oracle.folder.file("base.vhdx"))
        try child.build().save(to: oracle.folder.file("child.avhdx"))
        for (name, disk) in [("base.vhdx", base.disk()), ("child.avhdx", child.disk(over: base.disk()))] {
            let raw = oracle.folder.file("raw")
            let (isRead, refusal) = try SecondReader.readsVHDX(oracle.folder.file(name), into: raw)
            #expect(isRead, "\(refusal)")
            #expect(areSame(try Data(contentsOf: URL(fileURLWithPath: raw)), disk), "\(name), the second reader")
            let image = try oracle.open(name, as: .vhdx).disk.result.get()
            #expect(try oracle.difference(of: image, from: disk, count: 60) == nil, "\(name), seed \(seed)")
        }
    }

    @Test func `find their parent by its identifier, whatever it is called, and refuse one that was changed`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        var base = VHDXBuilder(virtualSize: 2 << 20)
        base.blocks = [1: .present(salt: 1)]
        var child = base
        child.blocks = [0: .present(salt: 2)]
        child.dataWriteID = UUID(uuidString: "20000000-0000-4000-8000-00000000000B")!
        child.parent = [
            ("parent_linkage", "{\(base.dataWriteID.uuidString)}"), ("absolute_win32_path", "C:\\disks\\gone.vhdx"),
        ]
        try child.build().save(to: oracle.folder.file("child.avhdx"))
        try base.build().save(to: oracle.folder.file("another name.vhdx"))
        let opened = oracle.open("child.avhdx", as: .vhdx)
        let image = try opened.disk.result.get()
        #expect(try areSame(image.wholeDisk(), child.disk(over: base.disk())))
        #expect(!opened.layers[0].notes.isEmpty)
        // Without it, none is found.
        try FileManager.default.removeItem(atPath: oracle.folder.file("another name.vhdx"))
        #expect(oracle.open("child.avhdx", as: .vhdx).disk.error != nil)
        // A path that leads to a disk that is another one by now.
        base.dataWriteID = UUID(uuidString: "20000000-0000-4000-8000-00000000000C")!
        try base.build().save(to: oracle.folder.file("gone.vhdx"))
        let error = try #require(oracle.open("child.avhdx", as: .vhdx).disk.error)
        #expect(error.code == .corrupt && error.message.contains("parent_linkage"), "\(error)")
        #expect(error.message.contains("20000000-0000-4000-8000-00000000000c"), "\(error)")
    }
}
