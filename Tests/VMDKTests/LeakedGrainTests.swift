import BlockImage
import Synchronization
import TestImages
import Testing

@testable import VMDK

struct `Grains that no table has` {
    /// A disk of 4 tables of 64 grains of 4 KiB, the second of which was never written to.
    private static func built(isRedundant: Bool = true) throws -> (model: GrainModel, bytes: [UInt8]) {
        var model = GrainModel(size: 1 << 20, grainSize: 4096, seed: 5)
        model.grains.replaceSubrange(64..<128, with: repeatElement(.absent, count: 64))
        var builder = SparseVMDKBuilder.whole(model)
        builder.tableEntryCount = 64
        builder.isRedundant = isRedundant
        return (model, try builder.build().bytes)
    }

    private static func grains(_ count: Int) -> [UInt8] { [UInt8](repeating: 0x77, count: count * 4096) }

    @Test(arguments: [1, 2, 16])
    func `are leaked, and no sign of a lost table, where they are few and all tables are there`(count: Int) throws {
        let (model, bytes) = try Self.built()
        let layer = try openLayer(MemoryFile(bytes + Self.grains(count)))
        #expect(areSame(try Image(layer: layer).wholeDisk(), model.disk()))
        #expect(layer.notes.contains { $0.contains("its writer was killed") } == (count > 1))
        let result = try layer.check()
        #expect(result.corruptions == 0 && result.leaks == UInt64(count))
    }

    @Test func `may be those of a lost table where they are many, or there is no copy`() throws {
        for (isRedundant, count) in [(true, 17), (false, 2)] {
            let layer = try openLayer(MemoryFile(try Self.built(isRedundant: isRedundant).bytes + Self.grains(count)))
            let error = imageError { () throws(ImageError) in _ = try Image(layer: layer).bytes(1, at: 64 * 4096) }
            #expect(error?.code == .corrupt && error?.message.hasPrefix("the file has \(count) grains") == true)
            let result = try layer.check()
            #expect(result.corruptions == 1 && result.leaks == UInt64(count))
        }
    }

    @Test func `are none on a device, where what was there before the image lies past its end`() throws {
        for isRedundant in [false, true] {
            let (model, bytes) = try Self.built(isRedundant: isRedundant)
            let layer = try openLayer(FaultyFile(bytes + Self.grains(40), errno: 5, bad: [], isDevice: true))
            #expect(areSame(try Image(layer: layer).wholeDisk(), model.disk()))
            let result = try layer.check()
            #expect(result.corruptions == 0 && result.leaks == 0, "\(result.findings.map(\.message))")
            #expect(!layer.notes.contains { $0.contains("no grain table has") })
            // Of a file, they are its own.
            #expect(try openLayer(MemoryFile(bytes + Self.grains(40))).check().leaks == 40)
        }
        // Nothing was written yet.
        let empty = SparseImage(capacity: 2048, flags: 3).build().bytes + Self.grains(40)
        let layer = try openLayer(FaultyFile(empty, errno: 5, bad: [], isDevice: true))
        #expect(try Image(layer: layer).wholeDisk().allSatisfy { $0 == 0 })
        #expect(try layer.check().findings.allSatisfy { $0.severity == .warning })
    }

    @Test func `are lost in one step where they lie past the end of the file, also in one table named often`() throws {
        var image = SparseImage(capacity: 400 * 64, grainSize: 1, tableEntryCount: 64)
        image.grains = [.data]
        var bytes = image.build().bytes
        let table = image.firstTableSector
        for index in 0..<400 { bytes.put(UInt32(table), at: image.directorySector * 512 + index * 4) }
        for index in 0..<64 { bytes.put(UInt32(1_000_000 + index * 3), at: table * 512 + index * 4) }
        let file = MemoryFile(bytes)
        let resources = LayerResources()
        let layer = try VMDKLayer(
            try VMDKDescription.describe(file), file: file, policy: MemoryPolicy(), resources: resources)
        let measured = Image(layer: layer).measure()
        #expect(measured.error == nil && measured.lost.ranges.count == 1 && measured.lost.size == 400 * 64 * 512)
        #expect(resources.counters.tableHits.load(ordering: .relaxed) < 100)
        // A good entry among them is found.
        bytes.put(UInt32(table), at: table * 512 + 7 * 4)
        let other = Image(layer: try openLayer(MemoryFile(bytes))).measure()
        #expect(other.lost.ranges.count == 401 && other.lost.size == 400 * 63 * 512)
        #expect(other.sum.allocated == 400 * 512)
    }
}
