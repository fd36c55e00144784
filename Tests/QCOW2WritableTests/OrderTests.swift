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
        #expect(try barriers(disk) { try disk.layer.writeBack() } == 0)
        // Nothing but an entry changes.
        try disk.layer.zero(65536, at: GuestOffset(0), mayUnmap: false)
        #expect(try barriers(disk) { try disk.layer.flush() } == 1)
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
