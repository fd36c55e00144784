import BlockImage
import Foundation
import TestImages
import Testing

@testable import VMDK

@Suite struct `What alone tells of a lost grain, and cannot be read` {
    /// What a read must not block for, what was cancelled, and what the disk of the host cannot read.
    static let errors: [CInt] = [EAGAIN, ECANCELED, EIO]
    /// Those that may pass: the next read looks again.
    static let transient: [CInt] = [EAGAIN, ECANCELED, EINTR]

    /// The first read of `count` bytes at `offset` of `file` fails with `errno`, and once the fault has passed the bytes are
    /// what `expected` has.
    private func expectError(
        _ errno: CInt, then expected: [UInt8], _ count: Int, at offset: UInt64, of file: FaultyFile,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let disk = Image(layer: try openLayer(file))
        func read() throws(ImageError) { _ = try disk.bytes(count, at: offset) }
        let error = imageError { () throws(ImageError) in
            if errno == EAGAIN { try ReadScope.withoutBlocking(read) } else { try read() }
        }
        #expect(error?.code == .system(errno: errno), "\(String(describing: error))", sourceLocation: sourceLocation)
        file.pass()
        let place = Int(offset)..<Int(offset) + count
        #expect(areSame(try disk.bytes(count, at: offset), expected[place]), sourceLocation: sourceLocation)
    }

    @Test(arguments: errors)
    func `is an error where it is the redundant table, and no zeros for ever`(errno: CInt) throws {
        let model = GrainModel(size: 1 << 20, grainSize: 4096, seed: 5)
        var builder = SparseVMDKBuilder.whole(model)
        builder.tableEntryCount = 64
        let sound = try builder.build()
        let tables = sound.tableOffsets.keys.sorted()
        let copies = sound.redundantDirectoryOffset..<sound.directoryOffset
        let grain = try #require(sound.grainOffsets.keys.sorted().first { $0 / 64 == tables[1] })
        var images = [sound, sound, sound]
        images[0].poke(UInt32(0), at: sound.entryOffset(of: grain))
        images[1].poke(UInt32(0), at: sound.directoryOffset + tables[1] * 4)
        let table = try #require(sound.tableOffsets[tables[1]])
        images[2].bytes.replaceSubrange(table..<table + 256, with: repeatElement(0, count: 256))
        for image in images {
            // All of the copy, or the table alone.
            for bad in [copies, copies.lowerBound + 512..<copies.upperBound] {
                let file = FaultyFile(image.bytes, errno: errno, bad: [bad])
                try expectError(errno, then: model.disk(), 4096, at: UInt64(grain) * 4096, of: file)
            }
        }
    }

    @Test(arguments: [EAGAIN, ECANCELED])
    func `is not read in place of a table that can be read later`(errno: CInt) throws {
        let model = GrainModel(size: 1 << 20, grainSize: 4096, seed: 5)
        let sound = try SparseVMDKBuilder.whole(model).build()
        let table = try #require(sound.tableOffsets.values.min())
        for place in [sound.directoryOffset, table] {
            let file = FaultyFile(sound.bytes, errno: errno, bad: [place..<place + 4])
            let layer = try openLayer(file)
            let error = imageError { () throws(ImageError) in _ = try Image(layer: layer).bytes(1, at: 0) }
            #expect(error?.code == .system(errno: errno))
            #expect(!layer.notes.contains { $0.contains("is read instead") })
        }
    }

    @Test(arguments: transient)
    func `is an error where it is a marker of the stream`(errno: CInt) throws {
        let model = GrainModel(size: 4 << 20, grainSize: 4096, seed: 8, of: [.data, .absent], longestRun: 9)
        var image = try StreamVMDKBuilder.whole(model).build()
        let grain = image.grainOffsets.keys.sorted()[5]
        let place = try #require(image.grainOffsets[grain])
        image.poke(UInt32(0), at: image.entryOffset(of: grain))
        let file = FaultyFile(image.bytes, errno: errno, bad: [place..<place + 16])
        try expectError(errno, then: model.disk(), 4096, at: UInt64(grain) * 4096, of: file)
    }

    @Test(arguments: transient)
    func `is an error where it is another table, which tells whether all are empty`(errno: CInt) throws {
        var builder = SparseVMDKBuilder.whole(GrainModel(size: 1 << 20, grainSize: 4096, seed: 5))
        builder.tableEntryCount = 64
        builder.isRedundant = false
        var image = try builder.build()
        for table in image.tableOffsets.values {
            image.bytes.replaceSubrange(table..<table + 256, with: repeatElement(0, count: 256))
        }
        let last = try #require(image.tableOffsets.values.max())
        let file = FaultyFile(image.bytes, errno: errno, bad: [last..<last + 4])
        let disk = Image(layer: try openLayer(file))
        func read() throws(ImageError) { _ = try disk.bytes(1, at: 0) }
        let first = imageError { () throws(ImageError) in
            if errno == EAGAIN { try ReadScope.withoutBlocking(read) } else { try read() }
        }
        #expect(first?.code == .system(errno: errno))
        file.pass()
        #expect(imageError(read)?.message.contains("their entries were lost") == true)
    }

    @Test(arguments: transient)
    func `is an error where it tells whether the last grain was cut`(errno: CInt) throws {
        let builder = SparseVMDKBuilder.endingInGrain
        let image = try builder.build()
        let first = try #require(image.tableOffsets[0])
        let file = FaultyFile(Array(image.bytes.dropLast(512)), errno: errno, bad: [first..<first + 4])
        var expected = builder.model.disk()
        expected.replaceSubrange(expected.count - 512..<expected.count, with: repeatElement(0, count: 512))
        try expectError(errno, then: expected, 512, at: UInt64(expected.count) - 512, of: file)
    }

    @Test func `is looked for by one of many threads`() async throws {
        var builder = SparseVMDKBuilder.whole(GrainModel(size: 1 << 20, grainSize: 4096, seed: 5))
        builder.tableEntryCount = 16
        builder.model.grains.replaceSubrange(16..<32, with: repeatElement(.absent, count: 16))
        let bytes = try builder.build().bytes
        /// How often the file is read by so many threads that read a hole.
        func reads(_ threads: Int) async throws -> Int {
            let file = FaultyFile(bytes, errno: EIO, bad: [])
            let disk = Image(layer: try openLayer(file))
            let before = file.readCount
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<threads {
                    group.addTask {
                        let bytes = try disk.bytes(512, at: 16 * 4096)
                        #expect(bytes == [UInt8](repeating: 0, count: 512))
                    }
                }
                try await group.waitForAll()
            }
            return file.readCount - before
        }
        // Each may read the directories' pages for itself.
        let one = try await reads(1)
        let many = try await reads(16)
        #expect(many <= one + 15 * 2)
    }
}
