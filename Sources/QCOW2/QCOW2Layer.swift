import BlockImage
import ByteFormat
import Compression

/// A QCOW2 image's own part of its disk: where each cluster lies, by the active L1 and L2 tables.
///
/// Immutable once open; every method may be called from any thread. Source: docs/interop/qcow2 "Cluster mapping".
public final class QCOW2Layer: ImageLayer {
    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    private let header: Header
    private let file: any HostFile
    private let resources: LayerResources
    private let l1Table: TableLocation

    /// Makes the described image in `file` ready to read. Throws its refusal, if it has one.
    public init(
        _ description: QCOW2Description, file: any HostFile, resources: LayerResources
    ) throws(ImageError) {
        if let refusal = description.refusal { throw refusal }
        header = description.header
        self.file = file
        self.resources = resources
        virtualSize = header.virtualSize
        // The entries behind those that the disk needs hold the saved state of a machine, not the disk.
        l1Table = Self.table(
            in: file, at: header.l1TableOffset, count: Int(header.neededL1Size), name: "active L1 table")
    }

    deinit {
        resources.tables.removeTables(of: file.id)
        resources.clusters.removeClusters(of: file.id)
    }

    /// See `ImageLayer`.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let limit = min(limit, virtualSize - start.rawValue)
        let coverage = header.l2Coverage
        let l1Index = Int(start.rawValue / coverage)
        let (l1, index) = try resources.tables.page(of: l1Table, at: l1Index, counters: resources.counters)
        let l2Offset = L1Entry(rawValue: l1.entries[index]).l2TableOffset
        guard l2Offset != 0 else {
            // Also the L1 entries behind, as far as this page knows them, that have no L2 table either.
            var next = index + 1
            var count = coverage - start.rawValue % coverage
            while count < limit, next < l1.entries.count, L1Entry(rawValue: l1.entries[next]).l2TableOffset == 0 {
                count += coverage
                next += 1
            }
            return Extent(start: start, count: min(count, limit), storage: .unallocated)
        }
        guard l2Offset % header.clusterSize == 0 else {
            throw ImageError(
                .corrupt, path: file.path, offset: l1Table.offset.advanced(by: UInt64(l1Index) * 8),
                "active L1 table: entry \(l1Index) points to an L2 table at \(HostOffset(l2Offset)), "
                    + "which is not aligned to the cluster size (\(header.clusterSize))")
        }
        let l2Table = Self.table(
            in: file, at: l2Offset, count: Int(coverage / header.clusterSize), name: "L2 table")
        let l2Index = Int(start.rawValue % coverage / header.clusterSize)
        let (l2, first) = try resources.tables.page(of: l2Table, at: l2Index, counters: resources.counters)
        let page = L2Page(entries: l2.entries, location: l2Table.offset.advanced(by: UInt64(l2Index - first) * 8))
        return try extent(at: start, limit: limit, in: page, from: first)
    }

    /// See `ImageLayer`: inflates a compressed cluster, or takes it from the cache.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard case .encoded(_, let offset, let count) = extent.storage else {
            preconditionFailure("only an encoded extent is decoded")
        }
        let size = Int(header.clusterSize)
        let skip = Int(extent.start.rawValue % header.clusterSize)
        try resources.clusters.read(
            Int(extent.count), skipping: skip, of: size, encodedAt: offset, in: file, into: &output
        ) { cluster throws(ImageError) in
            try inflate(count, at: offset, into: &cluster)
        }
    }

    private func inflate(
        _ count: UInt64, at offset: HostOffset, into cluster: inout OutputRawSpan
    ) throws(ImageError) {
        guard offset.rawValue < file.size else { throw beyondEnd(offset, "a compressed cluster") }
        // The length is given in sectors, and the last one need not be there: the file may end with the stream.
        let input = AlignedBuffer(capacity: Int(min(count, file.size - offset.rawValue)))
        try input.fill(input.capacity) { output throws(ImageError) in
            try file.read(input.capacity, at: offset, into: &output)
        }
        resources.counters.decompressions.add(1, ordering: .relaxed)
        let size = Int(header.clusterSize)
        do throws(DecompressionFault) {
            if header.compressionType == 0 {
                try Deflate.inflate(input.bytes, count: size, into: &cluster)
            } else {
                try Zstandard.decompress(input.bytes, count: size, into: &cluster)
            }
        } catch {
            throw ImageError(.corrupt, path: file.path, offset: offset, "compressed cluster: \(error.message)")
        }
    }

    private static func table(in file: any HostFile, at offset: UInt64, count: Int, name: String) -> TableLocation {
        TableLocation(file: file, offset: HostOffset(offset), count: count, entrySize: 8, name: name) { bytes in
            decodeTable(bytes, of: UInt64.self, .big)
        }
    }
}

/// The entries of an L2 table that one page of the cache holds.
private struct L2Page {
    var entries: [UInt64]
    /// Where the first of them lies.
    var location: HostOffset
}

extension QCOW2Layer {
    /// The extent that the entry `first` of the page begins, merged with its neighbours in the page.
    private func extent(
        at start: GuestOffset, limit: UInt64, in page: L2Page, from first: Int
    ) throws(ImageError) -> Extent {
        let size = header.clusterSize
        let skip = start.rawValue % size
        let mapping = try mapping(at: first, of: page)
        if case .compressed(let host, let bytes) = mapping {
            let storage = Extent.Storage.encoded(file: file, offset: host, count: bytes)
            return Extent(start: start, count: min(limit, size - skip), storage: storage)
        }
        // An entry that contradicts the format ends the run, and is reported when it is asked for itself.
        var count = size - skip
        var next = first + 1
        while count < limit, next < page.entries.count,
            let neighbour = try? self.mapping(at: next, of: page),
            mapping.isContinued(by: neighbour, after: UInt64(next - first) * size)
        {
            count += size
            next += 1
        }
        count = min(count, limit)
        switch mapping {
        case .data(let host): return try data(at: start, count: count, host: host, skipping: skip)
        case .zero: return Extent(start: start, count: count, storage: .zero(explicit: true))
        case .unallocated, .compressed: return Extent(start: start, count: count, storage: .unallocated)
        }
    }

    /// The data from byte `skip` of the host cluster `host` on, as far as the file has it.
    ///
    /// A file may end in the middle of its last cluster; what is missing there reads as zeros. QEMU reads zeros for
    /// clusters that lie wholly behind the end, too; here they are an error, since nothing but a cut file has them.
    private func data(
        at start: GuestOffset, count: UInt64, host: HostOffset, skipping skip: UInt64
    ) throws(ImageError) -> Extent {
        guard host.rawValue < file.size else {
            throw beyondEnd(host, "the cluster of guest offset \(start)")
        }
        let first = host.advanced(by: skip)
        guard first.rawValue < file.size else {
            let rest = min(count, header.clusterSize - skip)
            return Extent(start: start, count: rest, storage: .zero(explicit: true))
        }
        let held = min(count, file.size - first.rawValue)
        return Extent(start: start, count: held, storage: .data(file: file, offset: first))
    }

    private func mapping(at index: Int, of page: L2Page) throws(ImageError) -> ClusterMapping {
        do throws(ParseFault) {
            return try L2Entry(rawValue: page.entries[index])
                .mapping(clusterBits: header.clusterBits, version: header.version)
        } catch {
            let offset = page.location.advanced(by: UInt64(index) * 8)
            throw ImageError(.corrupt, path: file.path, offset: offset, "L2 table: the entry here \(error.message)")
        }
    }

    private func beyondEnd(_ offset: HostOffset, _ what: String) -> ImageError {
        ImageError(
            .truncated, path: file.path, offset: offset,
            "\(what) lies behind the end of the file at \(HostOffset(file.size))")
    }
}

extension ClusterMapping {
    /// Whether a cluster mapped so, `distance` bytes further on, goes on with this one's run.
    fileprivate func isContinued(by other: ClusterMapping, after distance: UInt64) -> Bool {
        switch (self, other) {
        case (.data(let host), .data(let next)): next == host.advanced(by: distance)
        case (.zero, .zero), (.unallocated, .unallocated): true
        default: false
        }
    }
}
