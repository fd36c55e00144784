import BlockImage
import ByteFormat

/// Writes a new QCOW2 image in one pass: docs/interop/qcow2 "Cluster mapping".
///
/// After the header's cluster comes data in the order of the disk, with the L2 table of each part of the disk after its
/// data; at the end the refcount table and the L1 table; last the header itself. What lies where depends on what is
/// written only, not on the pieces that it is written in. Memory is taken for the L1 table, one L2 table and one
/// refcount block.
public final class QCOW2Writer: ImageWriter {
    /// A cluster, or a subcluster where there are any.
    public let granularity: Int
    /// Encodes what is written: nil unless the image is to be compressed.
    public let encoder: (any UnitEncoder)?

    private let image: NewQCOW2
    private let file: any NewFile
    private var header: Header
    private let format: L2Format
    private var clusters: HostClusters
    private var l1Table: [L1Entry]
    private var l2Table: NewL2Table
    /// Where the last piece ended.
    private var position: UInt64 = 0

    /// Makes `image` in `file`. `compressionLevel`: how hard its encoder tries, one of `image.compressionType.levels`;
    /// nil: it has no encoder.
    ///
    /// Throws what `image.validate` throws.
    public init(_ image: NewQCOW2, compressionLevel: Int? = nil, in file: any NewFile) throws(ImageError) {
        try image.validate(compressionLevel: compressionLevel, path: file.path)
        self.image = image
        self.file = file
        header = image.header
        format = L2Format(header)
        clusters = try HostClusters(header, in: file)
        l1Table = Array(repeating: L1Entry(rawValue: 0), count: Int(header.l1Size))
        l2Table = NewL2Table(0, format)
        granularity = Int(image.clusterSize) / (image.hasExtendedL2 ? SubclusterBitmap.count : 1)
        encoder = compressionLevel.map { level in
            ClusterEncoder(type: image.compressionType, level: level, unitSize: Int(image.clusterSize))
        }
    }

    /// Stores `bytes`, which the caller knows not to be all zeros, as they are.
    public func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
        try preallocate(upTo: start.rawValue)
        var done = 0
        while done < bytes.byteCount {
            let (host, count) = try place(
                UInt64(bytes.byteCount - done), at: start.rawValue + UInt64(done), as: .data)
            let shared = stored.map { stored in
                StoredBytes(file: stored.file, offset: stored.offset.advanced(by: UInt64(done)))
            }
            try file.write(bytes.extracting(done..<done + Int(count)), at: host, stored: shared)
            done += Int(count)
        }
        position = start.rawValue + UInt64(bytes.byteCount)
    }

    /// Stores what the encoder made of the unit at `start`.
    public func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        let index = try l2Index(of: start.rawValue)
        let host = try clusters.take(compressed: bytes.byteCount)
        let mapping = ClusterMapping.compressed(host, count: UInt64(bytes.byteCount))
        let entry = L2Entry(mapping, format)
        guard entry.compressedData(clusterBits: format.clusterBits).offset == host.rawValue else {
            throw ImageError(
                .unsupported, path: file.path, offset: host,
                "compressed data would lie farther on than an L2 entry can say: it needs a smaller cluster_size")
        }
        l2Table.set(index, to: mapping)
        try file.write(bytes, at: host)
        position = start.rawValue + format.clusterSize
    }

    /// By the flags that version 3 has for it; in version 2 host clusters that are holes of the file.
    public func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError) {
        var done: UInt64 = 0
        while done < count {
            let guest = start.rawValue + done
            if format.version == 2 {
                done += try place(count - done, at: guest, as: .data).count
                continue
            }
            let index = try l2Index(of: guest)
            let skip = guest % format.clusterSize
            let part = min(count - done, format.clusterSize - skip)
            l2Table.set(index, to: .zero, subclusters(part, from: skip), host: nil)
            done += part
        }
        position = start.rawValue + count
    }

    /// Writes what is left to write: nothing can be written afterwards.
    public func finish() throws(ImageError) {
        try preallocate(upTo: header.size)
        try writeL2Table()
        let l1Size = UInt64(l1Table.count) * 8
        let tables = try clusters.finish(l1TableSize: l1Size)
        try writeL1Table(at: tables.l1Table)
        header.l1TableOffset = l1Table.isEmpty ? 0 : tables.l1Table.rawValue
        header.refcountTableOffset = tables.refcountTable.rawValue
        header.refcountTableClusters = UInt32(clamping: tables.clusters)
        // The last cluster of an L1 table at the end need not be whole: QEMU's are not, either.
        let endsWithL1 = clusters.end.rawValue - tables.l1Table.rawValue < l1Size + format.clusterSize
        try file.setSize(endsWithL1 ? tables.l1Table.rawValue + l1Size : clusters.end.rawValue)
        try file.write(image.firstCluster(with: header), at: HostOffset(0))
    }
}

extension QCOW2Writer {
    /// The index of the entry for the guest offset `guest` in the L2 table for it, which becomes the one in memory.
    private func l2Index(of guest: UInt64) throws(ImageError) -> Int {
        let l1Index = Int(guest / header.l2Coverage)
        precondition(guest < header.size && l1Index >= l2Table.l1Index, "pieces come in the order of the disk")
        if l1Index != l2Table.l1Index {
            try writeL2Table()
            l2Table = NewL2Table(l1Index, format)
        }
        return Int(guest % header.l2Coverage / format.clusterSize)
    }

    /// The subclusters that have some of the `count` bytes from byte `skip` of a cluster on, which end in it.
    private func subclusters(_ count: UInt64, from skip: UInt64) -> Range<Int> {
        let size = format.clusterSize / UInt64(SubclusterBitmap.count)
        return Int(skip / size)..<Int((skip + count + size - 1) / size)
    }

    /// Maps guest bytes from `guest` on to host clusters that lie one after another: at most `count`, at least one.
    /// Subclusters that have some of them get the state `state`. Answers where on the host they begin.
    private func place(
        _ count: UInt64, at guest: UInt64, as state: SubclusterBitmap.State
    ) throws(ImageError) -> (host: HostOffset, count: UInt64) {
        let clusterSize = format.clusterSize
        let first = try l2Index(of: guest)
        let skip = guest % clusterSize
        // The piece before may have ended in this cluster.
        if let host = l2Table.host(of: first) {
            let count = min(count, clusterSize - skip)
            l2Table.set(first, to: state, subclusters(count, from: skip), host: host)
            return (host.advanced(by: skip), count)
        }
        let wanted = (skip + count + clusterSize - 1) / clusterSize
        let clusterCount = min(wanted, clusters.run, UInt64(l2Table.count - first))
        let host = try clusters.take(clusterCount)
        let placed = min(count, clusterCount * clusterSize - skip)
        var done: UInt64 = 0
        for cluster in 0..<clusterCount {
            let skip = done == 0 ? skip : 0
            let part = min(placed - done, clusterSize - skip)
            l2Table.set(
                first + Int(cluster), to: state, subclusters(part, from: skip),
                host: host.advanced(by: cluster * clusterSize))
            done += part
        }
        return (host.advanced(by: skip), placed)
    }

    /// Gives host clusters to those between the last piece and `end`, where the image is to have them.
    ///
    /// Without subclusters they are data, which reads as zeros; with them, the subclusters stay unallocated.
    private func preallocate(upTo end: UInt64) throws(ImageError) {
        guard image.preallocation != .off else { return }
        let clusterSize = format.clusterSize
        var start = (position + clusterSize - 1) / clusterSize * clusterSize
        // A cluster that a piece begins inside of is allocated with the piece.
        let end = end == header.size ? end : end / clusterSize * clusterSize
        while start < end {
            let (host, count) = try place(end - start, at: start, as: format.isExtended ? .unallocated : .data)
            if image.preallocation != .metadata {
                try file.reserve(count, at: host, isFilled: image.preallocation == .full)
            }
            start += count
        }
    }

    private func writeL2Table() throws(ImageError) {
        guard !l2Table.isEmpty else { return }
        let host = try clusters.take(1)
        l1Table[l2Table.l1Index] = L1Entry(l2TableAt: host)
        try file.write(encodeTable(l2Table.words, .big), at: host)
    }

    /// Writes the L1 table, of which whole pages of zeros stay holes.
    private func writeL1Table(at start: HostOffset) throws(ImageError) {
        let page = 4096 / 8
        for first in stride(from: 0, to: l1Table.count, by: page) {
            let entries = l1Table[first..<min(first + page, l1Table.count)].map(\.rawValue)
            if entries.allSatisfy({ $0 == 0 }) { continue }
            try file.write(encodeTable(entries, .big), at: start.advanced(by: UInt64(first) * 8))
        }
    }
}
