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
        let found = try layer.whileReading { () throws(ImageError) -> [UInt8] in
            let run = try layer.run(at: GuestOffset(0), limit: 65536)
            try layer.discard(65536, at: GuestOffset(0))
            try layer.flush()
            try layer.write(.noise(65536, salt: 2), at: 65536)
            try layer.write(.noise(65536, salt: 3), at: 131072)
            try layer.flush()
            let buffer = AlignedBuffer(capacity: 65536)
            try buffer.fill(65536) { output throws(ImageError) in try run.read(into: &output) }
            return buffer.array
        }
        #expect(areSame(found, bytes))
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

struct `An image that is not written to` {
    /// The error that opening an image ends with, of which some bytes were changed.
    private func refusal(
        _ change: (inout NewQCOW2) -> Void = { _ in }, _ poke: (inout [UInt8], Header) -> Void
    ) throws -> String? {
        var image = NewQCOW2(size: 4 << 20)
        change(&image)
        let file = MemoryWritableFile()
        try QCOW2Overlay.create(image, in: file)
        let whole = MemoryWritableFile(file.bytes)
        let layer = try openWritable(whole)
        try layer.write(.noise(512, salt: 1), at: 0)
        try layer.close()
        var bytes = whole.bytes
        poke(&bytes, try QCOW2Description(MemoryFile(bytes)).header)
        do {
            _ = try openWritable(MemoryWritableFile(bytes))
            return nil
        } catch {
            return "\(error)"
        }
    }

    @Test func `is told what keeps it from that`() throws {
        #expect(try refusal { _, _ in } == nil)
        let dirty = try refusal { bytes, _ in bytes[79] |= 1 }
        #expect(dirty?.contains("the dirty bit is set") == true)
        let corrupt = try refusal { bytes, _ in bytes[79] |= 2 }
        #expect(corrupt?.contains("the corrupt bit is set") == true)
        let unknown = try refusal { bytes, _ in bytes[72] |= 1 }
        #expect(unknown?.contains("features that are not supported") == true)
        // The refcount of the header's cluster, of the L1 table's, and a table over another.
        let blocks = { (header: Header, bytes: [UInt8]) -> Int in
            Int(
                UInt64(bytes[Int(header.refcountTableOffset) + 5]) << 16 | UInt64(
                    bytes[Int(header.refcountTableOffset) + 6]) << 8)
        }
        let header = try refusal { bytes, header in bytes[blocks(header, bytes) + 1] = 0 }
        #expect(
            header?.contains("the cluster holds the header and must have the refcount 1, but has 0") == true,
            "\(header ?? "")")
        let shared = try refusal { bytes, header in bytes[blocks(header, bytes) + 1] = 2 }
        #expect(shared?.contains("but has 2") == true)
        let l1Table = try refusal { bytes, header in
            bytes[blocks(header, bytes) + Int(header.l1TableOffset / header.clusterSize) * 2 + 1] = 0
        }
        #expect(l1Table?.contains("the cluster holds the L1 table and must have the refcount 1, but has 0") == true)
        let overlap = try refusal { bytes, header in
            for byte in 0..<8 { bytes[Int(header.l1TableOffset) + byte] = bytes[48 + byte] }
        }
        #expect(
            overlap?.contains("an L2 table is said to be at") == true
                && overlap?.contains("where the refcount table is") == true)
    }

    @Test func `has bits cleared that say of what nothing here keeps up to date`() throws {
        let file = MemoryWritableFile()
        try QCOW2Overlay.create(NewQCOW2(size: 1 << 20), in: file)
        var bytes = file.bytes
        bytes[88] = 0x80
        let written = MemoryWritableFile(bytes)
        let layer = try openWritable(written)
        #expect(written.bytes[88] == 0x80)
        try layer.write(.noise(512, salt: 1), at: 0)
        #expect(written.bytes[88] == 0 && written.syncCount == 1)
    }

    @Test func `any more is one whose entries lead to what they must not`() throws {
        let file = MemoryWritableFile()
        try QCOW2Overlay.create(NewQCOW2(size: 4 << 20), in: file)
        let first = MemoryWritableFile(file.bytes)
        let layer = try openWritable(first)
        try layer.write(.noise(512, salt: 1), at: 0)
        try layer.close()
        var bytes = first.bytes
        let header = try QCOW2Description(MemoryFile(bytes)).header
        let l2Table = Int(bytes[Int(header.l1TableOffset) + 5]) << 16 | Int(bytes[Int(header.l1TableOffset) + 6]) << 8
        // The first cluster is said to lie where the refcount table does.
        for byte in 1..<8 { bytes[l2Table + byte] = bytes[48 + byte] }
        let damaged = MemoryWritableFile(bytes)
        let opened = try openWritable(damaged)
        let error = #expect(throws: ImageError.self) { try opened.write(.noise(512, salt: 2), at: 0) }
        #expect(error?.message.contains("which holds the refcount table") == true)
        #expect(damaged.bytes[79] & 2 == 2)
        #expect(throws: ImageError.self) { try opened.write(.noise(512, salt: 2), at: 1 << 20) }
    }
}
