import BlockImage
import ByteFormat
import Encryption
import Synchronization

/// A QCOW2 image's own part of its disk, or of one that a snapshot keeps: where each cluster lies, by L1 and L2 tables.
///
/// Immutable once open; every method may be called from any thread. Source: docs/interop/qcow2 "Cluster mapping".
public final class QCOW2Layer: ImageLayer {
    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    let source: ClusterSource
    let l1Table: TableLocation
    /// Where the layer begins in the address space of its tables: 0 for a disk; saved machine state lies after one.
    let origin: UInt64
    private let firstL1Page = OnceReference<TablePage>()

    /// Makes the described image in `file` ready to read.
    ///
    /// `dataFile` is the open file that `description.dataFile` names, and `cipher` decrypts the clusters of an
    /// encrypted image; both are not looked at where the image has no use for them. Throws the description's refusal,
    /// if it has one, unless a cipher overcomes it; and `denied` where the data file is missing.
    public convenience init(
        _ description: QCOW2Description, file: any HostFile, dataFile: (any HostFile)? = nil,
        cipher: SectorCipher? = nil, resources: LayerResources
    ) throws(ImageError) {
        if let refusal = cipher == nil ? description.refusal : description.refusalWithKey { throw refusal }
        let header = description.header
        var dataFile = dataFile
        if let name = description.dataFile {
            guard dataFile != nil else {
                throw ImageError(
                    .denied, path: file.path, offset: HostOffset(72),
                    "data file \"\(path: String(decoding: name, as: UTF8.self))\": it holds the clusters, but was not opened"
                )
            }
        } else {
            dataFile = nil
        }
        let source = ClusterSource(
            header, file: file, dataFile: dataFile, cipher: header.cryptMethod == 0 ? nil : cipher, resources: resources
        )
        // The entries after those that the disk needs hold the saved state of a machine, not the disk.
        let l1Table = try source.l1Table(
            at: header.l1TableOffset, count: Int(header.neededL1Size), name: "active L1 table")
        self.init(source, l1Table, origin: 0, size: header.virtualSize)
    }

    /// The `size` bytes from guest offset `origin` on, which are a multiple of what one L2 table covers, by this table.
    init(_ source: ClusterSource, _ l1Table: TableLocation, origin: UInt64, size: UInt64) {
        self.source = source
        self.l1Table = l1Table
        self.origin = origin
        virtualSize = size
    }

    /// What came up while the disk was read, in sentences.
    public var notes: [ErrorText] { source.findings.all }

    /// Every file that the layer's bytes come from, each once.
    public var files: [any HostFile] {
        source.format.hasDataFile ? [source.file, source.dataFile] : [source.file]
    }

    /// How the layer stores the disk from `start`, which lies inside it, on.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let limit = min(limit, virtualSize - start.rawValue)
        switch try l2Table(at: start, limit: limit) {
        case .missing(let count): return Extent(start: start, count: count, storage: .unallocated)
        case .page(let page, let entry):
            let skip = start.rawValue % source.format.clusterSize
            let run = try page.run(from: entry, skipping: skip, limit: limit)
            return try extent(at: start, run)
        }
    }

    /// Inflates a compressed cluster, or takes it from the cache; decrypts encrypted sectors.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard case .encoded(let encoding, let file, let offset, let count) = extent.storage else {
            preconditionFailure("only an encoded extent is decoded")
        }
        if encoding == .encrypted, let cipher = source.cipher {
            let guest = origin + extent.start.rawValue
            let sectors = EncryptedSectors(
                file: file, offset: offset, count: Int(count),
                // LUKS counts the sectors of the file, the older method those of the disk.
                firstNumber: (source.header.cryptMethod == 2 ? offset.rawValue : guest) / 512)
            try sectors.decrypt(
                Int(extent.count), skipping: Int(guest % 512), with: cipher, into: &output)
        } else {
            try source.inflate(
                Int(extent.count), skipping: Int(extent.start.rawValue % source.format.clusterSize),
                from: offset, count: count, into: &output)
        }
    }

    /// Where the entry for a place lies.
    private enum L2Lookup {
        /// There is no L2 table for so many bytes.
        case missing(count: UInt64)
        /// In this page, at this index.
        case page(L2Page, index: Int)
    }

    /// The page of the L1 table with the entry `index`. The first, which is for 2 TiB where clusters have 64 KiB, is kept
    /// here, where every read finds it without the cache's lock.
    private func l1Page(at index: Int) throws(ImageError) -> (page: TablePage, index: Int) {
        if let page = firstL1Page.load(), index < page.entries.count {
            source.resources.counters.tableHits.add(1, ordering: .relaxed)
            return (page, index)
        }
        let found = try source.page(of: l1Table, at: index)
        if found.index == index { _ = firstL1Page.storeIfNil(found.page) }
        return found
    }

    private func l2Table(at start: GuestOffset, limit: UInt64) throws(ImageError) -> L2Lookup {
        let coverage = source.header.l2Coverage
        let position = origin + start.rawValue
        let l1Index = Int(position / coverage)
        guard l1Index < l1Table.count else { return .missing(count: limit) }
        let (l1, index) = try l1Page(at: l1Index)
        let l2Offset = L1Entry(rawValue: l1.entries[index]).l2TableOffset
        guard l2Offset != 0 else {
            // Also the L1 entries after it, as far as this page knows them, that have no L2 table either.
            var next = index + 1
            var count = coverage - position % coverage
            while count < limit, next < l1.entries.count, L1Entry(rawValue: l1.entries[next]).l2TableOffset == 0 {
                count += coverage
                next += 1
            }
            return .missing(count: min(count, limit))
        }
        let clusterSize = source.format.clusterSize
        guard l2Offset % clusterSize == 0 else {
            throw ImageError(
                .corrupt, path: source.file.path, offset: l1Table.offset.advanced(by: UInt64(l1Index) * 8),
                "\(l1Table.name): entry \(l1Index) points to an L2 table at \(HostOffset(l2Offset)), "
                    + "which is not aligned to the cluster size (\(clusterSize))")
        }
        let table = source.table(at: l2Offset, count: Int(clusterSize / 8), name: "L2 table")
        // A page holds whole entries, but the file may end inside one: its last word must be there.
        let words = source.format.wordsPerEntry
        let last = Int(position % coverage / clusterSize) * words + words - 1
        let (page, lastInPage) = try source.page(of: table, at: last)
        let l2Page = L2Page(
            words: page.entries, location: table.offset.advanced(by: UInt64(last - lastInPage) * 8),
            start: position - position % clusterSize - UInt64(lastInPage / words) * clusterSize,
            format: source.format, path: source.file.path)
        return .page(l2Page, index: lastInPage / words)
    }

    /// The extent that `run`, which begins at `start`, is.
    private func extent(at start: GuestOffset, _ run: ClusterRun) throws(ImageError) -> Extent {
        let storage: Extent.Storage
        var reserved: HostOffset?
        switch run.storage {
        case .unallocated(let host): (storage, reserved) = (.unallocated, host)
        case .zero(let host): (storage, reserved) = (.zero(explicit: true), host)
        case .compressed(let host, let count):
            storage = .encoded(.compressed, file: source.file, offset: host, count: count)
        case .data(let host):
            return source.cipher == nil
                ? try data(at: start, count: run.count, host: host) : try encrypted(at: start, run.count, host: host)
        }
        var extent = Extent(start: start, count: run.count, storage: storage)
        // As in QEMU, nothing is reported of where an encrypted image has space reserved.
        if let reserved, source.cipher == nil {
            extent.reserved = Extent.Reserved(file: source.dataFile, offset: reserved)
        }
        return extent
    }

    /// The data from `host` on, as far as the file has it.
    ///
    /// A file may end in the middle of its last cluster, where writers leave what was never written; that reads as
    /// zeros, unless something shows that the file was cut (`Header.isCut`). QEMU reads zeros for clusters that lie
    /// wholly past the end, too; here they are an error, since nothing but a cut file has them.
    private func data(at start: GuestOffset, count: UInt64, host: HostOffset) throws(ImageError) -> Extent {
        let file = source.dataFile
        let clusterSize = source.format.clusterSize
        guard host.rawValue < file.size else {
            let cluster = HostOffset(host.rawValue - host.rawValue % clusterSize)
            guard cluster.rawValue < file.size else {
                throw source.beyondEnd(of: file, cluster, "the cluster of guest offset \(start)")
            }
            let rest = min(count, clusterSize - host.rawValue % clusterSize)
            if try source.isCut() {
                let error = source.beyondEnd(of: file, host, "the rest of the cluster of guest offset \(start)")
                source.findings.add("\(error): the file was cut")
                throw error
            }
            return Extent(start: start, count: rest, storage: .zero(explicit: true))
        }
        let held = min(count, file.size - host.rawValue)
        return Extent(start: start, count: held, storage: .data(file: file, offset: host))
    }

    /// The encrypted data from `host` on: at most 1 MiB, which is what one call of `decode` may take memory for.
    private func encrypted(at start: GuestOffset, _ count: UInt64, host: HostOffset) throws(ImageError) -> Extent {
        let file = source.dataFile
        let skip = host.rawValue % 512
        let first = HostOffset(host.rawValue - skip)
        // Part of a sector cannot be decrypted, and zeros that are missing from the file would not decrypt to zeros.
        let held = file.size > first.rawValue ? (file.size - first.rawValue) / 512 * 512 : 0
        guard held > 0 else {
            throw source.beyondEnd(of: file, first, "the encrypted sector of guest offset \(start)")
        }
        let count = min(count, min(held, EncryptedSectors.limit) - skip)
        let sectors = (skip + count + 511) / 512 * 512
        return Extent(
            start: start, count: count, storage: .encoded(.encrypted, file: file, offset: first, count: sectors))
    }
}
