import BlockImage
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

@testable import QCOW2

@Suite(.enabled(if: Tool.areThere("qemu-img")))
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

    @Test func `is refused with what keeps it from that`() throws {
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

    @Test func `is one with what no writer here keeps up to date`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("disk.qcow2")
        func refusal(options: [String] = [], _ change: (String) throws -> Void = { _ in }) throws -> String? {
            try? FileManager.default.removeItem(atPath: path)
            try QemuImg.create(path, size: 1 << 20, options: options)
            try change(path)
            do {
                _ = try openWritable(LocalWritableFile(at: FilePath(path)))
                return nil
            } catch {
                return "\(error)"
            }
        }
        #expect(try refusal() == nil)
        #expect(try refusal(options: ["compat=0.10"])?.contains("images of version 2 are not written to") == true)
        let dataFile = "data_file=\(folder.file("data.raw"))"
        #expect(try refusal(options: [dataFile])?.contains("external data file are not written to") == true)
        let snapshot = try refusal { try QemuImg.run("snapshot", "-c", "one", $0) }
        #expect(snapshot?.contains("images with internal snapshots are not written to") == true)
        let bitmap = try refusal { try QemuImg.run("bitmap", "--add", $0, "one") }
        #expect(bitmap?.contains("the image has dirty bitmaps") == true)
        let encrypted = try refusal {
            try QemuImg.run(
                "create", "-q", "-f", "qcow2", "--object", "secret,id=key,data=secret", "-o",
                "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10", $0, "1M")
        }
        #expect(encrypted?.contains("encrypted") == true)
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

    @Test func `any more is one whose compressed clusters lie in its tables`() throws {
        let folder = try TemporaryFolder()
        try folder.write(.init(repeating: 7, count: 1 << 20), to: "disk.raw")
        try QemuImg.convert(folder.file("disk.raw"), to: folder.file("disk.qcow2"), compressed: true)
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("disk.qcow2"))))
        let header = try QCOW2Description(MemoryFile(bytes)).header
        let l2Table = Int(bytes[Int(header.l1TableOffset) + 5]) << 16 | Int(bytes[Int(header.l1TableOffset) + 6]) << 8
        // The stream of the first cluster is said to lie in the header's, which would be given up with it.
        for byte in 1..<8 { bytes[l2Table + byte] = 0 }
        let file = MemoryWritableFile(bytes)
        let layer = try openWritable(file)
        let error = #expect(throws: ImageError.self) { try layer.discard(65536, at: GuestOffset(0)) }
        #expect(error?.message.contains("which holds the header") == true)
        #expect(throws: ImageError.self) { try layer.flush() }
        #expect(file.bytes.prefix(4).elementsEqual(Header.magic))
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
