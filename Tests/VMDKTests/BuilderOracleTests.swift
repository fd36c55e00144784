import Foundation
import HostTools
import TestImages
import Testing

/// The tests of this module hold what is read against what the builders say that they built; here it is qemu-img that
/// says whether they build what the formats mean.
@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `What the builders build is what qemu-img reads in it` {
    private static let head = DescriptorTests.head

    /// Whether qemu-img reads `disk` in the image that a descriptor with one line makes of `bytes`.
    private func agrees(_ bytes: [UInt8], kind: String, create: String, _ disk: [UInt8]) throws {
        let folder = try TemporaryFolder()
        try folder.write(bytes, to: "extent.vmdk")
        let text =
            Self.head.replacing("createType=\"vmfs\"", with: "createType=\"\(create)\"")
            + "RW \(disk.count / 512) \(kind) \"extent.vmdk\"\n"
        try folder.write(Array(text.utf8), to: "disk.vmdk")
        try agrees(in: folder, on: "disk.vmdk", disk)
    }

    private func agrees(in folder: TemporaryFolder, on name: String, _ disk: [UInt8]) throws {
        let (isRead, why) = try QemuImg.reads(folder.file(name), format: "vmdk", into: folder.file("raw"))
        try #require(isRead, "\(why)")
        let raw = try Data(contentsOf: URL(fileURLWithPath: folder.file("raw")))
        #expect(areSame(raw, disk))
    }

    @Test(arguments: [1, 2, 16])
    func `VMFSSPARSE`(grainSize: Int) throws {
        var random = SeededRandom(seed: UInt64(grainSize))
        var image = COWDImage(capacity: 9000, grainSize: grainSize)
        image.order = (0..<9000 / grainSize).filter { _ in Bool.random(using: &random) }.shuffled(using: &random)
        try agrees(image.build().bytes, kind: "VMFSSPARSE", create: "vmfsSparse", image.disk)
    }

    @Test(arguments: [900, 36_000])
    func `SESPARSE`(capacity: Int) throws {
        var random = SeededRandom(seed: UInt64(capacity))
        var image = SESparseImage(capacity: capacity)
        image.grains = (0..<(capacity + 7) / 8).map { _ in SESparseImage.Grain.allCases.randomElement(using: &random)! }
        image.order = Array(image.grains.indices).shuffled(using: &random)
        try agrees(image.build().bytes, kind: "SESPARSE", create: "seSparse", image.disk)
    }

    @Test(arguments: [false, true])
    func `streams`(cutsLastGrain: Bool) throws {
        var random = SeededRandom(seed: 3)
        var image = StreamImage(capacity: 700, grainSize: 16, descriptor: Self.head + "RW 700 SPARSE \"x\"\n")
        image.order = (0..<image.grainCount).filter { _ in Bool.random(using: &random) }.shuffled(using: &random)
        image.order += [2, image.grainCount - 1]
        image.cutsLastGrain = cutsLastGrain
        image.progressInterval = 5
        let folder = try TemporaryFolder()
        try folder.write(image.build().bytes, to: "stream.vmdk")
        try agrees(in: folder, on: "stream.vmdk", image.disk)
    }
}
