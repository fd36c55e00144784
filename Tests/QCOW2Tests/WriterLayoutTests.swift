import BlockImage
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `The file that is written` {
    /// The clusters of the raw disk at `path` that are not all zeros, runs of them as one piece.
    private func pieces(of path: String, clusterSize: Int) throws -> PiecesOfDisk {
        let bytes = try contents(path)
        let zeros = [UInt8](repeating: 0, count: clusterSize)
        var disk = PiecesOfDisk(size: UInt64(bytes.count))
        var run: Range<Int>?
        func end() {
            if let run { disk.pieces.append(.data(Array(bytes[run]), at: UInt64(run.lowerBound))) }
            run = nil
        }
        for start in stride(from: 0, to: bytes.count, by: clusterSize) {
            let part = bytes[start..<min(start + clusterSize, bytes.count)]
            if areSame(Array(part), zeros.prefix(part.count)) {
                end()
            } else {
                run = (run?.lowerBound ?? start)..<part.endIndex
            }
        }
        end()
        return disk
    }

    @Test(
        arguments: [
            (512, nil), (4096, nil), (65536, nil), (2 << 20, nil), (65536, .zlib), (65536, .zstd), (4096, .zstd),
        ] as [(UInt64, CompressionType?)])
    func `is no larger than what qemu-img convert makes of the same disk`(
        clusterSize: UInt64, compression: CompressionType?
    ) throws {
        let folder = try TemporaryFolder()
        let raw = folder.file("disk.raw")
        try Pattern.writeDisk(raw, size: 12 << 20 | 1536, seed: clusterSize)
        var image = NewQCOW2(size: 12 << 20 | 1536)
        image.clusterSize = clusterSize
        var options = ["cluster_size=\(clusterSize)"]
        if let compression {
            image.compressionType = compression
            options.append("compression_type=\(compression.rawValue)")
        }
        let (ours, theirs) = (folder.file("ours"), folder.file("theirs"))
        let disk = try pieces(of: raw, clusterSize: Int(clusterSize))
        try write(disk, as: image, compressionLevel: compression?.defaultLevel, to: ours)
        try QemuImg.convert(raw, to: theirs, options: options, compressed: compression != nil)
        try QemuImg.run("compare", "-q", "-f", "qcow2", "-F", "raw", ours, raw)
        #expect(try QemuImg.check(ours, format: "qcow2").status == 0)
        let (our, their) = (try contents(ours).count, try contents(theirs).count)
        #expect(our <= their, "\(our) bytes, and \(their)")
    }

    @Test func `of a disk of 64 TiB with little on it is small, and soon made`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("large.qcow2")
        let size: UInt64 = 64 << 40
        var disk = PiecesOfDisk(size: size)
        let starts: [UInt64] = [0, 1 << 40, 5 << 40 | 65536, size - 65536]
        for start in starts {
            disk.pieces.append(.data(Array(repeating: 7, count: 65536), at: start))
        }
        let writes = try write(disk, as: NewQCOW2(size: size), to: path)
        #expect(writes < 20)
        // Header, two blocks and tables of refcounts, four clusters with an L2 table each, an L1 table of 1 MiB.
        #expect(try contents(path).count <= 65536 * 11 + 1 << 20)
        #expect(try QemuImg.check(path, format: "qcow2").status == 0)
        let map = try QemuImg.map(path, format: "qcow2").filter(\.data)
        #expect(map.map(\.start) == starts)
    }

    @Test func `has data that lies together in one call for each part of its tables`() throws {
        let folder = try TemporaryFolder()
        var disk = PiecesOfDisk(size: 64 << 20)
        disk.pieces = [.data(Array(repeating: 1, count: 48 << 20), at: 0)]
        // Data, L2 table, refcount block, refcount table, L1 table, header.
        #expect(try write(disk, as: NewQCOW2(size: disk.size), to: folder.file("a")) == 6)
    }

    @Test func `may need many clusters for its tables of refcounts`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("small-clusters.qcow2")
        var image = NewQCOW2(size: 24 << 20)
        (image.clusterSize, image.refcountBits, image.preallocation) = (512, 64, .metadata)
        try write(PiecesOfDisk(size: image.size), as: image, to: path)
        let file = MemoryFile(try contents(path))
        let description = try QCOW2Description(file)
        #expect(description.header.refcountTableClusters > 8)
        #expect(try description.check(file).findings == [])
        #expect(try QemuImg.check(path, format: "qcow2").status == 0)
    }

    @Test func `ends where the refcount table cannot count more`() throws {
        let folder = try TemporaryFolder()
        var image = NewQCOW2(size: 1 << 40)
        image.refcountBits = 64
        var clusters = try HostClusters(image.header, in: PlainNewFile(folder.file("a")))
        let error = #expect(throws: ImageError.self) { _ = try clusters.take(8192 << 20) }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("needs a larger cluster_size or a smaller refcount_bits") == true)
    }

    @Test(arguments: [UInt32(1), 2, 16])
    func `packs compressed clusters, as many into a host cluster as its refcount can count`(bits: UInt32) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("packed.qcow2")
        var image = NewQCOW2(size: 40 << 16)
        image.refcountBits = bits
        var disk = PiecesOfDisk(size: image.size)
        disk.pieces = [.data((0..<40 << 16).map { UInt8(truncatingIfNeeded: $0 >> 9 | 1) }, at: 0)]
        try write(disk, as: image, compressionLevel: 1, to: path)
        let check = try QemuImg.check(path, format: "qcow2")
        #expect(check.status == 0 && check.object["compressed-clusters"] as? Int == 40)
        // All of them would fit into one.
        let shared = try contents(path).count / 65536 - 4
        #expect(shared == (bits == 1 ? 40 : bits == 2 ? 14 : 1))
    }

    @Test func `has streams that refer back 32 KiB, which QEMU reads`() throws {
        var random = SeededRandom(seed: 11)
        let far = (0..<30_000).map { _ in UInt8.random(in: 0...255, using: &random) }
        let folder = try TemporaryFolder()
        let (path, raw) = (folder.file("far.qcow2"), folder.file("far.raw"))
        let bytes = Array((far + far + far).prefix(65536))
        try folder.write(bytes, to: "far.raw")
        var disk = PiecesOfDisk(size: 65536)
        disk.pieces = [.data(bytes, at: 0)]
        for level in Int(1)...12 {
            try write(disk, as: NewQCOW2(size: 65536), compressionLevel: level, to: path)
            // Within 4 KiB nothing comes again.
            #expect(try QemuImg.check(path, format: "qcow2").object["compressed-clusters"] as? Int == 1)
            try QemuImg.run("compare", "-q", "-f", "qcow2", "-F", "raw", path, raw)
        }
    }

    @Test(arguments: [UInt32(2), 3])
    func `keeps zeros over a backing file that has other bytes`(version: UInt32) throws {
        let folder = try TemporaryFolder()
        try folder.write(Array(repeating: 9, count: 1 << 20), to: "base.raw")
        let path = folder.file("over.qcow2")
        var image = NewQCOW2(size: 1 << 20)
        image.version = version
        image.backing = NewQCOW2.Backing(name: Array("base.raw".utf8), format: "raw")
        var disk = PiecesOfDisk(size: image.size)
        disk.pieces = [.zeros(131072, at: 65536), .data([UInt8](repeating: 3, count: 65536), at: 1 << 19)]
        try write(disk, as: image, to: path)
        try folder.write(disk.disk(over: Array(repeating: 9, count: 1 << 20)), to: "expected.raw")
        try QemuImg.run("compare", "-q", "-f", "qcow2", "-F", "raw", path, folder.file("expected.raw"))
        // Without the flag for it, zeros take host clusters; on the host's own disk they are holes.
        let size = try contents(path).count
        #expect(size == (version == 2 ? 7 : 5) * 65536 + 8)
    }
}
