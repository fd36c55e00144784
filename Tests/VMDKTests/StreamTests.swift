import BlockImage
import HostTools
import Synchronization
import TestImages
import Testing

@testable import VMDK

@Suite struct `Streams of compressed grains` {
    /// A stream with grains here and there, in random order where `inOrder` is false.
    static func randomStream(_ random: inout SeededRandom, inOrder: Bool = true) -> StreamImage {
        var image = StreamImage(
            capacity: Int.random(in: 1...700, using: &random), grainSize: [1, 2, 8, 16].randomElement(using: &random)!,
            tableEntryCount: [3, 16, 512].randomElement(using: &random)!)
        image.order = (0..<image.grainCount).filter { _ in Bool.random(using: &random) }
        if !inOrder { image.order.shuffle(using: &random) }
        image.bare = Set(image.order.filter { _ in Int.random(in: 0..<4, using: &random) == 0 })
        image.cutsLastGrain = Bool.random(using: &random)
        image.progressInterval = Int.random(in: 1...20, using: &random)
        return image
    }

    @Test(arguments: 1...24 as ClosedRange<UInt64>)
    func `are read as the bytes that they were made of, with and without their footers`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var image = Self.randomStream(&random, inOrder: seed % 3 != 0)
        if seed % 4 == 0 { image.order += image.order.prefix(3) }
        let built = image.build()
        let disk = image.disk
        let layer = try openLayer(MemoryFile(built.bytes))
        #expect(try wrongReads(of: Image(layer: layer), disk, &random) == [], "seed \(seed)")
        #expect(layer.notes.count == 1, "\(layer.notes)")
        #expect(layer.extents.map(\.isCompressed) == [true])
        // Everything behind the grains but the directory's marker is gone.
        let recovered = try openLayer(MemoryFile(Array(built.bytes[..<(built.directory + 512)])))
        #expect(try wrongReads(of: Image(layer: recovered), disk, &random) == [], "seed \(seed)")
        #expect(recovered.notes.count == 2, "\(recovered.notes)")
    }

    /// Four tables of four grains, of which few are there.
    static let image = StreamImage(
        capacity: 16 * 8, tableEntryCount: 4, descriptor: DescriptorTests.head + "RW 128 SPARSE \"x\"\n",
        order: [0, 1, 3, 4, 9, 10], bare: [4], progressInterval: 2)
    static let missing = "gdOffset says that the grain directory is at the end"

    @Test func `compressed extents are a grain each, as far as they are asked for`() throws {
        let built = Self.image.build()
        let layer = try openLayer(MemoryFile(built.bytes))
        func extent(_ start: UInt64, _ limit: UInt64) throws -> (UInt64, HostOffset, UInt64) {
            let extent = try layer.extent(at: GuestOffset(start), limit: limit)
            guard case .encoded(.compressed, let file, let offset, let count) = extent.storage else {
                Issue.record("\(extent)")
                return (0, HostOffset(0), 0)
            }
            #expect(file === layer.files.first)
            return (extent.count, offset, count)
        }
        // 12 and 8,192 bytes, rounded up.
        let first = HostOffset(UInt64(built.grains[0]!))
        #expect(try extent(0, 60_000) == (4096, first, 8704))
        #expect(try extent(1000, 60_000) == (3096, first, 8704))
        #expect(try extent(1000, 5) == (5, first, 8704))
        let last = UInt64(built.grains[10]!)
        #expect(try extent(40960, 9999) == (4096, HostOffset(last), min(8704, UInt64(built.bytes.count) - last)))
        let gap = try layer.extent(at: GuestOffset(2 * 4096 + 5), limit: 9999)
        guard case .unallocated = gap.storage else { throw ToolFailure(description: "\(gap)") }
        #expect(gap.count == 4091)
    }

    @Test func `each grain takes two reads and is inflated once`() throws {
        let file = MemoryFile(Self.image.build().bytes)
        let description = try VMDKDescription.describe(file)
        let resources = LayerResources()
        let layer = try VMDKLayer(description, file: file, policy: MemoryPolicy(), resources: resources)
        let image = Image(layer: layer)
        for offset in stride(from: UInt64(0), to: image.virtualSize, by: 4096) {
            _ = try layer.extent(at: GuestOffset(offset), limit: 1)
        }
        let before = file.reads.load(ordering: .relaxed)
        for offset in stride(from: UInt64(0), to: image.virtualSize, by: 512) { _ = try image.bytes(512, at: offset) }
        #expect(file.reads.load(ordering: .relaxed) == before + 2 * 6)
        #expect(resources.counters.decompressions.load(ordering: .relaxed) == 6)
    }

    @Test func `the map of a disk reads no grain`() throws {
        let built = Self.image.build()
        // The markers tell whether there are grains that the tables do not have.
        let layer = try openLayer(FaultyFile(built.bytes, bad: built.grains.values.map { $0 + 16..<$0 + 512 }))
        let (sum, error) = Image(layer: layer).allocation()
        #expect(error == nil)
        #expect(sum.compressed == 6 * 4096 && sum.unallocated == 10 * 4096)
        #expect(
            imageError { () throws(ImageError) in _ = try Image(layer: layer).bytes(1, at: 0) }?.code
                == .system(errno: 5))
    }

    @Test(arguments: [512, 10_240, 65_536])
    func `a footer is found before what was put behind it`(count: Int) throws {
        let built = Self.image.build()
        for fill in [UInt8(0), 0xaa] {
            let layer = try openLayer(MemoryFile(built.bytes + [UInt8](repeating: fill, count: count)))
            #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
            #expect(
                layer.notes == [
                    "memory.img: the footer of the stream is at \(HostOffset(UInt64(built.footer))), and not in the "
                        + "last sectors of the file"
                ])
        }
    }

    @Test(arguments: [65_536 + 512, 200_000])
    func `behind too much of it, the walk from marker to marker finds the footer`(count: Int) throws {
        let built = Self.image.build()
        let layer = try openLayer(MemoryFile(built.bytes + [UInt8](repeating: 0xaa, count: count)))
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(layer.notes.count == 1)
        #expect(layer.notes.first?.contains("the footer of the stream is at") == true)
    }

    @Test func `the marker of the end may be missing`() throws {
        let layer = try openLayer(MemoryFile(Self.image.build().bytes.dropLast(512)))
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(layer.notes.count == 1)
    }

    @Test func `a destroyed footer is done without`() throws {
        let built = Self.image.build()
        for place in [built.footer, built.footer + 512] {
            var bytes = built.bytes
            for index in place..<place + 16 { bytes[index] = 0xee }
            let layer = try openLayer(MemoryFile(bytes))
            #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
            #expect(
                layer.notes == [
                    "memory.img: at \(HostOffset(UInt64(bytes.count))): footer: is missing, which must end the file as "
                        + "\(Self.missing); its 6 grains were found by scanning the markers"
                ])
        }
    }

    @Test func `a footer whose grain directory is not in the file, or cannot be read, is done without`() throws {
        let built = Self.image.build()
        var bytes = built.bytes
        bytes.put(UInt64(1_000_000), at: built.footer + 512 + 56)
        let layer = try openLayer(MemoryFile(bytes))
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(
            layer.notes == [
                "memory.img: at 0x38: gdOffset: a grain directory of 4 entries at sector 1000000 does not lie in the "
                    + "file, which has \(bytes.count) bytes; its 6 grains were found by scanning the markers"
            ])
        let directory = built.directory + 512
        let faulty = try openLayer(FaultyFile(built.bytes, bad: [directory..<directory + 512]))
        #expect(try Image(layer: faulty).wholeDisk() == Self.image.disk)
        #expect(
            faulty.notes == [
                "memory.img: at \(HostOffset(UInt64(directory))): read: Input/output error; its 6 grains were found by "
                    + "scanning the markers"
            ])
    }

    /// What is lost of a stream that breaks off at `end`, where only the first `count` grains are found.
    private func expectRecovery(
        _ bytes: [UInt8], count: Int, end: Int, _ manner: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let found = Self.image.order.prefix(count)
        let lost = found.last! + 1
        let layer = try openLayer(MemoryFile(bytes))
        let image = Image(layer: layer)
        #expect(
            try image.bytes(lost * 4096, at: 0) == Array(Self.image.disk[..<(lost * 4096)]),
            sourceLocation: sourceLocation)
        for grain in lost..<16 {
            let error = imageError { () throws(ImageError) in _ = try image.bytes(1, at: UInt64(grain) * 4096) }
            #expect(
                error
                    == ImageError(
                        .truncated, path: "memory.img", offset: HostOffset(UInt64(end)),
                        "grain \(grain): is not in the stream, which \(manner) at \(HostOffset(UInt64(end))) and has "
                            + "no footer, so that it may be lost"),
                sourceLocation: sourceLocation)
        }
        #expect(image.allocation().1?.code == .truncated, sourceLocation: sourceLocation)
        let note = layer.notes.first { $0.contains("scanning the markers") }
        let message =
            "; its \(count) grains were found by scanning the markers, up to \(HostOffset(UInt64(end))), where the "
            + "stream \(manner): what the extent had from \(GuestOffset(UInt64(lost * 4096))) on is lost"
        #expect(note?.hasSuffix(message) == true, "\(layer.notes)", sourceLocation: sourceLocation)
    }

    @Test func `what a cut stream still holds is read, and the rest is never zeros`() throws {
        let built = Self.image.build()
        let fifth = built.grains[9]!
        for cut in [fifth, fifth + 5, fifth + 12, fifth + 100] {
            try expectRecovery(Array(built.bytes[..<cut]), count: 4, end: cut, "ends")
        }
        // All grains, but not all tables.
        for cut in [built.tables, built.tables + 512, built.directory] {
            try expectRecovery(Array(built.bytes[..<cut]), count: 6, end: cut, "ends")
        }
    }

    @Test func `a damaged marker ends the stream there`() throws {
        let built = Self.image.build()
        let fifth = built.grains[9]!
        // Not the start of a grain, beyond the disk, too large, and metadata of a type that is not known.
        let damages: [(UInt64, UInt32, UInt32)] = [(73, 100, 0), (128, 100, 0), (72, 8193, 0), (0, 0, 5)]
        for (lba, size, type) in damages {
            var bytes = Array(built.bytes[..<built.footer])
            bytes.put(lba, at: fifth)
            bytes.put(size, at: fifth + 8)
            if size == 0 { bytes.put(type, at: fifth + 12) }
            try expectRecovery(bytes, count: 4, end: fifth, "is damaged")
        }
    }

    @Test func `zeros in the place of a stream are not its end`() throws {
        let built = Self.image.build()
        let fifth = built.grains[9]!
        let bytes = built.bytes[..<fifth] + [UInt8](repeating: 0, count: built.bytes.count - fifth)
        try expectRecovery(Array(bytes), count: 4, end: fifth, "is damaged")
    }

    @Test func `where grains are not in order, any that is not found may be lost`() throws {
        var image = Self.image
        image.order = [9, 0, 3, 4, 0]
        let built = image.build()
        #expect(try Image(layer: openLayer(MemoryFile(built.bytes))).wholeDisk() == image.disk)
        let layer = try openLayer(MemoryFile(Array(built.bytes[..<built.tables])))
        let read = Image(layer: layer)
        for grain in 0..<16 {
            let found = try? read.bytes(4096, at: UInt64(grain) * 4096)
            // The later of the two that grain 0 has holds.
            #expect(found == (image.order.contains(grain) ? Array(image.disk[grain * 4096..<(grain + 1) * 4096]) : nil))
        }
        #expect(layer.notes.last?.hasSuffix("what the extent had in other grains may be lost") == true)
    }

    @Test func `a stream that is cut behind the disk's last grain has lost nothing`() throws {
        var image = StreamImage(capacity: 50, order: [2, 6])
        image.cutsLastGrain = true
        let built = image.build()
        let layer = try openLayer(MemoryFile(Array(built.bytes[..<built.tables])))
        #expect(try Image(layer: layer).wholeDisk() == image.disk)
        #expect(layer.notes.last?.hasSuffix("its 2 grains were found by scanning the markers") == true)
    }

    @Test func `a stream that is cut before its first grain is truncated`() throws {
        let built = Self.image.build()
        let error = imageError { () throws(ImageError) in
            _ = try openLayer(MemoryFile(Array(built.bytes[..<built.grains[0]!])))
        }
        #expect(error?.code == .truncated)
        #expect(error?.message.hasPrefix("footer: is missing") == true)
    }

    @Test func `the footer's capacity holds`() throws {
        var image = Self.image
        image.capacity = 100
        image.footerCapacity = 128
        image.descriptor = nil
        let built = image.build()
        let description = try VMDKDescription.describe(MemoryFile(built.bytes))
        #expect(description.virtualSize == 128 * 512)
        let layer = try openLayer(MemoryFile(built.bytes))
        #expect(layer.virtualSize == 128 * 512)
        #expect(
            layer.notes.last == "memory.img: the header says 100 sectors and the footer of the stream 128, which holds")
    }

    @Test func `a footer of another extent is none of this one`() throws {
        let built = Self.image.build()
        for (offset, value) in [(20, UInt8(16)), (44, 8), (0, 0x6b), (73, 0x0d), (10, 0)] {
            var bytes = built.bytes
            bytes[built.footer + 512 + offset] = value
            let layer = try openLayer(MemoryFile(bytes))
            #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
            #expect(layer.notes.first?.contains("footer: is missing") == true)
        }
    }

    @Test func `too many markers to look at are refused`() throws {
        let built = Self.image.build()
        let file = MemoryFile(built.bytes)
        let header = try SparseHeader.load(from: file)
        var scan = StreamScan(file, header: header) { _ in true }
        guard case .footer = try scan.run(markerLimit: 20) else { throw ToolFailure(description: "no footer") }
        var short = StreamScan(file, header: header) { _ in true }
        let error = imageError { () throws(ImageError) in _ = try short.run(markerLimit: 5) }
        #expect(error?.code == .unsupported)
        #expect(error?.message == "stream: has no footer, and more than 5 markers, which is not supported")
    }
}
