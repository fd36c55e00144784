import BlockImage
import HostTools
import TestImages
import Testing

@testable import VMDK

struct `Grains that the tables of an extent have lost` {
    /// A disk of 257 grains of 4 KiB, all with data or zeros of their own but some.
    private static func model() -> GrainModel { GrainModel(size: 1 << 20 | 512, grainSize: 4096, seed: 5) }

    private static func built(isRedundant: Bool = true) throws -> (model: GrainModel, image: BuiltVMDK) {
        var builder = SparseVMDKBuilder.whole(model())
        builder.tableEntryCount = 64
        builder.isRedundant = isRedundant
        return (builder.model, try builder.build())
    }

    private static func zero(_ count: Int, at offset: Int, in image: inout BuiltVMDK) {
        image.bytes.replaceSubrange(offset..<offset + count, with: repeatElement(0, count: count))
    }

    /// The disk is read as `model` has it, with a note that ends in `note`.
    private static func expectRecovery(
        _ image: BuiltVMDK, _ model: GrainModel, _ note: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let layer = try openLayer(MemoryFile(image.bytes))
        #expect(areSame(try Image(layer: layer).wholeDisk(), model.disk()), sourceLocation: sourceLocation)
        #expect(layer.notes.contains { $0.contains(note) }, "\(layer.notes)", sourceLocation: sourceLocation)
        #expect(try layer.check().corruptions > 0, sourceLocation: sourceLocation)
    }

    @Test func `are read by the redundant tables where an entry, a table or all of the directory is zeros`() throws {
        let (model, sound) = try Self.built()
        let tables = sound.tableOffsets.keys.sorted()
        let table = try #require(sound.tableOffsets[tables[1]])
        let grain = try #require(sound.grainOffsets.keys.sorted().dropFirst(7).first)
        var image = sound
        image.poke(UInt32(0), at: image.entryOffset(of: grain))
        try Self.expectRecovery(image, model, "grain table \(grain / 64): lacks 1 entry that the redundant one has")
        image = sound
        Self.zero(256, at: table, in: &image)
        try Self.expectRecovery(
            image, model, "that the redundant one has, which is the same otherwise and is read instead")
        image = sound
        Self.zero(4, at: image.directoryOffset + tables[1] * 4, in: &image)
        try Self.expectRecovery(image, model, "grain directory entry \(tables[1]): is 0, but the redundant grain")
        image = sound
        Self.zero(tables.count * 4, at: image.directoryOffset, in: &image)
        try Self.expectRecovery(image, model, "grain directory entry \(tables[0]): is 0, but the redundant grain")
        // The tables as well, so that nothing but the copy is left.
        for table in tables { Self.zero(256, at: try #require(sound.tableOffsets[table]), in: &image) }
        try Self.expectRecovery(image, model, "grain directory entry \(tables[0]): is 0, but the redundant grain")
    }

    @Test func `are an error, and no zeros, where the two tables contradict each other`() throws {
        let (model, sound) = try Self.built()
        let grains = sound.grainOffsets.keys.sorted().filter { $0 < 64 }
        var image = sound
        image.poke(UInt32(0), at: image.entryOffset(of: grains[3]))
        // The redundant table differs in another entry.
        let other = try #require(sound.grainOffsets[grains[0]]) / 512
        image.poke(UInt32(other), at: image.entryOffset(of: grains[8]))
        let disk = Image(layer: try openLayer(MemoryFile(image.bytes)))
        let error = imageError { () throws(ImageError) in _ = try disk.bytes(4096, at: UInt64(grains[3]) * 4096) }
        #expect(error?.code == .corrupt && error?.message.contains("is 0, but the redundant grain table") == true)
        #expect(error?.offset == HostOffset(UInt64(image.entryOffset(of: grains[3]))))
        // What is damaged is all that is lost.
        let next = grains[3] + 1
        let place = next * 4096..<next * 4096 + 4096
        #expect(areSame(try disk.bytes(4096, at: UInt64(place.lowerBound)), model.disk()[place]))
    }

    @Test func `are reported where no table has any, and there is no copy`() throws {
        for depth in 0...1 {
            var image = try Self.built(isRedundant: false).image
            if depth == 0 { Self.zero(20, at: image.directoryOffset, in: &image) }
            for table in image.tableOffsets.values where depth == 1 { Self.zero(256, at: table, in: &image) }
            let layer = try openLayer(MemoryFile(image.bytes))
            let error = imageError { () throws(ImageError) in _ = try Image(layer: layer).bytes(1, at: 0) }
            #expect(error?.code == .corrupt && error?.message.contains("their entries were lost") == true)
            let result = try layer.check()
            #expect(result.findings.contains { $0.kind == .entry && $0.severity == .corruption })
            #expect(result.leaks > 0)
        }
        var cowd = COWDBuilder(Self.model()).build()
        cowd.poke(UInt32(0), at: cowd.directoryOffset)
        #expect(throws: ImageError.self) { _ = try Image(layer: openLayer(MemoryFile(cowd.bytes))).bytes(1, at: 0) }
        var seSparse = SESparseBuilder(Self.model()).build()
        seSparse.poke(UInt64(0), at: seSparse.directoryOffset)
        #expect(throws: ImageError.self) { _ = try Image(layer: openLayer(MemoryFile(seSparse.bytes))).bytes(1, at: 0) }
    }

    @Test func `are reported where one table has none, and the file has grains that are in no other`() throws {
        let (model, sound) = try Self.built()
        var image = sound
        let table = try #require(image.tableOffsets.keys.sorted().dropFirst().first)
        Self.zero(4, at: image.redundantDirectoryOffset + table * 4, in: &image)
        Self.zero(256, at: try #require(image.tableOffsets[table]), in: &image)
        let disk = Image(layer: try openLayer(MemoryFile(image.bytes)))
        let start = UInt64(table * 64 * 4096)
        #expect(imageError { () throws(ImageError) in _ = try disk.bytes(1, at: start) }?.code == .corrupt)
        // All others can be read.
        let (before, behind) = (Int(start), Int(start) + 64 * 4096)
        #expect(areSame(try disk.bytes(before, at: 0), model.disk()[..<before]))
        #expect(areSame(try disk.bytes(4096, at: UInt64(behind)), model.disk()[behind..<behind + 4096]))
        // Where the writer did not close the file, they are what it had not put into a table yet.
        image.poke(UInt8(1), at: 72)
        let unclean = Image(layer: try openLayer(MemoryFile(image.bytes)))
        #expect(try unclean.bytes(4096, at: start).allSatisfy { $0 == 0 })
    }

    @Test func `are none in an image that was never written to, or that has room in advance`() throws {
        for capacity in [16, 100_000] {
            for flags in [UInt32(1), 3] {
                let empty = SparseImage(capacity: capacity, flags: flags).build().bytes
                for bytes in [empty, empty + [UInt8](repeating: 0, count: 1 << 20)] {
                    let layer = try openLayer(MemoryFile(bytes))
                    let disk = Image(layer: layer)
                    #expect(try disk.wholeDisk().allSatisfy { $0 == 0 })
                    let result = try layer.check()
                    #expect(result.corruptions == 0 && result.leaks == 0, "\(result.findings.map(\.message))")
                }
            }
        }
    }

    @Test func `are counted by a check where no table has them`() throws {
        let (model, sound) = try Self.built()
        var image = sound
        image.bytes[72] = 1
        image.bytes += [UInt8](repeating: 7, count: 3 * 4096) + [UInt8](repeating: 0, count: 8192)
        let layer = try openLayer(MemoryFile(image.bytes))
        #expect(areSame(try Image(layer: layer).wholeDisk(), model.disk()))
        let result = try layer.check()
        #expect(result.corruptions == 0 && result.leaks == 3)
        let finding = try #require(result.findings.first { $0.kind == .leak })
        #expect(finding.message.hasPrefix("3 grains with data, the first at "))
    }

    @Test(arguments: [false, true])
    func `are found in a stream by their markers`(isSparse: Bool) throws {
        var model = GrainModel(size: 20 << 20, grainSize: 4096, seed: 8, of: [.data, .absent], longestRun: 9)
        if isSparse { model.grains.replaceSubrange(600..<2100, with: repeatElement(.absent, count: 1500)) }
        let builder = StreamVMDKBuilder.whole(model)
        let sound = try builder.build()
        let soundLayer = try openLayer(MemoryFile(sound.bytes))
        #expect(areSame(try Image(layer: soundLayer).wholeDisk(), model.disk()) && soundLayer.notes == [])
        #expect(try soundLayer.check().findings.isEmpty)
        let grains = sound.grainOffsets.keys.sorted()
        let tables = sound.tableOffsets.keys.sorted()
        var images = [grains[0], grains[5], grains[grains.count - 1]].map { grain in
            var image = sound
            image.poke(UInt32(0), at: image.entryOffset(of: grain))
            return image
        }
        for table in [tables[0], tables[1], tables[tables.count - 1]] {
            var image = sound
            image.poke(UInt32(0), at: image.directoryOffset + table * 4)
            images.append(image)
            image = sound
            Self.zero(2048, at: try #require(sound.tableOffsets[table]), in: &image)
            images.append(image)
        }
        var empty = sound
        Self.zero(40, at: sound.directoryOffset, in: &empty)
        images.append(empty)
        for image in images {
            try Self.expectRecovery(image, model, "of the extent on that the grain tables do not have")
        }
        // Read from its end on, and from places here and there.
        var random = SeededRandom(seed: 3)
        for image in images {
            let disk = Image(layer: try openLayer(MemoryFile(image.bytes)))
            #expect(try wrongReads(of: disk, model.disk(), count: 20, &random) == [])
        }
    }

    @Test func `do not hide that the file ends inside its last grain`() throws {
        var builder = SparseVMDKBuilder.whole(Self.model())
        builder.isShuffled = false
        builder.model.grains[255] = .data
        builder.model.grains[256] = .absent
        let sound = try builder.build()
        let last = try #require(sound.grainOffsets[255])
        #expect(last + 4096 == sound.bytes.count)
        // Where nothing follows, the rest was never written, which is noted.
        let whole = try openLayer(MemoryFile(Array(sound.bytes.dropLast(512))))
        #expect(try Image(layer: whole).bytes(512, at: 256 * 4096 - 512).allSatisfy { $0 == 0 })
        #expect(whole.notes.contains { $0.hasSuffix("the rest is read as zeros") })
        let result = try whole.check()
        #expect(
            result.findings.contains { $0.kind == .outOfFile && $0.severity == .warning } && result.corruptions == 0)
        // Part of a sector, or grains behind the end: it was cut.
        var behind = sound
        let other = try #require(sound.grainOffsets.keys.min())
        for offset in [sound.entryOffset(of: other)] { behind.poke(UInt32(sound.bytes.count / 512 + 8), at: offset) }
        for bytes in [Array(sound.bytes.dropLast(100)), Array(behind.bytes.dropLast(512))] {
            let layer = try openLayer(MemoryFile(bytes))
            let disk = Image(layer: layer)
            let count = bytes.count - last
            #expect(
                areSame(try disk.bytes(count, at: 255 * 4096), builder.model.disk()[255 * 4096..<255 * 4096 + count]))
            let error = imageError { () throws(ImageError) in _ = try disk.bytes(4096, at: 255 * 4096) }
            #expect(error?.code == .truncated)
            #expect(layer.notes.contains { $0.hasSuffix("the file was cut") })
            #expect(try layer.check().findings.contains { $0.kind == .outOfFile && $0.severity == .corruption })
        }
    }
}
