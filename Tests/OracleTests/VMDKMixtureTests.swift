import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: canAskBothReaders))
struct `Disks put together from several extents` {
    /// A flat extent's content, which is all data.
    private static func flat(_ size: Int, salt: UInt64) -> [UInt8] {
        GrainModel(size: size, grainSize: 512, grains: Array(repeating: .data, count: size / 512), salt: salt).disk()
    }

    // MARK: Names of kinds of disks

    @Test(
        arguments: [
            "monolithicFlat", "vmfs", "vmfsThin", "vmfsThick", "vmfsEagerZeroedThick", "vmfsPreallocated",
            "vmfsEagerZeroed", "custom", "fullDevice", "partitionedDevice", "twoGbMaxExtentFlat", "2GbMaxExtentFlat",
            "MONOLITHICFLAT", "",
        ])
    func `flat disks are read whatever they are called, while qemu-img goes by the name`(name: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let disk = Self.flat(100 * 512, salt: 1)
        try oracle.folder.write(disk, to: "disk-flat.vmdk")
        let known = ["monolithicFlat", "vmfs", "twoGbMaxExtentFlat"].contains(name)
        for (type, offset) in [("VMFS", nil), ("FLAT", 0)] {
            let line = VMDKDescriptorText.extent(type, size: disk.count, file: "disk-flat.vmdk", offset: offset)
            try oracle.write(VMDKDescriptorText(name, [line]), to: "disk.vmdk")
            try oracle.expect("disk.vmdk", is: disk, qemu: known ? .same : .refused)
        }
    }

    // MARK: Extents that the others pass over

    struct Mixture: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// The line in the middle of two flat extents, for `sectors` sectors of the file middle.vmdk.
        var line: @Sendable (Int) -> String
        /// What is read there: the file's content, or zeros.
        var isContent: Bool
        var qemu = Verdict.other
        var second = Verdict.other
    }

    static let mixtures: [Mixture] = [
        Mixture(
            testDescription: "RW", line: { "RW \($0) FLAT \"middle.vmdk\" 0" }, isContent: true, qemu: .same,
            second: .same),
        // Both pass over ZERO, so that what follows moves to the front.
        Mixture(testDescription: "ZERO", line: { "RW \($0) ZERO" }, isContent: false),
        Mixture(
            testDescription: "ZERO with a name", line: { "RW \($0) ZERO \"middle.vmdk\" 0" }, isContent: false,
            qemu: .refused),
        Mixture(
            testDescription: "RDONLY", line: { "RDONLY \($0) FLAT \"middle.vmdk\" 0" }, isContent: true, second: .same),
        Mixture(testDescription: "RDONLY ZERO", line: { "RDONLY \($0) ZERO" }, isContent: false),
        // The second reader reads what the virtual machine may not see.
        Mixture(
            testDescription: "NOACCESS", line: { "NOACCESS \($0) FLAT \"middle.vmdk\" 0" }, isContent: false),
        Mixture(testDescription: "NOACCESS ZERO", line: { "NOACCESS \($0) ZERO" }, isContent: false),
        // The words in other cases: qemu-img passes over the first and takes the second for none of its types.
        Mixture(testDescription: "rw", line: { "rw \($0) FLAT \"middle.vmdk\" 0" }, isContent: true),
        Mixture(testDescription: "flat", line: { "RW \($0) flat \"middle.vmdk\" 0" }, isContent: true, qemu: .refused),
        Mixture(
            testDescription: "wide spaces", line: { "RW  \($0)\tFLAT  \"middle.vmdk\"  0" }, isContent: true,
            qemu: .same),
    ]

    @Test(arguments: mixtures)
    func `every access and every type count, and keep the place of what follows`(mixture: Mixture) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let parts = [1, 2, 3].map { Self.flat(40 * 512, salt: $0) }
        for (name, part) in zip(["first", "middle", "last"], parts) {
            try oracle.folder.write(part, to: "\(name).vmdk")
        }
        let lines = ["RW 40 FLAT \"first.vmdk\" 0", mixture.line(40), "RW 40 FLAT \"last.vmdk\" 0"]
        try oracle.write(VMDKDescriptorText("monolithicFlat", lines), to: "disk.vmdk")
        let middle = mixture.isContent ? parts[1] : Array(repeating: 0, count: 40 * 512)
        try oracle.expect(
            "disk.vmdk", is: parts[0] + middle + parts[2], qemu: mixture.qemu, second: mixture.second)
    }

    @Test func `an extent at an offset of its file, which the second reader reads from the start`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let file = Self.flat(100 * 512, salt: 4)
        try oracle.folder.write(file, to: "disk-flat.vmdk")
        let line = VMDKDescriptorText.extent("FLAT", size: 30 * 512, file: "disk-flat.vmdk", offset: 63 * 512)
        try oracle.write(VMDKDescriptorText("monolithicFlat", [line]), to: "disk.vmdk")
        try oracle.expect("disk.vmdk", is: Array(file[63 * 512..<93 * 512]), second: .other)
    }

    // MARK: All types in one disk

    @Test(arguments: ["custom", "twoGbMaxExtentSparse"])
    func `one disk of flat, hosted sparse, compressed, COWD and seSparse extents`(createType: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let sparse = GrainModel(size: 200 * 4096, grainSize: 4096, seed: 21)
        let stream = GrainModel(size: 40 * 8192, grainSize: 8192, seed: 22)
        let cowd = GrainModel(size: 700 * 512, grainSize: 512, seed: 23)
        let seSparse = GrainModel(size: 60 * 4096, grainSize: 4096, seed: 24)
        let flat = Self.flat(77 * 512, salt: 25)
        let folder = oracle.folder
        try folder.write(SparseVMDKBuilder(sparse).build().bytes, to: "sparse.vmdk")
        // Not with a footer: qemu-img looks for that at the end of the descriptor's file.
        try folder.write(StreamVMDKBuilder(stream, .front).build().bytes, to: "stream.vmdk")
        try folder.write(COWDBuilder(cowd).build().bytes, to: "cowd.vmdk")
        try folder.write(SESparseBuilder(seSparse).build().bytes, to: "sesparse.vmdk")
        try folder.write(flat, to: "flat.vmdk")
        let parts: [(String, String, Int?, [UInt8])] = [
            ("SPARSE", "sparse.vmdk", nil, sparse.disk()), ("VMFS", "flat.vmdk", nil, flat),
            ("VMFSSPARSE", "cowd.vmdk", nil, cowd.disk()), ("SPARSE", "stream.vmdk", nil, stream.disk()),
            ("SESPARSE", "sesparse.vmdk", nil, seSparse.disk()), ("FLAT", "flat.vmdk", 0, flat),
        ]
        let lines = parts.map {
            VMDKDescriptorText.extent($0.0, size: $0.3.count, file: $0.1, offset: $0.2)
        }
        try oracle.write(VMDKDescriptorText(createType, lines), to: "disk.vmdk")
        var borders: [Int] = []
        for part in parts { borders.append((borders.last ?? 0) + part.3.count) }
        // One file is two extents: its bytes on the host count once with us, and twice with qemu-img, which also calls
        // a disk by its compressed extents.
        try oracle.expect(
            "disk.vmdk", is: parts.flatMap { $0.3 }, qemu: createType == "custom" ? .refused : .same, borders: borders,
            count: 2000, otherFacts: [".actual-size", ".format-specific.data.create-type"])
    }

    @Test func `a disk of two streams with footers, which qemu-img looks for in the descriptor`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let models = [1, 2].map { GrainModel(size: 20 * 65536, seed: $0) }
        for (index, model) in models.enumerated() {
            try oracle.folder.write(StreamVMDKBuilder(model).build().bytes, to: "stream-\(index).vmdk")
        }
        let lines = models.enumerated().map {
            VMDKDescriptorText.extent("SPARSE", size: $0.element.size, file: "stream-\($0.offset).vmdk")
        }
        try oracle.write(VMDKDescriptorText("twoGbMaxExtentSparse", lines), to: "disk.vmdk")
        try oracle.expect(
            "disk.vmdk", is: models.flatMap { $0.disk() }, qemu: .refused, borders: [models[0].size])
    }

    // MARK: Split disks

    @Test(arguments: [false, true])
    func `a disk split into twenty sparse files, which are whole grains or are not`(areWhole: Bool) throws {
        let oracle = try Oracle(try TemporaryFolder())
        var lines: [String] = []
        var disk: [UInt8] = []
        var borders: [Int] = []
        for index in 0..<20 {
            let size = areWhole ? (6 + index / 2) * 8192 : (100 + index * 7) * 512
            let model = GrainModel(size: size, grainSize: 8192, seed: UInt64(31 + index))
            let name = "disk-s\(index < 9 ? "00" : "0")\(index + 1).vmdk"
            var builder = SparseVMDKBuilder(model)
            builder.hasZeroedGrains = index % 3 == 0
            builder.version = index % 3 == 0 ? 2 : 1
            try oracle.folder.write(builder.build(seed: UInt64(index)).bytes, to: name)
            lines.append(VMDKDescriptorText.extent("SPARSE", size: model.size, file: name))
            disk += model.disk()
            borders.append(disk.count)
        }
        try oracle.write(VMDKDescriptorText("twoGbMaxExtentSparse", lines), to: "disk.vmdk")
        // qemu-img reads a last grain to its end, also where that is past the end of the extent.
        try oracle.expect("disk.vmdk", is: disk, qemu: areWhole ? .same : .other, borders: borders, count: 4000)
    }

    @Test func `a disk split into twenty parts of one flat file, in another order`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let file = Self.flat(20 * 53 * 512, salt: 60)
        try oracle.folder.write(file, to: "all.vmdk")
        var random = SeededRandom(seed: 61)
        var disk: [UInt8] = []
        var borders: [Int] = []
        let lines = Array(0..<20).shuffled(using: &random).map { place in
            let start = place * 53 * 512
            disk += file[start..<start + 53 * 512]
            borders.append(disk.count)
            return VMDKDescriptorText.extent("FLAT", size: 53 * 512, file: "all.vmdk", offset: start)
        }
        try oracle.write(VMDKDescriptorText("twoGbMaxExtentFlat", lines), to: "disk.vmdk")
        // The second reader passes over offsets.
        try oracle.expect(
            "disk.vmdk", is: disk, second: .other, borders: borders, count: 4000, otherFacts: [".actual-size"])
    }
}
