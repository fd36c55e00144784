import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@Suite(.enabled(if: canAskBothReaders))
struct `Extents made by hand are read as two other readers read them` {
    static let grain = 65536
    static let oddSize = 37 * grain + 5 * 512

    /// An image that is one extent of `model`, described by a text, and `bytes` in its file.
    private func describe(
        _ type: String, _ createType: String, _ model: GrainModel, _ bytes: [UInt8], in oracle: Oracle
    ) throws {
        try oracle.folder.write(bytes, to: "disk-delta.vmdk")
        let line = VMDKDescriptorText.extent(type, size: model.size, file: "disk-delta.vmdk")
        try oracle.write(VMDKDescriptorText(createType, [line]), to: "disk.vmdk")
    }

    // MARK: Hosted sparse

    @Test(arguments: [false, true], [UInt32(1), 2, 3])
    func `hosted sparse extents with and without a redundant directory and grains of zeros`(
        hasZeroedGrains: Bool, version: UInt32
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        for isRedundant in [false, true] {
            let model = GrainModel(size: Self.oddSize, seed: UInt64(version))
            var builder = SparseVMDKBuilder.whole(model)
            builder.version = version
            builder.hasZeroedGrains = hasZeroedGrains
            builder.isRedundant = isRedundant
            try oracle.folder.write(builder.build().bytes, to: "disk.vmdk")
            try oracle.expect("disk.vmdk", is: model.disk())
        }
    }

    @Test(arguments: [(1, 512), (8, 512), (16, 64), (128, 1), (2048, 4)])
    func `hosted sparse extents with grains and tables of other sizes`(grainSectors: Int, entries: Int) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(
            size: 700 * 512, grainSize: grainSectors * 512, seed: UInt64(grainSectors), longestRun: 40)
        var builder = SparseVMDKBuilder.whole(model)
        builder.tableEntryCount = entries
        try oracle.folder.write(builder.build().bytes, to: "disk.vmdk")
        try oracle.expect("disk.vmdk", is: model.disk())
    }

    // MARK: streamOptimized

    struct Stream: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var qemu = Verdict.same
        var second = Verdict.same
        var adjust: @Sendable (inout StreamVMDKBuilder) -> Void
    }

    static let streams: [Stream] = [
        Stream(testDescription: "as built") { _ in },
        Stream(testDescription: "version 1") { $0.version = 1 },
        Stream(testDescription: "no descriptor", qemu: .refused) { $0.descriptor = nil },
        Stream(testDescription: "grains that begin at multiples of 128 sectors") { $0.alignment = 128 },
        Stream(testDescription: "grains out of order") { $0.isShuffled = true },
        Stream(testDescription: "a progress marker after every third grain") { $0.progressInterval = 3 },
        Stream(testDescription: "a last grain that ends with the disk") { $0.isLastGrainCut = true },
        Stream(testDescription: "no room before the first grain") { $0.overhead = 0 },
        Stream(testDescription: "entries of 1 for zeros") { $0.hasZeroedGrains = true },
        // Specified, and written by no program; both of the others inflate zlib streams only.
        Stream(testDescription: "plain deflate", qemu: .refused, second: .refused) { $0.compression = .deflate },
    ]

    @Test(arguments: streams, StreamVMDKBuilder.Directory.allCases)
    func `streamOptimized extents of every make`(
        stream: Stream, directory: StreamVMDKBuilder.Directory
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(size: Self.oddSize, seed: 5)
        var builder = StreamVMDKBuilder.whole(model, directory)
        stream.adjust(&builder)
        try oracle.folder.write(builder.build().bytes, to: "disk.vmdk")
        try oracle.expect("disk.vmdk", is: model.disk(), qemu: stream.qemu, second: stream.second)
    }

    @Test func `a streamOptimized extent with a redundant directory`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(size: Self.oddSize, seed: 6)
        var builder = StreamVMDKBuilder.whole(model, .front)
        builder.isRedundant = true
        try oracle.folder.write(builder.build().bytes, to: "disk.vmdk")
        try oracle.expect("disk.vmdk", is: model.disk())
    }

    @Test func `a streamOptimized extent of several grain tables, some of them absent`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        // A table is 512 grains, 2 MiB here.
        var model = GrainModel(size: 9 << 20 | 512, grainSize: 4096)
        model.grains = Array(repeating: .absent, count: model.grainCount)
        for index in [3, 511, 512, 1030, 1031, 2304] { model.grains[index] = .data }
        for directory in StreamVMDKBuilder.Directory.allCases {
            try oracle.folder.write(StreamVMDKBuilder.whole(model, directory).build().bytes, to: "disk.vmdk")
            try oracle.expect("disk.vmdk", is: model.disk())
        }
    }

    @Test(arguments: [0, 512, 4096, 65536 - 512, 10240])
    func `junk behind the end of a stream is passed over by us, and not by the others when the footer is needed`(
        count: Int
    ) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(size: Self.oddSize, seed: 7)
        for directory in StreamVMDKBuilder.Directory.allCases {
            var builder = StreamVMDKBuilder.whole(model, directory)
            // As archives fill their last block: with zeros, or with what was there before.
            builder.trailer = Array(repeating: count == 4096 ? 0xa5 : 0, count: count)
            try oracle.folder.write(builder.build().bytes, to: "disk.vmdk")
            let verdict: Verdict = directory == .footer && count > 0 ? .refused : .same
            try oracle.expect("disk.vmdk", is: model.disk(), qemu: verdict, second: verdict)
        }
    }

    @Test func `a stream without markers is refused, while qemu-img takes each place for that of a stream`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(size: Self.oddSize, seed: 8)
        var builder = StreamVMDKBuilder.whole(model, .front)
        builder.hasMarkers = false
        try oracle.folder.write(builder.build().bytes, to: "disk.vmdk")
        let why = "no program writes it, and no specification says whether a length comes before each grain"
        try oracle.expect(.differ(ours: .refused, qemu: .same, why: why), of: "disk.vmdk", before: model.disk())
    }

    // MARK: COWD

    @Test(arguments: [1, 2, 16, 128])
    func `COWD extents, with grains of a sector as ESX has them, and larger ones`(grainSectors: Int) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(
            size: 4500 * 512, grainSize: grainSectors * 512, seed: UInt64(grainSectors), longestRun: 60)
        for isShuffled in [false, true] {
            var builder = COWDBuilder(model)
            builder.isShuffled = isShuffled
            builder.spareDirectoryEntries = isShuffled ? 3 : 0
            builder.parentName = isShuffled ? "parent.vmdk" : nil
            try describe("VMFSSPARSE", "vmfsSparse", model, builder.build().bytes, in: oracle)
            try oracle.expect("disk.vmdk", is: model.disk())
        }
    }

    @Test func `a COWD extent by itself is a disk to us and to the second reader, while qemu-img wants a text`() throws
    {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(size: 300 * 512, grainSize: 512, seed: 8)
        try oracle.folder.write(COWDBuilder(model).build().bytes, to: "disk.vmdk")
        try oracle.expect("disk.vmdk", is: model.disk(), qemu: .refused)
    }

    // MARK: seSparse

    @Test(arguments: [SESparseBuilder.Zero.zeroed, .unmapped, .both])
    func `seSparse extents with both kinds of zeros`(zero: SESparseBuilder.Zero) throws {
        let oracle = try Oracle(try TemporaryFolder())
        // Of three grain tables, the second absent.
        var model = GrainModel(size: 33 << 20, grainSize: 4096, seed: 9)
        for index in 60..<model.grains.count where index < 8150 || index > 8400 { model.grains[index] = .absent }
        for index in 4096..<8192 { model.grains[index] = .absent }
        var builder = SESparseBuilder(model)
        builder.zero = zero
        try describe("SESPARSE", "seSparse", model, builder.build().bytes, in: oracle)
        try oracle.expect("disk.vmdk", is: model.disk())
    }

    @Test func `a seSparse extent whose grains lie so far behind that their entries need the upper bits`() throws {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(size: 100 * 4096 + 512, grainSize: 4096, seed: 10)
        var builder = SESparseBuilder(model)
        builder.firstGrain = 4096 - 7
        try describe("SESPARSE", "seSparse", model, builder.build().bytes, in: oracle)
        try oracle.expect("disk.vmdk", is: model.disk())
    }

    @Test func `a seSparse extent by itself is a disk to us and to the second reader, while qemu-img wants a text`()
        throws
    {
        let oracle = try Oracle(try TemporaryFolder())
        let model = GrainModel(size: 50 * 4096, grainSize: 4096, seed: 11)
        try oracle.folder.write(SESparseBuilder(model).build().bytes, to: "disk.vmdk")
        try oracle.expect("disk.vmdk", is: model.disk(), qemu: .refused)
    }
}
