import BlockImage
import Foundation
import TestImages
import Testing

@testable import VMDK

/// On a failing disk each sector that cannot be read takes seconds.
@Suite struct `A sector that cannot be read, which tells of lost grains` {
    private static let hint = "--ignore-read-errors of convert, read, hash and diff reads on"

    /// Reads at `offsets` of the disk in `file` all fail with EIO and the message `expected`, and only the first of them asks
    /// the host for what it cannot read.
    private func expectKept(
        _ file: FaultyFile, reading offsets: [Int], _ expected: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let disk = Image(layer: try openLayer(file))
        for (number, offset) in offsets.enumerated() {
            let before = file.failureCount
            let error = imageError { () throws(ImageError) in _ = try disk.bytes(512, at: UInt64(offset)) }
            #expect(error?.code == .system(errno: EIO), sourceLocation: sourceLocation)
            #expect(error?.message == expected, sourceLocation: sourceLocation)
            #expect(error?.hint == Self.hint, sourceLocation: sourceLocation)
            let isRead = file.failureCount > before
            #expect(isRead == (number == 0), "\(number)", sourceLocation: sourceLocation)
        }
        // Also where the thread must not block.
        let offset = UInt64(try #require(offsets.last))
        let error = imageError { () throws(ImageError) in
            try ReadScope.withoutBlocking { () throws(ImageError) in _ = try disk.bytes(512, at: offset) }
        }
        #expect(error?.message == expected, sourceLocation: sourceLocation)
    }

    @Test(arguments: [2, 3, 4])
    func `is read once, and named, where it is that of a grain table`(table: Int) throws {
        var builder = SparseVMDKBuilder.whole(GrainModel(size: 4 << 20, grainSize: 4096, seed: 5))
        builder.tableEntryCount = 128
        builder.isRedundant = false
        // The first tables and the last one were never written to.
        for grains in [0..<256, 896..<1024] {
            builder.model.grains.replaceSubrange(grains, with: repeatElement(.absent, count: grains.count))
        }
        let image = try builder.build()
        let place = try #require(image.tableOffsets[table])
        // Data that no table has, so that all of them are read.
        let stray = [UInt8](repeating: 7, count: 200 * 4096)
        let file = FaultyFile(image.bytes + stray, errno: EIO, bad: [place..<place + 4])
        let places = [0, 4096, 128 * 4096, 200 * 4096, 896 * 4096, 1023 * 4096]
        try expectKept(
            file, reading: places,
            "grain table \(table) at \(HostOffset(UInt64(place))) cannot be read (read: Input/output error), so that it cannot be "
                + "known whether grains that no table has belong here")
    }

    @Test func `is read once, and named, where it tells whether the last grain was cut`() throws {
        let image = try SparseVMDKBuilder.endingInGrain.build()
        let first = try #require(image.tableOffsets[0])
        let file = FaultyFile(Array(image.bytes.dropLast(512)), errno: EIO, bad: [first..<first + 4])
        try expectKept(
            file, reading: [(1 << 20) - 512, (1 << 20) - 512],
            "grain table 0 at \(HostOffset(UInt64(first))) cannot be read (read: Input/output error), so that it cannot be known "
                + "whether the file was cut inside its last grain")
    }

    @Test func `is read once, and named, where it is a marker of a stream`() throws {
        let model = GrainModel(size: 4 << 20, grainSize: 4096, seed: 8, of: [.data, .absent], longestRun: 9)
        var image = try StreamVMDKBuilder.whole(model).build()
        let grain = image.grainOffsets.keys.sorted()[5]
        let place = try #require(image.grainOffsets[grain])
        image.poke(UInt32(0), at: image.entryOffset(of: grain))
        let file = FaultyFile(image.bytes, errno: EIO, bad: [place..<place + 16])
        try expectKept(
            file, reading: [grain * 4096, grain * 4096 + 512],
            "stream marker at \(HostOffset(UInt64(place))) cannot be read (read: Input/output error), so that it cannot be known "
                + "whether grains that no table has belong here")
    }

    @Test func `is read again after ten seconds, once`() throws {
        let time = Guarded(ContinuousClock.now)
        let search = SearchedOnce<Int>(now: { time.withLock { $0 } })
        let file = MemoryFile([])
        var count = 0
        func read(_ errno: CInt?) -> Result<Int, ImageError> {
            do throws(ImageError) {
                return .success(
                    try search.value(in: file) { () throws(ImageError) in
                        count += 1
                        guard let errno else { return 7 }
                        throw ImageError(.system(errno: errno), path: "f", "read")
                    })
            } catch {
                return .failure(error)
            }
        }
        // What may pass is not kept.
        for errno in [EAGAIN, ECANCELED, EINTR, ENOMEM] { _ = read(errno) }
        #expect(count == 4)
        let failure = Result<Int, ImageError>.failure(ImageError(.system(errno: EIO), path: "f", "read"))
        for round in 1...2 {
            for _ in 0..<5 { #expect(read(EIO) == failure) }
            #expect(count == 4 + round)
            time.withLock { $0 += .seconds(9) }
            #expect(read(nil) == failure)
            #expect(count == 4 + round)
            time.withLock { $0 += .seconds(1) }
        }
        #expect(read(nil) == .success(7))
        #expect(read(EIO) == .success(7))
        #expect(count == 7)
    }
}
