import BlockImage
import FormatCore
import HostTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

struct `Writing to an image` {
    private func disk(_ change: (inout NewQCOW2) -> Void = { _ in }) throws -> WrittenDisk {
        var image = NewQCOW2(size: 4 << 20)
        change(&image)
        return try WrittenDisk(image, seed: 1)
    }

    /// How many barriers `body` has.
    private func barriers(_ disk: WrittenDisk, _ body: () throws -> Void) rethrows -> Int {
        let before = disk.file.syncCount
        try body()
        return disk.file.syncCount - before
    }

    @Test func `costs no barrier where there is nothing to flush, and one where data is written in place`() throws {
        let disk = try disk()
        #expect(try barriers(disk) { try disk.layer.flush() } == 0)
        #expect(try barriers(disk) { try disk.layer.write(.noise(70000, salt: 1), at: 0) } == 0)
        #expect(try barriers(disk) { try disk.layer.flush() } == 2)
        #expect(try barriers(disk) { try disk.layer.flush() } == 0)
        try disk.layer.write(.noise(70000, salt: 2), at: 0)
        #expect(try barriers(disk) { try disk.layer.flush() } == 1)
        // What was accounted ahead is given back.
        #expect(try barriers(disk) { try disk.layer.writeBack() } == 1)
        #expect(try barriers(disk) { try disk.layer.writeBack() } == 0)
        // Nothing but an entry changes.
        try disk.layer.zero(65536, at: GuestOffset(0), mayUnmap: false)
        #expect(try barriers(disk) { try disk.layer.flush() } == 1)
    }

    @Test func `costs one barrier where zeros are replaced, two where other data is, in clusters that are accounted`()
        throws
    {
        let size = 4 << 20
        for (below, expected) in [(nil, [2, 1, 1]), ([UInt8].noise(size, salt: 9), [2, 2, 2])] {
            let disk = try WrittenDisk(NewQCOW2(size: UInt64(size)), below: below, seed: 1)
            let counts = try [0, 65536, 1 << 20 as UInt64].map { start in
                try disk.layer.write(.noise(4096, salt: 1), at: start)
                return try barriers(disk) { try disk.layer.flush() }
            }
            #expect(counts == expected)
            try disk.layer.close()
            try disk.judgeBytes(disk.file.bytes, allowsLeaks: false)
        }
    }

    @Test func `costs one barrier also after a pause`() throws {
        let disk = try disk()
        try disk.layer.write(.noise(4096, salt: 1), at: 0)
        try disk.layer.flush()
        try disk.layer.writeBack()
        // The first accounts clusters again.
        let counts = try [1 << 20, 2 << 20, 3 << 20 as UInt64].map { start in
            try disk.layer.write(.noise(4096, salt: 1), at: start)
            return try barriers(disk) { try disk.layer.flush() }
        }
        #expect(counts == [2, 1, 1])
        try disk.layer.close()
        try disk.judgeBytes(disk.file.bytes, allowsLeaks: false)
    }

    @Test func `needs nothing of a disk below that cannot be read, where it does not without a flush`() throws {
        let size = 4 << 20
        let bad = FaultyFile(.noise(size, salt: 9), bad: [32768..<65536, 131072..<196608])
        var image = NewQCOW2(size: UInt64(size))
        image.hasExtendedL2 = true
        image.backing = NewQCOW2.Backing(name: Array("below.raw".utf8), format: "raw")
        let created = MemoryWritableFile()
        try QCOW2Overlay.create(image, in: created)
        let below = Image(layer: RawLayer(file: bad))
        let layer = try openWritable(MemoryWritableFile(created.bytes), below: below)
        for start in [0, 4096 as UInt64] {
            try layer.write(.noise(4096, salt: start), at: start)
            try layer.flush()
        }
        try layer.write(.noise(65536, salt: 3), at: 131072)
        #expect(areSame(try layer.read(4096..<8192, below: below), [UInt8].noise(4096, salt: 4096)))
        #expect(areSame(try layer.read(131072..<196608, below: below), [UInt8].noise(65536, salt: 3)))
        #expect(bad.failureCount > 0)
    }

    @Test(arguments: [false, true])
    func `costs one barrier for each of small writes in order, but for the first two of a cluster`(
        isOverData: Bool
    ) throws {
        var image = NewQCOW2(size: 4 << 20)
        image.hasExtendedL2 = true
        let below = isOverData ? [UInt8].noise(4 << 20, salt: 9) : nil
        let disk = try WrittenDisk(image, below: below, seed: 1)
        try disk.layer.write(.noise(4096, salt: 1), at: 0)
        try disk.layer.flush()
        var (counts, expected) = ([Int](), below ?? [UInt8](repeating: 0, count: 4 << 20))
        for start in stride(from: UInt64(65536), to: 196608, by: 4096) {
            let bytes = [UInt8].noise(4096, salt: start)
            try disk.layer.write(bytes, at: start)
            expected.overwrite(from: Int(start), with: bytes)
            counts.append(try barriers(disk) { try disk.layer.flush() })
        }
        let each = !isOverData ? [Int](repeating: 1, count: 16) : [2, 2] + [Int](repeating: 1, count: 14)
        #expect(counts == each + each)
        #expect(
            areSame(try disk.layer.read(65536..<Int(disk.layer.virtualSize), below: disk.below), expected[65536...]))
        try disk.layer.close()
        try disk.judgeBytes(disk.file.bytes, allowsLeaks: false)
    }

    @Test func `takes no cluster again before nothing on the disk leads there`() throws {
        let disk = try disk()
        let layer = disk.layer
        func host(_ guest: UInt64) throws -> UInt64? {
            guard case .data(_, let offset) = try layer.extent(at: GuestOffset(guest), limit: 1).storage else {
                return nil
            }
            return offset.rawValue
        }
        let bytes = [UInt8].noise(65536, salt: 1)
        try layer.write(bytes, at: 0)
        try layer.flush()
        let old = try #require(try host(0))
        try layer.discard(65536, at: GuestOffset(0))
        try layer.write(bytes, at: 65536)
        #expect(try host(65536) != old)
        #expect(areSame(disk.file.bytes[Int(old)..<Int(old) + 65536], bytes))
        try layer.flush()
        // Given back, and taken first.
        #expect(disk.file.bytes.isZero(Int(old)..<Int(old) + 65536))
        try layer.write(bytes, at: 131072)
        #expect(try host(131072) == old)
    }

    @Test func `takes no cluster again that is still read`() throws {
        let disk = try disk()
        let layer = disk.layer
        let bytes = [UInt8].noise(65536, salt: 1)
        try layer.write(bytes, at: 0)
        try layer.flush()
        var hold = layer.holdForReading()
        let run = try layer.run(at: GuestOffset(0), limit: 65536)
        try layer.discard(65536, at: GuestOffset(0))
        try layer.flush()
        try layer.write(.noise(65536, salt: 2), at: 65536)
        try layer.write(.noise(65536, salt: 3), at: 131072)
        try layer.flush()
        let buffer = AlignedBuffer(capacity: 65536)
        try buffer.fill(65536) { output throws(ImageError) in try run.read(into: &output) }
        #expect(areSame(buffer.array, bytes) && hold != nil)
        hold = nil
        try layer.close()
        try disk.judgeBytes(disk.file.bytes, allowsLeaks: false)
    }

    @Test func `ends for good with the first barrier that fails`() throws {
        let disk = try disk()
        try disk.layer.write(.noise(512, salt: 2), at: 0)
        try disk.layer.flush()
        try disk.layer.write(.noise(512, salt: 1), at: 0)
        // In place: nothing but the barrier is left to do.
        disk.file.fail(MemoryWritableFile.Fault(operation: 0, errno: 5))
        #expect(throws: ImageError.self) { try disk.layer.flush() }
        disk.file.fail(nil)
        #expect(throws: ImageError.self) { try disk.layer.flush() }
        #expect(throws: ImageError.self) { try disk.layer.write(.noise(512, salt: 1), at: 0) }
        #expect(throws: ImageError.self) { try disk.layer.zero(512, at: GuestOffset(0), mayUnmap: true) }
        // What is there can be read.
        #expect(try areSame(disk.layer.read(0..<512, below: nil), [UInt8].noise(512, salt: 1)))
    }

    @Test func `is refused past the end of the disk`() throws {
        let disk = try disk()
        #expect(throws: ImageError.self) { try disk.layer.write(.noise(512, salt: 1), at: 4 << 20) }
        #expect(throws: ImageError.self) { try disk.layer.write(.noise(1024, salt: 1), at: (4 << 20) - 512) }
        #expect(throws: ImageError.self) { try disk.layer.discard(.max, at: GuestOffset(512)) }
        try disk.layer.write([], at: 4 << 20)
        #expect(disk.layer.changes.load(ordering: .relaxed) == 0)
    }
}
