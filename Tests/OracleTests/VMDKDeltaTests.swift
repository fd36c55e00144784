import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: canAskBothReaders))
struct `VMDK deltas are read over their parents` {
    /// The kinds of extent that deltas have.
    enum Kind: CaseIterable, Sendable {
        case sparse, cowd, seSparse, stream

        var grainSize: Int {
            switch self {
            case .sparse, .stream: 8192
            case .cowd: 512
            case .seSparse: 4096
            }
        }
    }

    /// A level of a chain as it is written, and what must be read from it.
    struct Level {
        var name: String
        var cid: UInt32
        var disk: [UInt8]
    }

    static let size = 90 * 8192

    /// A disk at the bottom: a flat file and its descriptor.
    private func makeBase(_ name: String, size: Int = size, in oracle: Oracle) throws -> Level {
        let model = GrainModel(size: size, grainSize: 4096, seed: 40, of: [.absent, .data, .data])
        try oracle.folder.write(model.disk(), to: "\(name)-flat.vmdk")
        let line = VMDKDescriptorText.extent("VMFS", size: size, file: "\(name)-flat.vmdk")
        let cid: UInt32 = 0xb0b0_0001
        try oracle.write(VMDKDescriptorText("vmfs", [line], cid: cid), to: "\(name).vmdk")
        return Level(name: "\(name).vmdk", cid: cid, disk: model.disk())
    }

    /// A delta of `parent`; `hint` is what it calls it.
    private func makeDelta(
        _ kind: Kind, _ name: String, over parent: Level, size: Int? = nil, seed: UInt64,
        zero: SESparseBuilder.Zero = .zeroed, hint: String? = nil, parentCID: UInt32? = nil, in oracle: Oracle
    ) throws -> Level {
        // COWD has no zeros but stored ones.
        let kinds: [GrainModel.Grain] = kind == .cowd ? [.absent, .data] : [.absent, .zero, .data]
        let model = GrainModel(
            size: size ?? parent.disk.count, grainSize: kind.grainSize, seed: seed, of: kinds,
            longestRun: 40_000 / kind.grainSize)
        let cid = 0xc1d0_0000 | UInt32(seed)
        let origin = (name: hint ?? parent.name, cid: parentCID ?? parent.cid)
        switch kind {
        case .sparse:
            var builder = SparseVMDKBuilder.whole(model, cid: cid, parent: origin)
            builder.hasZeroedGrains = true
            try oracle.folder.write(builder.build(seed: seed).bytes, to: "\(name).vmdk")
        case .stream:
            var builder = StreamVMDKBuilder.whole(model, parent: origin)
            builder.hasZeroedGrains = true
            builder.descriptor?.cid = cid
            try oracle.folder.write(builder.build(seed: seed).bytes, to: "\(name).vmdk")
        case .cowd, .seSparse:
            var seSparse = SESparseBuilder(GrainModel(size: 0, grainSize: 4096))
            if kind == .seSparse { seSparse.model = model }
            seSparse.zero = zero
            let built = kind == .cowd ? COWDBuilder(model).build(seed: seed) : seSparse.build(seed: seed)
            let file = "\(name)-\(kind == .cowd ? "delta" : "sesparse").vmdk"
            try oracle.folder.write(built.bytes, to: file)
            let line = VMDKDescriptorText.extent(
                kind == .cowd ? "VMFSSPARSE" : "SESPARSE", size: model.size, file: file)
            let type = kind == .cowd ? "vmfsSparse" : "seSparse"
            try oracle.write(VMDKDescriptorText(type, [line], cid: cid, parent: origin), to: "\(name).vmdk")
        }
        return Level(name: "\(name).vmdk", cid: cid, disk: model.disk(over: parent.disk))
    }

    // MARK: Chains of three levels and more

    @Test(arguments: [false, true])
    func `three levels that qemu-img makes`(zeroedGrain: Bool) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let folder = oracle.folder
        let source = try Disk.write("source.raw", in: folder, size: Disk.oddSize)
        try QemuImg.convert(source, to: folder.file("level0.vmdk"), as: "vmdk")
        try folder.write((0..<29).flatMap { Pattern.sector($0, salt: 7) }, to: "pattern")
        for level in 1...3 {
            let path = folder.file("level\(level).vmdk")
            try QemuImg.create(
                path, format: "vmdk", size: nil, options: zeroedGrain ? ["zeroed_grain=on"] : [],
                backing: ("level\(level - 1).vmdk", "vmdk"))
            try QemuImg.io(
                path, format: "vmdk",
                Disk.writes(
                    over: Disk.oddSize, cluster: 65536, compressed: false, source: folder.file("pattern"),
                    seed: UInt64(level)))
            let raw = folder.file("level.raw")
            try QemuImg.convert(path, from: "vmdk", to: raw, as: "raw")
            let disk = Array(try Data(contentsOf: URL(fileURLWithPath: raw)))
            try oracle.expect("level\(level).vmdk", is: disk, count: 1000)
        }
    }

    @Test(arguments: Kind.allCases)
    func `a delta of every kind over a flat disk, and another of every kind over that`(kind: Kind) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = try makeBase("base", in: oracle)
        let middle = try makeDelta(kind, "middle", over: base, seed: 1, in: oracle)
        try oracle.expect("middle.vmdk", is: middle.disk)
        for (index, other) in Kind.allCases.enumerated() {
            let top = try makeDelta(other, "top\(index)", over: middle, seed: UInt64(2 + index), in: oracle)
            try oracle.expect(top.name, is: top.disk, count: 1000)
        }
    }

    @Test func `grains that a guest unmapped are zeros over a parent, which the second reader shows instead`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = try makeBase("base", in: oracle)
        for zero in [SESparseBuilder.Zero.unmapped, .both] {
            let delta = try makeDelta(.seSparse, "delta", over: base, seed: 3, zero: zero, in: oracle)
            try oracle.expect("delta.vmdk", is: delta.disk, second: .other)
        }
    }

    @Test func `a chain of twelve levels, of all kinds by turns`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        var level = try makeBase("base", in: oracle)
        for index in 1...12 {
            let kind = Kind.allCases[index % Kind.allCases.count]
            level = try makeDelta(
                kind, "disk-00000\(index)", over: level, seed: UInt64(100 + index), in: oracle)
        }
        try oracle.expect(level.name, is: level.disk, count: 3000)
    }

    // MARK: Split disks

    @Test func `a split delta over a split disk, whose borders are not the same`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = GrainModel(size: 20 * 9 * 8192, grainSize: 8192, seed: 50, of: [.absent, .data, .data])
        try oracle.folder.write(base.disk(), to: "flat.vmdk")
        let flats = (0..<20).map {
            VMDKDescriptorText.extent("FLAT", size: 9 * 8192, file: "flat.vmdk", offset: $0 * 9 * 8192)
        }
        try oracle.write(VMDKDescriptorText("twoGbMaxExtentFlat", flats, cid: 7), to: "base.vmdk")
        var lines: [String] = []
        var disk: [UInt8] = []
        var borders = (1..<20).map { $0 * 9 * 8192 }
        for index in 0..<15 {
            let model = GrainModel(size: 12 * 8192, grainSize: 8192, seed: UInt64(51 + index))
            let parent = Array(base.disk()[disk.count..<disk.count + model.size])
            var builder = SparseVMDKBuilder(model)
            builder.hasZeroedGrains = true
            try oracle.folder.write(builder.build().bytes, to: "delta-\(index).vmdk")
            lines.append(VMDKDescriptorText.extent("SPARSE", size: model.size, file: "delta-\(index).vmdk"))
            disk += model.disk(over: parent)
            borders.append(disk.count)
        }
        let descriptor = VMDKDescriptorText("twoGbMaxExtentSparse", lines, parent: ("base.vmdk", 7))
        try oracle.write(descriptor, to: "delta.vmdk")
        // The second reader has the parent's extents begin where their files do.
        try oracle.expect("delta.vmdk", is: disk, second: .other, borders: borders, count: 5000)
    }

    // MARK: Parents of other sizes

    @Test(arguments: [size / 2, size + 4096])
    func `a parent that is shorter or longer than its delta`(parentSize: Int) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = try makeBase("base", size: parentSize, in: oracle)
        for kind in Kind.allCases {
            let delta = try makeDelta(kind, "delta", over: base, size: Self.size, seed: 4, in: oracle)
            // The second reader runs out of extents where the parent ends.
            try oracle.expect("delta.vmdk", is: delta.disk, second: parentSize < Self.size ? .refused : .same)
        }
    }

    // MARK: With QCOW2

    @Test func `a QCOW2 image over a delta`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = try makeBase("base", in: oracle)
        _ = try makeDelta(.seSparse, "delta", over: base, seed: 5, zero: .both, in: oracle)
        let path = oracle.folder.file("top.qcow2")
        try QemuImg.create(path, size: nil, backing: ("delta.vmdk", "vmdk"))
        try QemuImg.io(path, ["write -P 3 100k 70k", "write -z 300k 100k"])
        try oracle.agrees(on: "top.qcow2")
    }

    @Test(arguments: Kind.allCases)
    func `a delta over a QCOW2 image, which has no CID, so that qemu-img refuses it`(kind: Kind) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let kinds: [QCOW2Builder.Cluster] = [.data, .unallocated, .compressed, .zero, .data, .data]
        let base = QCOW2Builder(size: UInt64(Self.size), clusters: kinds + kinds).build(seed: 6)
        try oracle.folder.write(base.bytes, to: "base.qcow2")
        let level = Level(name: "base.qcow2", cid: 1, disk: base.disk)
        let delta = try makeDelta(kind, "delta", over: level, seed: 7, in: oracle)
        // To the second reader, what it does not know is a raw file.
        try oracle.expect("delta.vmdk", is: delta.disk, qemu: .refused, second: .other)
    }

    // MARK: CIDs

    @Test(arguments: Kind.allCases)
    func `a delta whose parent was changed since is refused, unless that is asked for`(kind: Kind) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = try makeBase("base", in: oracle)
        let delta = try makeDelta(kind, "delta", over: base, seed: 9, parentCID: base.cid + 1, in: oracle)
        let error = oracle.open("delta.vmdk", as: .vmdk).disk.error
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("b0b00001") == true && error?.message.contains("b0b00002") == true)
        try oracle.expect("delta.vmdk", is: delta.disk, qemu: .refused, ignoresParentID: true)
        // So it is however far down it is, and whatever is on top.
        let top = try makeDelta(kind, "top", over: delta, seed: 10, in: oracle)
        #expect(oracle.open("top.vmdk", as: .vmdk).disk.error?.code == .corrupt)
        try oracle.expect("top.vmdk", is: top.disk, qemu: .refused, ignoresParentID: true)
    }

    @Test func `a parentCID of ffffffff says that there is no parent, whatever name there is`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = try makeBase("base", in: oracle)
        let nothing = Level(name: base.name, cid: base.cid, disk: Array(repeating: 0, count: base.disk.count))
        let delta = try makeDelta(
            .sparse, "delta", over: nothing, seed: 11, parentCID: VMDKDescriptorText.noParent, in: oracle)
        try oracle.expect("delta.vmdk", is: delta.disk, qemu: .refused)
    }

    // MARK: Names of parents

    struct Hint: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// Where the base lies, below the folder of images.
        var folder = "vm"
        var hint: String
        var qemu = Verdict.refused
        var second = Verdict.same
    }

    static let hints: [Hint] = [
        Hint(testDescription: "a name", hint: "base.vmdk", qemu: .same),
        Hint(testDescription: "./", hint: "./base.vmdk", qemu: .same),
        Hint(testDescription: "another folder", folder: "other", hint: "../other/base.vmdk", qemu: .same),
        Hint(
            testDescription: "a folder of the hypervisor that is gone", hint: "/vmfs/volumes/4f0e/vm/base.vmdk"),
        Hint(testDescription: "a folder of Windows", hint: #"C:\Virtual Machines\vm\base.vmdk"#),
        Hint(
            testDescription: "a folder of Windows beside this one", folder: "other",
            hint: #"D:\VMs\other\base.vmdk"#),
        Hint(testDescription: "a folder below", folder: "vm/below", hint: #"below\base.vmdk"#),
    ]

    @Test(arguments: hints)
    func `parents are found where they lie now, by names that hypervisors wrote elsewhere`(hint: Hint) throws {
        let oracle = try Oracle(try TemporaryFolder())
        for folder in ["vm", hint.folder] { _ = try oracle.folder.makeFolder(folder) }
        let base = try makeBase("\(hint.folder)/base", in: oracle)
        // The base's line has its own folder in front, which is not there for who begins in it.
        let line = VMDKDescriptorText.extent("VMFS", size: base.disk.count, file: "base-flat.vmdk")
        try oracle.write(VMDKDescriptorText("vmfs", [line], cid: base.cid), to: base.name)
        let delta = try makeDelta(.sparse, "vm/delta", over: base, seed: 8, hint: hint.hint, in: oracle)
        try oracle.expect("vm/delta.vmdk", is: delta.disk, qemu: hint.qemu, second: hint.second)
    }

    @Test(arguments: [
        ("Shift_JIS", String.Encoding.shiftJIS, "ソ表 能.vmdk"), ("windows-1252", .windowsCP1252, "Größe €.vmdk"),
        ("Big5", String.Encoding(rawValue: 0x8000_0a03), "磁盤.vmdk"),
        ("GBK", String.Encoding(rawValue: 0x8000_0632), "磁盘.vmdk"), ("UTF-8", .utf8, "ß 磁盘 ソ.vmdk"),
    ])
    func `names in the encoding that the descriptor names, of extents and of parents`(
        encoding: String, characters: String.Encoding, name: String
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let base = GrainModel(size: Self.size, grainSize: 4096, seed: 41, of: [.absent, .data])
        try oracle.folder.write(base.disk(), to: "flat-\(name)")
        let line = VMDKDescriptorText.extent("VMFS", size: base.size, file: "flat-\(name)")
        var descriptor = VMDKDescriptorText("vmfs", [line], cid: 9)
        descriptor.encoding = encoding
        descriptor.characters = characters
        try oracle.write(descriptor, to: name)
        // The others know of no encoding: the one takes bytes for a name, the other takes them all for UTF-8.
        let verdict: Verdict = encoding == "UTF-8" ? .same : .refused
        try oracle.expect(name, is: base.disk(), qemu: verdict, second: verdict)

        let model = GrainModel(size: Self.size, grainSize: 512, seed: 42, of: [.absent, .data])
        try oracle.folder.write(COWDBuilder(model).build().bytes, to: "delta-\(name)")
        let deltaLine = VMDKDescriptorText.extent("VMFSSPARSE", size: model.size, file: "delta-\(name)")
        descriptor = VMDKDescriptorText("vmfsSparse", [deltaLine], parent: (name, 9))
        descriptor.encoding = encoding
        descriptor.characters = characters
        descriptor.lineEnd = "\r\n"
        try oracle.write(descriptor, to: "delta.vmdk")
        try oracle.expect("delta.vmdk", is: model.disk(over: base.disk()), qemu: verdict, second: verdict)
    }
}
