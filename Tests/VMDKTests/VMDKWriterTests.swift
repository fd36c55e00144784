import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import VMDK

struct `The writer` {
    private static let size = 40 * 65536 + 700

    /// Some grains with data, some without.
    private static let disk: [UInt8] = {
        let model = GrainModel(size: 41 * 65536, seed: 5, of: [.absent, .absent, .data])
        return Array(model.disk().prefix(size))
    }()

    /// The files of `new` with `disk` in it, written in pieces as `seed` has it, by their names.
    private func files(
        _ new: NewVMDK, _ disk: [UInt8] = disk, over parent: [UInt8] = [], seed: UInt64 = 1
    ) throws -> [String: [UInt8]] {
        let folder = try TemporaryFolder()
        let writer = try VMDKWriter(new, named: "disk.vmdk", in: FolderFiles(folder.path))
        var random = SeededRandom(seed: seed)
        try writer.write(disk: disk, over: parent, random: &random)
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        return Dictionary(
            uniqueKeysWithValues: try names.map {
                ($0, Array(try Data(contentsOf: URL(fileURLWithPath: folder.file($0)))))
            })
    }

    private func image(_ files: [String: [UInt8]]) throws -> VMDKLayer {
        try openLayer(MemoryFile(try #require(files["disk.vmdk"])), files.mapValues { MemoryFile($0) })
    }

    @Test(arguments: NewVMDK.Subformat.allCases)
    func `makes the same files of the same disk, in whatever pieces it comes`(subformat: NewVMDK.Subformat) throws {
        var new = NewVMDK(size: UInt64(Self.size))
        new.subformat = subformat
        let first = try files(new)
        let layer = try image(first)
        #expect(areSame(try Image(layer: layer).wholeDisk(), Self.disk + [UInt8](repeating: 0, count: 324)))
        #expect(layer.notes == [])
        for seed in 2...4 as ClosedRange<UInt64> { #expect(try files(new, seed: seed) == first) }
    }

    @Test func `gives other disks other content identifiers`() throws {
        func cid(_ new: NewVMDK, _ disk: [UInt8], over parent: [UInt8] = []) throws -> UInt32 {
            try #require(try image(files(new, disk, over: parent)).description.cid)
        }
        let new = NewVMDK(size: 4 << 16)
        var disk = [UInt8](repeating: 0, count: 4 << 16)
        var found: [UInt32] = [try cid(new, disk)]
        disk[0] = 1
        found.append(try cid(new, disk))
        disk[1] = 1
        found.append(try cid(new, disk))
        let moved = [UInt8](repeating: 0, count: 1 << 16) + disk.dropLast(1 << 16)
        found.append(try cid(new, moved))
        found.append(try cid(NewVMDK(size: 5 << 16), moved))
        var delta = new
        delta.parent = NewVMDK.Parent(name: "base.vmdk", cid: 1)
        found.append(try cid(delta, disk))
        found.append(try cid(delta, disk, over: moved))
        delta.parent?.cid = 2
        found.append(try cid(delta, disk, over: moved))
        #expect(Set(found).count == found.count)
        #expect(found.allSatisfy { $0 < 0xffff_fffe })
    }

    @Test func `puts grains that are contiguous on the disk into one run of the file`() throws {
        let disk = (0..<UInt64(20 * 128)).flatMap { Pattern.sector($0, salt: 1) }
        let layer = try image(files(NewVMDK(size: UInt64(disk.count)), disk))
        let extent = try layer.extent(at: GuestOffset(0), limit: UInt64(disk.count))
        #expect(extent.count == UInt64(disk.count))
        guard case .data(_, let offset) = extent.storage else {
            Issue.record("\(extent)")
            return
        }
        // Where blocks of any file system begin, so that it can share them.
        #expect(offset.rawValue % 65536 == 0)
    }

    @Test(arguments: [false, true])
    func `tells zeros over a parent`(hasZeroedGrains: Bool) throws {
        var new = NewVMDK(size: UInt64(Self.size))
        new.hasZeroedGrains = hasZeroedGrains
        new.parent = NewVMDK.Parent(name: "base.vmdk", cid: 1)
        let parent = Array((0..<UInt64(41 * 128)).flatMap { Pattern.sector($0, salt: 9) }.prefix(Self.size))
        let layer = try image(files(new, over: parent))
        let read = try Image(layer: layer, backing: Image(layer: RawLayer(file: MemoryFile(parent)))).wholeDisk()
        #expect(areSame(read.prefix(Self.size), Self.disk))
        #expect(layer.description.sparseHeader?.version == (hasZeroedGrains ? 2 : 1))
        #expect(layer.description.parent?.text == "base.vmdk" && layer.description.parentCID == 1)
    }

    @Test func `makes a stream that is read from its start to its end`() throws {
        // Three grain tables, of which the middle one has no grain.
        let size = 70 << 20
        var disk = [UInt8](repeating: 0, count: size)
        let grains = [0, 1, 5, 511, 1024, 1100, size / 65536 - 1]
        for grain in grains {
            disk.replaceSubrange(grain * 65536..<grain * 65536 + 512, with: Pattern.sector(9, salt: 1))
        }
        var new = NewVMDK(size: UInt64(size))
        new.subformat = .streamOptimized
        let bytes = try #require(try files(new, disk)["disk.vmdk"])
        let header = try SparseHeader(parsing: Array(bytes.prefix(512)))
        #expect(header.hasDirectoryAtEnd && header.overhead == 128)
        var scan = StreamScan(MemoryFile(bytes), header: header) { _ in true }
        guard case .footer(let footer) = try scan.run() else {
            Issue.record("there is no footer")
            return
        }
        #expect(footer.position.rawValue == UInt64(bytes.count - 3 * 512))
        #expect(scan.grains.map(\.index) == grains.map(UInt32.init))
        #expect(bytes.suffix(512).allSatisfy { $0 == 0 })
        // Nothing but the grains: a reader needs no more as it arrives.
        let end = try #require(scan.grains.last).sector + 128
        let part = try openLayer(MemoryFile(Array(bytes.prefix(Int(end) * 512))))
        #expect(areSame(try Image(layer: part).wholeDisk(), disk))
    }

    @Test func `compresses itself what comes as it is`() throws {
        let folder = try TemporaryFolder()
        var new = NewVMDK(size: UInt64(Self.size))
        new.subformat = .streamOptimized
        let writer = try VMDKWriter(new, named: "disk.vmdk", in: FolderFiles(folder.path))
        try writer.write(Self.disk.span.bytes, at: GuestOffset(0), stored: nil)
        try writer.finish()
        let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: folder.file("disk.vmdk"))))
        #expect(areSame(try Image(layer: openLayer(MemoryFile(bytes))).wholeDisk().prefix(Self.size), Self.disk))
    }

    @Test(arguments: [NewVMDK.Subformat.monolithicSparse, .streamOptimized])
    func `takes little for a huge disk with little on it`(subformat: NewVMDK.Subformat) throws {
        let folder = try TemporaryFolder()
        var new = NewVMDK(size: 4 << 40)
        new.subformat = subformat
        let writer = try VMDKWriter(new, named: "disk.vmdk", in: FolderFiles(folder.path))
        let grain = (0..<128 as Range<UInt64>).flatMap { Pattern.sector($0, salt: 1) }
        for start in [1 << 20, 3 << 40] as [UInt64] {
            try writer.write(grain.span.bytes, at: GuestOffset(start), stored: nil)
        }
        try writer.finish()
        // Two directories of 512 KiB, or one.
        #expect(try Status(folder.file("disk.vmdk")).blocks * 512 < 2 << 20)
    }

    @Test func `says so where the sectors of an entry end`() throws {
        let folder = try TemporaryFolder()
        let file = try FolderFiles(folder.path).file(named: "disk.vmdk")
        let writer = SparseExtentWriter(
            sectors: 1 << 20, descriptorSectors: UInt64(UInt32.max) - 20_000, hasZeroedGrains: false, in: file)
        let grain = [UInt8](repeating: 1, count: 65536)
        let error = imageError { () throws(ImageError) in
            for index in 0..<200 { try writer.write(grain.span.bytes, at: UInt64(index * grain.count), stored: nil) }
        }
        #expect(error?.code == .unsupported)
        #expect(error?.message.hasPrefix("sparse extent: its grains and tables take more than 2 TiB") == true)
    }
}
