import BlockImage
import ByteFormat
import Synchronization

/// The grains of a streamOptimized extent that are in the stream and in no grain table.
///
/// Grains follow each other in the stream, so that after one stands the marker of the next. Where the tables have none
/// for a while, that is looked at: one small read for each gap, and more only where a grain is found that they lack.
/// Streams whose grains are in no order are looked at like that as well, but a grain that stands elsewhere is not found.
final class StreamGaps: Sendable {
    /// The most gaps that are remembered, and tables before which grains are.
    private static let limit = 1 << 14

    /// The sector of the first marker.
    private let firstSector: UInt64
    /// By the grain before the gap, `UInt64.max` for none.
    private let known = Guarded<[UInt64: [RecoveredGrain]]>([:])
    /// The last grain that stands in a grain table or one before it, by the table's index.
    private let last = Guarded<[Int: PlacedGrain]>([:])
    /// How many gaps after markers of other grains than the tables say were looked through, and may be at most.
    private let foreign = Atomic(0)
    private static let foreignLimit = 64
    /// Why gaps could not be looked through, by the grain before them.
    private let failedGaps = Guarded<[UInt64: KeptError]>([:])
    /// Why grain tables could not be read, by their index.
    private let failedTables = Guarded<[Int: KeptError]>([:])

    /// A grain that a table has, or none where it is the start of the stream.
    struct PlacedGrain: Hashable {
        var index: UInt64
        var sector: UInt64

        static let none = PlacedGrain(index: .max, sector: 0)
    }

    /// The gaps of a stream whose first marker is at `firstSector`.
    init(firstSector: UInt64) {
        self.firstSector = firstSector
    }

    /// The grains in the gap after `grain`, in order, that `tables` have no entry for. Throws where the host cannot
    /// read the markers, which alone show them.
    func grains(after grain: PlacedGrain, of tables: GrainTables) throws(ImageError) -> [RecoveredGrain] {
        if let found = known.withLock({ $0[grain.index] }) { return found }
        try failedGaps.withLock { $0[grain.index] }?.check()
        guard ReadScope.mayBlock else { throw ReadScope.blocked(tables.file.path) }
        let found = try Self.keepingErrors(of: grain.index, in: failedGaps) { () throws(ImageError) in
            try search(after: grain, of: tables)
        }
        known.withLock { known in
            if known.count >= Self.limit { known.removeAll() }
            known[grain.index] = found
        }
        if let first = found.first {
            let count = found.count == 1 ? "1 grain" : "\(found.count) grains"
            tables.findings.add(
                "\(path: tables.file.path): the stream has \(count) from guest offset "
                    + "\(GuestOffset(UInt64(first.index) * tables.grainSize)) of the extent on that the grain tables do "
                    + "not have; what was found by the markers is read")
        }
        return found
    }

    /// The last grain in the table `index` or one before it, as `search` finds it, which is asked once.
    func lastGrain(
        upTo index: Int, _ search: () throws(ImageError) -> PlacedGrain
    ) throws(ImageError) -> PlacedGrain {
        if let found = try knownLastGrain(upTo: index) { return found }
        let found = try search()
        last.withLock { last in
            if last.count >= Self.limit { last.removeAll() }
            last[index] = found
        }
        return found
    }

    /// The answer of `lastGrain` where it is known. Throws where the table could not be read not long ago.
    func knownLastGrain(upTo index: Int) throws(ImageError) -> PlacedGrain? {
        if let found = last.withLock({ $0[index] }) { return found }
        try failedTables.withLock { $0[index] }?.check()
        return nil
    }

    /// The entries that `read` reads of the grain table `index` at `place`, for `lastGrain`.
    func entries(
        ofTable index: Int, at place: HostOffset, _ read: () throws(ImageError) -> [UInt64]
    ) throws(ImageError) -> [UInt64] {
        try Self.keepingErrors(of: index, in: failedTables) { () throws(ImageError) in
            try naming("grain table \(index)", at: place, read)
        }
    }

    /// What `search` finds. Where the host cannot read what it needs, the error is kept in `failures` for `key`.
    private static func keepingErrors<Key: Hashable & Sendable, Result>(
        of key: Key, in failures: borrowing Guarded<[Key: KeptError]>, _ search: () throws(ImageError) -> Result
    ) throws(ImageError) -> Result {
        do throws(ImageError) {
            return try needed(toKnow: "grains that no table has belong here", search)
        } catch {
            if let kept = KeptError(error) {
                failures.withLock { failures in
                    if failures.count >= limit { failures.removeAll() }
                    failures[key] = kept
                }
            }
            throw error
        }
    }

    private func search(after grain: PlacedGrain, of tables: GrainTables) throws(ImageError) -> [RecoveredGrain] {
        let file = tables.file
        let grainSectors = tables.grainSize / sectorSize
        var sector = firstSector
        if grain != .none {
            let subject = "the marker of grain \(grain.index)"
            guard let marker = try marker(at: grain.sector, file), case .grain(let lba, let size)? = marker.kind else {
                tables.findings.add(
                    "\(path: file.path): at \(HostOffset(grain.sector * sectorSize)): \(subject) is damaged: grains after it that "
                        + "the grain tables do not have are not looked for")
                return []
            }
            // A hostile table could have all that follows one marker looked through for each of its entries.
            guard lba / grainSectors == grain.index || foreign.add(1, ordering: .relaxed).newValue <= Self.foreignLimit
            else {
                throw ImageError(
                    .corrupt, path: file.path, offset: HostOffset(grain.sector * sectorSize),
                    "\(subject) is of grain \(lba / grainSectors), as too many are of others than the grain tables say, so "
                        + "that it cannot be known whether grains that no table has follow it")
            }
            sector = Self.end(of: size, at: grain.sector)
        }
        var found: [RecoveredGrain] = []
        /// In order; of a grain that was written twice, what was written last.
        func inOrder() -> [RecoveredGrain] {
            let sorted = found.sorted()
            return sorted.indices.filter { $0 + 1 == sorted.count || sorted[$0 + 1].index != sorted[$0].index }
                .map { sorted[$0] }
        }
        for _ in 0..<StreamScan.markerLimit {
            guard let marker = try marker(at: sector, file) else { return inOrder() }
            switch marker.kind {
            case .grain(let lba, let size)?:
                let index = lba / grainSectors
                let end = sector * sectorSize + UInt64(StreamMarker.grainHeaderSize) + UInt64(size)
                guard lba % grainSectors == 0, lba < tables.missing.capacity / sectorSize,
                    grain == .none || index > grain.index, UInt64(size) <= 2 * tables.grainSize, end <= file.size,
                    let number = UInt32(exactly: index), let place = UInt32(exactly: sector),
                    try tables.entry(ofGrain: index) == 0
                else { return inOrder() }
                found.append(RecoveredGrain(index: number, sector: place))
                sector = Self.end(of: size, at: sector)
            case .metadata(.grainTable, let sectors)?, .metadata(.progress, let sectors)?:
                guard sectors <= file.sectorCount else { return inOrder() }
                sector += 1 + sectors
            case .metadata?, nil: return inOrder()
            }
        }
        return inOrder()
    }

    /// The sector after a grain of `size` compressed bytes.
    private static func end(of size: UInt32, at sector: UInt64) -> UInt64 {
        sector + (UInt64(StreamMarker.grainHeaderSize) + UInt64(size) + sectorSize - 1) / sectorSize
    }

    /// The marker at `sector`; nil where the file ends before it does.
    private func marker(at sector: UInt64, _ file: any HostFile) throws(ImageError) -> StreamMarker? {
        let (offset, overflow) = sector.multipliedReportingOverflow(by: sectorSize)
        guard !overflow, offset < file.size, file.size - offset >= UInt64(StreamMarker.size) else { return nil }
        let bytes = try naming("stream marker", at: HostOffset(offset)) { () throws(ImageError) in
            try file.bytes(StreamMarker.size, at: HostOffset(offset), of: "stream marker")
        }
        return try? StreamMarker(parsing: bytes)
    }
}
