import HostTools

/// Writes QCOW2 images in memory, cluster by cluster as a test wants them, knowing nothing of how they are read.
package struct QCOW2Builder: Sendable {
    /// How a cluster of the disk is stored.
    package enum Cluster: CaseIterable, Sendable {
        /// Not at all.
        case unallocated
        /// The zero flag, and no host cluster. Version 3.
        case zero
        /// The zero flag, and a host cluster full of junk. Version 3.
        case preallocatedZero
        /// In a host cluster.
        case data
        /// Compressed.
        case compressed
    }

    /// 2 or 3.
    package var version: UInt32 = 3
    /// log2 of the cluster size.
    package var clusterBits: UInt32
    /// The size of the disk in bytes.
    package var size: UInt64
    /// 0 deflate, 1 zstd.
    package var compressionType: UInt8 = 0
    /// The bits of incompatible_features; the one for the compression type is added.
    package var incompatibleFeatures: UInt64 = 0
    /// The bits of compatible_features.
    package var compatibleFeatures: UInt64 = 0
    /// The bits of autoclear_features.
    package var autoclearFeatures: UInt64 = 0
    /// The backing file's name.
    package var backingFile = ""
    /// The header extensions, each a type and its data, without the end.
    package var extensions: [(type: UInt32, data: [UInt8])] = []
    /// How each cluster of the disk is stored; those that are missing at the end are unallocated.
    package var clusters: [Cluster]
    /// Whether L2 tables and host clusters lie in another order than the disk's.
    package var isShuffled = true
    /// Bytes that the file goes on with, behind the last cluster.
    package var trailer: [UInt8] = []

    /// An image of `size` bytes.
    package init(size: UInt64, clusterBits: UInt32 = 16, clusters: [Cluster] = []) {
        self.size = size
        self.clusterBits = clusterBits
        self.clusters = clusters
    }

    /// The bytes of a cluster.
    package var clusterSize: Int { 1 << Int(clusterBits) }
    private var entriesOfTable: Int { clusterSize / 8 }
    private var clusterCount: Int { Int((size + UInt64(clusterSize) - 1) / UInt64(clusterSize)) }
    private var tableCount: Int { (clusterCount + entriesOfTable - 1) / entriesOfTable }

    /// The image, and the disk that it must be read as over zeros; `seed` chooses content and order.
    package func build(seed: UInt64 = 1) -> BuiltQCOW2 {
        var random = SeededRandom(seed: seed)
        var image = BuiltQCOW2(bytes: [], disk: Array(repeating: 0, count: Int(size)), clusterSize: clusterSize)
        image.isAllocated = Array(repeating: false, count: clusterCount)
        // Header, refcount table, one refcount block, L1.
        let l1Clusters = max(1, (tableCount * 8 + clusterSize - 1) / clusterSize)
        image.refcountTableOffset = UInt64(clusterSize)
        image.l1Offset = UInt64(3 * clusterSize)
        let used = clusters.prefix(clusterCount)
        let tables = (0..<tableCount).filter { table in
            used.dropFirst(table * entriesOfTable).prefix(entriesOfTable).contains { $0 != .unallocated }
        }
        let stored = used.indices.filter { used[$0] == .data || used[$0] == .preallocatedZero }
        var order = Array(0..<tables.count + stored.count)
        if isShuffled { order.shuffle(using: &random) }
        let first = 3 + l1Clusters
        image.bytes = Array(repeating: 0, count: (first + order.count) * clusterSize)
        for (index, table) in tables.enumerated() {
            let offset = UInt64((first + order[index]) * clusterSize)
            image.l2Offsets[table] = offset
            image.poke(offset | 1 << 63, at: image.l1Offset + UInt64(table * 8))
        }
        for (index, cluster) in stored.enumerated() {
            image.hostOffsets[cluster] = UInt64((first + order[tables.count + index]) * clusterSize)
        }
        for (index, cluster) in used.enumerated() where cluster != .unallocated {
            write(cluster, index, to: &image, using: &random)
        }
        image.bytes += trailer
        writeHeader(to: &image)
        image.poke(UInt64(2 * clusterSize), at: image.refcountTableOffset)
        return image
    }

    private func write(
        _ cluster: Cluster, _ index: Int, to image: inout BuiltQCOW2, using random: inout SeededRandom
    ) {
        let content = Self.content(clusterSize, using: &random)
        let host = image.hostOffsets[index] ?? 0
        var entry: UInt64 = 0
        switch cluster {
        case .unallocated: break
        case .zero: entry = 1
        case .preallocatedZero:
            entry = host | 1 << 63 | 1
            image.replace(content, at: Int(host))
        case .data:
            entry = host | 1 << 63
            image.replace(content, at: Int(host))
        case .compressed:
            let stream = compressionType == 0 ? Compressing.deflate(content) : Compressing.zstd(content)
            // Streams follow each other to the byte, some with a gap, across the borders of clusters and sectors.
            image.bytes += Array(repeating: 0xee, count: Int.random(in: 0...40, using: &random))
            let offset = UInt64(image.bytes.count)
            image.hostOffsets[index] = offset
            image.bytes += stream
            let sectors = (offset + UInt64(stream.count) - 1) / 512 - offset / 512
            entry = 1 << 62 | sectors << UInt64(62 - (clusterBits - 8)) | offset
        }
        if cluster == .data || cluster == .compressed {
            let start = index * clusterSize
            let count = min(clusterSize, Int(size) - start)
            image.disk.replaceSubrange(start..<start + count, with: content.prefix(count))
        }
        image.isAllocated[index] = true
        image.poke(entry, at: image.entryOffset(of: index))
    }

    /// Bytes of which some are random and others repeat, so that they can be compressed, but not to nothing.
    private static func content(_ count: Int, using random: inout SeededRandom) -> [UInt8] {
        var part: [UInt8] = []
        while part.count < 64 { withUnsafeBytes(of: random.next()) { part += $0 } }
        part += Array(repeating: part[0], count: 64)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            withUnsafeBytes(of: random.next()) { bytes += $0 }
            bytes += part.prefix(120)
        }
        return Array(bytes.prefix(count))
    }

    private func writeHeader(to image: inout BuiltQCOW2) {
        let length: UInt32 = version == 2 ? 72 : 112
        var header = Header()
        header.add(version)
        let fieldsOfName = header.bytes.count
        header.add(UInt64(0))
        header.add(UInt32(0))
        header.add(clusterBits)
        header.add(size)
        header.add(UInt32(0))
        header.add(UInt32(tableCount))
        header.add(image.l1Offset)
        header.add(image.refcountTableOffset)
        header.add(UInt32(1))
        header.add(UInt32(0))
        header.add(UInt64(0))
        if version >= 3 {
            header.add(incompatibleFeatures | (compressionType == 0 ? 0 : 1 << 3))
            header.add(compatibleFeatures)
            header.add(autoclearFeatures)
            header.add(UInt32(4))
            header.add(length)
            header.bytes += [compressionType, 0, 0, 0, 0, 0, 0, 0]
        }
        for (type, data) in extensions {
            header.add(type)
            header.add(UInt32(data.count))
            header.bytes += data + Array(repeating: 0, count: -data.count & 7)
        }
        header.add(UInt64(0))
        let nameOffset = header.bytes.count
        header.bytes += Array(backingFile.utf8)
        precondition(header.bytes.count <= clusterSize)
        image.replace(header.bytes, at: 0)
        guard !backingFile.isEmpty else { return }
        image.poke(UInt64(nameOffset), at: UInt64(fieldsOfName))
        image.poke(UInt32(backingFile.utf8.count), at: UInt64(fieldsOfName + 8))
    }

    private struct Header {
        var bytes: [UInt8] = [0x51, 0x46, 0x49, 0xfb]

        mutating func add(_ value: some FixedWidthInteger) {
            withUnsafeBytes(of: value.bigEndian) { bytes += $0 }
        }
    }
}

/// An image that was built, where its parts lie, and what must be read from it.
package struct BuiltQCOW2: Sendable {
    /// The file.
    package var bytes: [UInt8]
    /// The disk, where what is not allocated is zeros.
    package var disk: [UInt8]
    /// Whether each cluster of the disk has an entry.
    package var isAllocated: [Bool] = []
    /// The bytes of a cluster.
    package let clusterSize: Int
    /// Where the L1 table begins.
    package var l1Offset: UInt64 = 0
    /// Where the refcount table begins.
    package var refcountTableOffset: UInt64 = 0
    /// Where each L2 table begins, by its index in the L1 table.
    package var l2Offsets: [Int: UInt64] = [:]
    /// Where each stored cluster begins in the file, by its index on the disk.
    package var hostOffsets: [Int: UInt64] = [:]

    /// Where the L2 entry of the cluster `index` lies, which must have one.
    package func entryOffset(of index: Int) -> UInt64 {
        let entries = clusterSize / 8
        guard let table = l2Offsets[index / entries] else { preconditionFailure("no L2 table for cluster \(index)") }
        return table + UInt64(index % entries * 8)
    }

    /// Writes `value`, big-endian, at `offset` of the file.
    package mutating func poke(_ value: some FixedWidthInteger, at offset: UInt64) {
        let bytes = withUnsafeBytes(of: value.bigEndian) { Array($0) }
        replace(bytes, at: Int(offset))
    }

    /// Writes `new` at `offset` of the file, which must have space for it.
    package mutating func replace(_ new: [UInt8], at offset: Int) {
        bytes.replaceSubrange(offset..<offset + new.count, with: new)
    }

    /// The disk over `backing`, which is as long as it needs to be.
    package func disk(over backing: [UInt8]) -> [UInt8] {
        var result = disk
        for index in isAllocated.indices where !isAllocated[index] {
            let start = index * clusterSize
            let end = min(start + clusterSize, disk.count, backing.count)
            if start < end { result.replaceSubrange(start..<end, with: backing[start..<end]) }
        }
        return result
    }
}
