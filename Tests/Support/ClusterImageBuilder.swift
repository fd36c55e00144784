import HostTools

/// Writes images of the formats that map clusters by a table, or by a table of tables, and nothing more, in memory.
package struct ClusterImageBuilder: Sendable {
    /// A format.
    package enum Format: String, CaseIterable, Sendable {
        case qcow1, qed, parallels, parallelsExtended
    }

    /// How a cluster of the disk is stored.
    package enum Cluster: CaseIterable, Sendable {
        case unallocated, data
        /// Of QED only.
        case zero
        /// Of QCOW only.
        case compressed
    }

    /// The format.
    package var format: Format
    /// The size of the disk in bytes, in whole sectors.
    package var size: UInt64
    /// log2 of the cluster size.
    package var clusterBits: Int
    /// How each cluster of the disk is stored; those that are missing at the end are unallocated.
    package var clusters: [Cluster]
    /// The backing file's name, which Parallels images do not have.
    package var backingFile = ""

    /// An image whose clusters are stored in every way that `format` has.
    package init(_ format: Format, size: UInt64, clusterBits: Int) {
        self.format = format
        self.size = size
        self.clusterBits = clusterBits
        let kinds = Cluster.allCases.filter { kind in
            kind == .unallocated || kind == .data || kind == .zero && format == .qed
                || kind == .compressed && format == .qcow1
        }
        let count = Int((size + (1 << UInt64(clusterBits)) - 1) >> UInt64(clusterBits))
        clusters = (0..<count).map { kinds[($0 / 2) % kinds.count] }
    }

    private var clusterSize: Int { 1 << clusterBits }
    private var clusterCount: Int { Int((size + UInt64(clusterSize) - 1) / UInt64(clusterSize)) }
    private var entriesOfTable: Int { clusterSize / 8 }
    private var tableCount: Int { (clusterCount + entriesOfTable - 1) / entriesOfTable }

    /// Where the first table begins.
    package var firstTable: Int { format == .qcow1 || format == .qed ? clusterSize : 64 }
    /// Where the first second table begins; of one table, the same.
    package var secondTable: Int { format == .qcow1 || format == .qed ? firstTable + tableSpace : 64 }
    private var tableSpace: Int {
        format == .qed ? clusterSize : (tableCount * 8 + clusterSize - 1) & ~(clusterSize - 1)
    }

    /// The image, and the disk that it must be read as over zeros.
    package func build(seed: UInt64 = 1) -> (bytes: [UInt8], disk: [UInt8]) {
        var disk = [UInt8](repeating: 0, count: clusterCount * clusterSize)
        var bytes = [UInt8](repeating: 0, count: dataStart)
        put(header, at: 0, in: &bytes)
        for index in 0..<clusterCount {
            let kind = index < clusters.count ? clusters[index] : .unallocated
            var content: [UInt8] = []
            if kind == .data || kind == .compressed {
                for sector in 0..<clusterSize / 512 {
                    content += Pattern.sector(UInt64(index * clusterSize / 512 + sector), salt: seed)
                }
                disk.replaceSubrange(index * clusterSize..<(index + 1) * clusterSize, with: content)
            }
            let entry: UInt64
            switch kind {
            case .unallocated: continue
            case .zero: entry = 1
            case .compressed:
                let stream = Compressing.deflate(content)
                entry = 1 << 63 | UInt64(stream.count) << UInt64(63 - clusterBits) | UInt64(bytes.count)
                bytes += stream
            case .data:
                bytes += [UInt8](repeating: 0, count: -bytes.count & (clusterSize - 1))
                entry = UInt64(bytes.count)
                bytes += content
            }
            putEntry(entry, index, in: &bytes)
        }
        return (bytes, Array(disk.prefix(Int(size))))
    }

    /// Where the entry of the cluster `index` lies.
    package func entryOffset(_ index: Int) -> Int {
        switch format {
        case .qcow1, .qed: secondTable + index / entriesOfTable * clusterSize + index % entriesOfTable * 8
        case .parallels, .parallelsExtended: 64 + index * 4
        }
    }

    private var dataStart: Int {
        switch format {
        case .qcow1, .qed: secondTable + tableCount * clusterSize
        case .parallels, .parallelsExtended: (64 + clusterCount * 4 + clusterSize - 1) & ~(clusterSize - 1)
        }
    }

    private func putEntry(_ entry: UInt64, _ index: Int, in bytes: inout [UInt8]) {
        switch format {
        case .qcow1: put(big(entry, 8), at: entryOffset(index), in: &bytes)
        case .qed: put(little(entry, 8), at: entryOffset(index), in: &bytes)
        case .parallels: put(little(entry / 512, 4), at: entryOffset(index), in: &bytes)
        case .parallelsExtended: put(little(entry / UInt64(clusterSize), 4), at: entryOffset(index), in: &bytes)
        }
        guard format == .qcow1 || format == .qed else { return }
        let table = index / entriesOfTable
        let place = UInt64(secondTable + table * clusterSize)
        put(format == .qcow1 ? big(place, 8) : little(place, 8), at: firstTable + table * 8, in: &bytes)
    }

    private var header: [UInt8] {
        let name = Array(backingFile.utf8)
        let count = UInt64(name.count)
        switch format {
        case .qcow1:
            let start =
                [0x51, 0x46, 0x49, 0xfb] + big(1, 4) + big(name.isEmpty ? 0 : 64, 8) + big(count, 4) + big(0, 4)
            let bits = [UInt8(clusterBits), UInt8(clusterBits - 3), 0, 0]
            return start + big(size, 8) + bits + big(0, 4) + big(UInt64(firstTable), 8)
                + [UInt8](repeating: 0, count: 16)
                + name
        case .qed:
            let start = [0x51, 0x45, 0x44, 0] + little(UInt64(clusterSize), 4) + little(1, 4) + little(1, 4)
            let features = little(name.isEmpty ? 0 : 1, 8) + little(0, 8) + little(0, 8)
            let end =
                little(UInt64(firstTable), 8) + little(size, 8) + little(name.isEmpty ? 0 : 64, 4) + little(count, 4)
            return start + features + end + name
        case .parallels, .parallelsExtended:
            let magic = format == .parallels ? "WithoutFreeSpace" : "WithouFreSpacExt"
            let start = Array(magic.utf8) + little(2, 4) + little(16, 4) + little(1, 4)
            let sizes = little(UInt64(clusterSize / 512), 4) + little(UInt64(clusterCount), 4) + little(size / 512, 8)
            return start + sizes + little(0, 4) + little(UInt64(dataStart / 512), 4) + little(0, 4) + little(0, 8)
        }
    }

    private func put(_ part: [UInt8], at offset: Int, in bytes: inout [UInt8]) {
        bytes.replaceSubrange(offset..<offset + part.count, with: part)
    }

    private func big(_ number: UInt64, _ count: Int) -> [UInt8] { little(number, count).reversed() }

    private func little(_ number: UInt64, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: number >> UInt64($0 * 8)) }
    }
}
