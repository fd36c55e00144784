import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

struct `A check of a VMDK image` {
    /// A disk of 1 MiB and a bit in grains of 4 KiB, and tables of 64 entries.
    private static func model() -> GrainModel {
        GrainModel(size: 1 << 20 | 512, grainSize: 4096, seed: 5)
    }

    private static func check(_ bytes: [UInt8], useCapacity: Int? = nil) throws -> CheckResult {
        let file = MemoryFile(bytes, path: "image.vmdk")
        let layer = try VMDKLayer(
            try VMDKDescription.describe(file), file: file, policy: MemoryPolicy([:]), resources: LayerResources())
        return try layer.check(useCapacity: useCapacity)
    }

    private static func kinds(_ result: CheckResult) -> [CheckFinding.Kind] {
        result.findings.filter { $0.severity == .corruption }.map(\.kind)
    }

    @Test func `finds nothing in sound images of every kind`() throws {
        let model = Self.model()
        for bytes in [
            try SparseVMDKBuilder.whole(model).build().bytes, try StreamVMDKBuilder.whole(model).build().bytes,
            COWDBuilder(model).build().bytes, SESparseBuilder(model).build().bytes,
        ] {
            let result = try Self.check(bytes)
            #expect(Self.kinds(result) == [] && result.corruptions == 0, "\(result.findings.map(\.message))")
        }
    }

    @Test func `finds a grain that lies where another lies`() throws {
        var image = try SparseVMDKBuilder.whole(Self.model()).build()
        let (first, second) = (image.grainOffsets.keys.sorted()[2], image.grainOffsets.keys.sorted()[5])
        let place = try #require(image.grainOffsets[first])
        image.poke(UInt32(place / 512), at: image.entryOffset(of: second))
        let result = try Self.check(image.bytes)
        // The redundant grain table still says where the grain was.
        #expect(Set(Self.kinds(result)) == [.redundancy, .overlap] && result.corruptions == 2)
        let overlap = try #require(result.findings.first { $0.kind == .overlap })
        #expect(overlap.hostOffset == HostOffset(UInt64(place)))
        // Half a grain further on it overlaps two.
        image.poke(UInt32(place / 512 + 4), at: image.entryOffset(of: second))
        #expect(try Self.check(image.bytes).findings.count { $0.kind == .overlap } >= 1)
    }

    @Test func `finds a grain in the grain directory, and one behind the end of the file`() throws {
        var image = try SparseVMDKBuilder.whole(Self.model()).build()
        let index = try #require(image.grainOffsets.keys.min())
        image.poke(UInt32(image.directoryOffset / 512), at: image.entryOffset(of: index))
        #expect(try Self.kinds(Self.check(image.bytes)).contains(.overlap))
        image.poke(UInt32(image.bytes.count / 512 + 1), at: image.entryOffset(of: index))
        let result = try Self.check(image.bytes)
        #expect(Set(Self.kinds(result)) == [.redundancy, .outOfFile])
        let finding = try #require(result.findings.first { $0.kind == .outOfFile })
        #expect(finding.guestOffset == GuestOffset(UInt64(index) * 4096))
    }

    @Test func `finds what differs in the redundant grain directory`() throws {
        var image = try SparseVMDKBuilder.whole(Self.model()).build()
        image.poke(UInt32(0), at: image.redundantDirectoryOffset)
        let result = try Self.check(image.bytes)
        #expect(Self.kinds(result) == [.redundancy])
        #expect(result.findings.first { $0.kind == .redundancy }?.guestOffset == GuestOffset(0))
        image.poke(UInt32(1 << 30), at: image.redundantDirectoryOffset)
        #expect(try Self.kinds(Self.check(image.bytes)) == [.redundancy])
    }

    @Test func `finds a grain table behind the end of the file, and one that two entries name`() throws {
        var image = try SparseVMDKBuilder.whole(Self.model()).build()
        image.poke(UInt32(1 << 30), at: image.directoryOffset)
        #expect(try Self.kinds(Self.check(image.bytes)).contains(.outOfFile))
        var builder = SparseVMDKBuilder.whole(Self.model())
        builder.tableEntryCount = 64
        builder.isRedundant = false
        image = try builder.build()
        let tables = image.tableOffsets.keys.sorted()
        let table = try #require(image.tableOffsets[tables[0]])
        image.poke(UInt32(table / 512), at: image.directoryOffset + tables[1] * 4)
        let overlaps = try Self.check(image.bytes).findings.filter { $0.kind == .overlap }
        #expect(overlaps.contains { $0.message.hasPrefix("grain table") })
        // What the table has is looked at once.
        #expect(!overlaps.contains { $0.message.hasPrefix("the grain of") })
    }

    @Test func `finds a marker that is not that of the grain`() throws {
        var image = try StreamVMDKBuilder.whole(Self.model()).build()
        let grains = image.grainOffsets.keys.sorted()
        let place = try #require(image.grainOffsets[grains[1]])
        image.poke(UInt64(grains[1] + 1) * 8, at: place)
        let result = try Self.check(image.bytes)
        #expect(Self.kinds(result) == [.marker])
        #expect(result.findings.first?.guestOffset == GuestOffset(UInt64(grains[1]) * 4096))
    }

    @Test func `says that the last writer did not close the file`() throws {
        var image = try SparseVMDKBuilder.whole(Self.model()).build()
        image.poke(UInt8(1), at: 72)
        let result = try Self.check(image.bytes)
        #expect(result.findings.contains { $0.kind == .flag && $0.severity == .warning } && result.corruptions == 0)
    }

    @Test func `is the same in one pass and in many`() throws {
        var image = try SparseVMDKBuilder.whole(Self.model()).build()
        let grains = image.grainOffsets.keys.sorted()
        for index in stride(from: 0, to: grains.count - 1, by: 7) {
            let place = try #require(image.grainOffsets[grains[index]])
            image.poke(UInt32(place / 512 + (index % 2) * 4), at: image.entryOffset(of: grains[index + 1]))
        }
        let whole = try Self.check(image.bytes)
        #expect(whole.corruptions > 20)
        let parts = try Self.check(image.bytes, useCapacity: 64)
        #expect(parts.corruptions == whole.corruptions && Set(parts.findings) == Set(whole.findings))
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `of a damaged image ends`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let sparse = try SparseVMDKBuilder.whole(Self.model()).build().bytes
        let stream = try StreamVMDKBuilder.whole(Self.model()).build().bytes
        for round in 0..<150 {
            var bytes = round % 2 == 0 ? sparse : stream
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<min(bytes.count, round % 3 == 0 ? 512 : 65536), using: &random)
                bytes[place] = UInt8.random(in: 0...255, using: &random)
            }
            do { _ = try Self.check(bytes) } catch let error as ImageError { #expect(!error.message.isEmpty) }
        }
    }
}
