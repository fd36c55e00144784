import CBench
import Foundation
import HostTools

/// The clusters of a raw disk, from which images are written.
final class ClusterSource {
    /// 64 KiB, QEMU's default.
    static let clusterSize = 1 << 16
    let size: Int
    private let file: OpenedFile
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: clusterSize, alignment: 4096)

    init(_ path: String) throws {
        file = try OpenedFile(path)
        size = Int(try file.size())
    }

    deinit {
        buffer.deallocate()
    }

    var clusterCount: Int { (size + Self.clusterSize - 1) / Self.clusterSize }

    /// The bytes of a cluster, valid until the next call; nil where all are zero.
    func cluster(_ index: Int) throws -> UnsafeRawBufferPointer? {
        let offset = index * Self.clusterSize
        let count = min(Self.clusterSize, size - offset)
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        guard pread(file.descriptor, buffer.baseAddress, count, off_t(offset)) == count else {
            throw PosixFailure(number: errno, call: "pread \(file.path) at \(offset)")
        }
        return cbench_is_zero(buffer.baseAddress, buffer.count) != 0 ? nil : UnsafeRawBufferPointer(buffer)
    }

    /// The clusters that hold anything else than zeros.
    func nonzeroClusters() throws -> [Int] {
        try (0..<clusterCount).filter { try cluster($0) != nil }
    }
}

/// Writes a QCOW2 file that holds some clusters of a disk, in the order that is given: qemu-img writes them in theirs.
struct LayerFile {
    /// The size of the disk.
    var size: Int
    /// The name of the backing file, which is QCOW2.
    var backingFile: String?
    /// Clusters that a layer above holds too. What is written for them is that of the next cluster.
    var hidden: Set<Int> = []

    init(size: Int) {
        self.size = size
    }

    private static let clusterSize = ClusterSource.clusterSize
    private static let entries = clusterSize / 8
    /// Refcounts of 16 bits in a block.
    private static let refcounts = clusterSize / 2

    /// Writes `clusters` of `source` to a new file; the first of them lies first in it. One that is all zeros is only
    /// flagged as such.
    func write(_ clusters: [Int], of source: ClusterSource, to path: String) throws {
        let file = try OpenedFile(path, flags: O_WRONLY | O_CREAT | O_EXCL)
        let tableCount = (source.clusterCount + Self.entries - 1) / Self.entries
        precondition(tableCount <= Self.entries, "an L1 table of one cluster is enough for 4 TiB")
        var tables = [UInt64](repeating: 0, count: tableCount * Self.entries)
        // Header, refcount table, L1 table, refcount blocks, L2 tables, clusters: the blocks must cover all of it.
        var blockCount = 1
        while 3 + blockCount + tableCount + clusters.count > blockCount * Self.refcounts { blockCount += 1 }
        let firstTable = 3 + blockCount
        var next = firstTable + tableCount
        for index in clusters {
            let taken = hidden.contains(index) ? (index + 1) % source.clusterCount : index
            guard let bytes = try source.cluster(taken) else {
                tables[index] = 1
                continue
            }
            try write(bytes, at: next, to: file)
            tables[index] = UInt64(next * Self.clusterSize) | 1 << 63
            next += 1
        }
        try write(words: tables, at: firstTable, to: file)
        try write(words: (0..<tableCount).map { offset(of: firstTable + $0) | 1 << 63 }, at: 2, to: file)
        try write(words: (0..<blockCount).map { offset(of: 3 + $0) }, at: 1, to: file)
        let refcounts = (0..<blockCount * Self.refcounts).map { UInt16($0 < next ? 1 : 0).bigEndian }
        try refcounts.withUnsafeBytes { try write($0, at: 3, to: file) }
        try header(tableCount: tableCount, blockCount: blockCount).withUnsafeBytes { try write($0, at: 0, to: file) }
        // The file ends with a whole cluster.
        guard ftruncate(file.descriptor, off_t(max(next, firstTable + tableCount) * Self.clusterSize)) == 0 else {
            throw PosixFailure(number: errno, call: "ftruncate \(path)")
        }
    }

    private func offset(of cluster: Int) -> UInt64 { UInt64(cluster * Self.clusterSize) }

    /// A header of version 3 with nothing optional but the backing file and its format.
    private func header(tableCount: Int, blockCount: Int) -> [UInt8] {
        var bytes: [UInt8] = Array("QFI".utf8) + [0xfb]
        func add(_ value: some FixedWidthInteger) { withUnsafeBytes(of: value.bigEndian) { bytes += $0 } }
        let name = backingFile.map { Array($0.utf8) } ?? []
        // The name follows the header's 112 bytes, the extension of 16 for its format, and the end of those.
        let nameOffset = 112 + 16 + 8
        add(UInt32(3))
        add(UInt64(name.isEmpty ? 0 : nameOffset))
        add(UInt32(name.count))
        add(UInt32(Self.clusterSize.trailingZeroBitCount))
        add(UInt64(size))
        add(UInt32(0))
        add(UInt32(tableCount))
        add(offset(of: 2))
        add(offset(of: 1))
        add(UInt32(1))
        add(UInt32(0))
        add(UInt64(0))
        // Incompatible, compatible and autoclear features, refcounts of 1 << 4 bits, the header's length, no compression.
        for features in [0, 0, 0] as [UInt64] { add(features) }
        add(UInt32(4))
        add(UInt32(112))
        add(UInt64(0))
        guard !name.isEmpty else { return bytes + [UInt8](repeating: 0, count: 8) }
        add(UInt32(0xe279_2aca))
        add(UInt32(5))
        bytes += Array("qcow2".utf8) + [0, 0, 0]
        add(UInt64(0))
        return bytes + name
    }

    private func write(words: [UInt64], at cluster: Int, to file: OpenedFile) throws {
        try words.map(\.bigEndian).withUnsafeBytes { try write($0, at: cluster, to: file) }
    }

    private func write(_ bytes: UnsafeRawBufferPointer, at cluster: Int, to file: OpenedFile) throws {
        let offset = off_t(cluster * Self.clusterSize)
        guard pwrite(file.descriptor, bytes.baseAddress, bytes.count, offset) == bytes.count else {
            throw PosixFailure(number: errno, call: "pwrite \(file.path) at \(offset)")
        }
    }
}
