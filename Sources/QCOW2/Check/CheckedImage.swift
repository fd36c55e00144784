import BlockImage
import ByteFormat

/// What a check may take, in bytes and entries. An image that needs more is not checked, which is said.
public struct QCOW2CheckLimits: Sendable {
    /// The bytes that the use counts of host clusters take together; where they do not suffice, there are several
    /// passes. See `UseCounts`.
    public var countBytes = UseCounts.defaultBudget
    /// The most entries of L1 tables and of bitmap tables: 2^28, 2 GiB of them. Snapshots of a 64 TiB disk with clusters
    /// of 64 KiB have 131,072 each, so that 2,000 of them are checked.
    public var entries: UInt64 = 1 << 28
    /// The most L2 tables, each counted once: 2^22, those of 2 PiB with clusters of 64 KiB. They take 32 bytes each.
    public var tables = 1 << 22
    /// The most entries in L2 tables that do not begin at a cluster, since those may overlap: 2^24. All others lie side
    /// by side in the file, of which no part is read twice, and no hole.
    public var unalignedEntries: UInt64 = 1 << 24

    /// The limits of the command.
    public init() {}
}

/// The structures of an image whose use of host clusters is counted: all but the L1 tables' entries, which are gathered
/// once, are read again in each pass.
struct CheckedImage {
    /// An L1 table.
    struct L1Table {
        var offset: UInt64
        var size: UInt64
        /// How many snapshots share it: more than one only in a damaged image.
        var times: UInt64
        /// The first of those snapshots; nil for the active table.
        var snapshot: Int?
    }

    /// The table of a bitmap, or of several that share it.
    struct BitmapTable {
        var offset: UInt64
        var size: UInt64
        var times: UInt64
        var bitmap: Int
    }

    let description: QCOW2Description
    let file: any HostFile
    let format: L2Format
    let clusterSize: UInt64
    let limits: QCOW2CheckLimits
    /// Whether the file was cut inside its last cluster; see `Header.isCut`.
    let isCut: Bool
    /// The L1 tables that can be where they are said to be, the active one first.
    var l1Tables: [L1Table] = []
    /// The tables of the bitmaps that the directory describes soundly.
    var bitmapTables: [BitmapTable] = []
    /// The L2 tables that the L1 tables name, each once, in the file's order.
    var l2Tables: [L2TableUse] = []

    var header: Header { description.header }
    /// The clusters that the file has; the last may be cut short.
    var clusterCount: UInt64 { file.size / clusterSize + (file.size % clusterSize == 0 ? 0 : 1) }

    init(_ description: QCOW2Description, _ file: any HostFile, limits: QCOW2CheckLimits) throws(ImageError) {
        isCut = try description.header.isCut(file, hasRefcounts: true)
        self.description = description
        self.file = file
        self.limits = limits
        format = L2Format(description.header)
        clusterSize = description.header.clusterSize
    }

    /// The clusters that the `size` bytes at `offset` touch; nil where they end a whole cluster or more past the end
    /// of the file: the last cluster may be cut short.
    func clusters(_ size: UInt64, at offset: UInt64) -> ClosedRange<UInt64>? {
        let (end, overflow) = offset.addingReportingOverflow(size)
        guard !overflow, end < file.size || end - file.size < clusterSize else { return nil }
        return offset / clusterSize...(end - 1) / clusterSize
    }

    /// Reports every use of a host cluster to `sink` but those by refcount blocks. `progress` gets how many L2 tables
    /// were passed.
    func walkUses(_ sink: inout some UseSink, progress: (Int) -> Void) throws(ImageError) {
        use(clusterSize, at: 0, by: .header, &sink)
        for table in l1Tables {
            use(table.size * 8, at: table.offset, times: table.times, by: .l1Table(snapshot: table.snapshot), &sink)
        }
        if let last = description.snapshots.last {
            // Entries follow one another, all in the file.
            let size = last.entryEnd.rawValue - header.snapshotsOffset
            use(size, at: header.snapshotsOffset, by: .snapshotTable, &sink)
        }
        use(
            UInt64(header.refcountTableClusters) * clusterSize, at: header.refcountTableOffset, by: .refcountTable,
            &sink)
        if header.cryptMethod == 2, let location = description.extensions.encryptionHeader {
            use(location.length, at: location.offset, by: .encryptionHeader, &sink)
        }
        if header.autoclearFeatures.contains(.bitmaps), let location = description.extensions.bitmaps {
            use(location.directorySize, at: location.directoryOffset, by: .bitmapDirectory, &sink)
        }
        for table in bitmapTables { try walk(table, &sink) }
        for (index, table) in l2Tables.enumerated() {
            progress(index)
            try ReadScope.checkWanted()
            try walk(table, &sink)
        }
    }

    private func use(
        _ size: UInt64, at offset: UInt64, times: UInt64 = 1, by user: ClusterUser, _ sink: inout some UseSink
    ) {
        guard size > 0 else { return }
        if let clusters = clusters(size, at: offset) {
            sink.use(clusters, times: times, by: user)
            // No overflow: both lie in the file's clusters.
            if offset + size > file.size { sink.cut(size, at: offset, times: times, by: user) }
        } else {
            sink.outOfFile(size, at: offset, times: times, by: user)
        }
    }

    private func walk(_ table: BitmapTable, _ sink: inout some UseSink) throws(ImageError) {
        use(table.size * 8, at: table.offset, times: table.times, by: .bitmapTable(table.bitmap), &sink)
        try file.forEachChunk(of: table.size, at: table.offset) { words, first throws(ImageError) in
            for (index, word) in words.enumerated() where word != 0 {
                do throws(ParseFault) {
                    let content = try BitmapTableEntry(rawValue: word).content(clusterSize: clusterSize)
                    guard case .stored(let offset) = content else { continue }
                    use(clusterSize, at: offset.rawValue, times: table.times, by: .bitmapData(table.bitmap), &sink)
                } catch {
                    sink.bitmapEntry(
                        table.bitmap, at: table.offset + (first + UInt64(index)) * 8, times: table.times, error.message)
                }
            }
        }
    }

    private func walk(_ table: L2TableUse, _ sink: inout some UseSink) throws(ImageError) {
        let isActive = table.activeTimes > 0
        let start = UInt64(table.l1Index) * header.l2Coverage
        use(
            clusterSize, at: table.offset, times: table.times,
            by: .l2Table(GuestOffset(start), isActive: isActive), &sink)
        try sink.begin(table)
        let step = format.wordsPerEntry
        try file.forEachChunk(of: clusterSize / 8, at: table.offset) { words, first throws(ImageError) in
            var index = 0
            while index < words.count {
                defer { index += step }
                let bitmap = step == 2 ? words[index + 1] : 0
                guard words[index] | bitmap != 0 else { continue }
                let number = first + UInt64(index)
                let entry = L2Entry(rawValue: words[index])
                // At most 2^22 L1 entries of at most 2^39 bytes each.
                let place = L2EntryPlace(
                    entry: entry, bitmap: SubclusterBitmap(rawValue: bitmap), kind: L2EntryKind(entry, format),
                    location: table.offset + number * 8,
                    guest: GuestOffset(start + number / UInt64(step) * clusterSize), times: table.times,
                    activeTimes: table.activeTimes)
                try sink.entry(place)
                use(place, isActive: isActive, &sink)
            }
        }
    }

    /// Reports what an L2 entry uses.
    private func use(_ place: L2EntryPlace, isActive: Bool, _ sink: inout some UseSink) {
        // The clusters of a data file have no refcounts.
        guard !format.hasDataFile else { return }
        switch place.kind {
        case .unallocated, .plainZero: return
        case .compressed:
            guard place.bitmap.rawValue == 0 else { return }
            let (offset, count) = place.entry.compressedData(clusterBits: format.clusterBits)
            use(count, at: offset, times: place.times, by: .compressed(place.guest, isActive: isActive), &sink)
        case .normal, .allocatedZero:
            let offset = L2Entry.offset.masked(in: place.entry.rawValue)
            use(clusterSize, at: offset, times: place.times, by: .data(place.guest, isActive: isActive), &sink)
        }
    }
}

extension HostFile {
    /// The words that are read at once.
    private static var chunkWords: UInt64 { 8192 }

    /// The `count` 64-bit words of a table at `offset`, chunk by chunk, with the index of each chunk's first word; what
    /// lies in a hole of the file, or past its end, is zeros and left out.
    func forEachChunk(
        of count: UInt64, at offset: UInt64, _ body: ([UInt64], UInt64) throws(ImageError) -> Void
    ) throws(ImageError) {
        var index: UInt64 = 0
        while index < count {
            let (position, overflow) = offset.addingReportingOverflow(index * 8)
            guard !overflow, position < size else { return }
            let left = min((count - index) * 8, size - position)
            let run = run(at: HostOffset(position), limit: left)
            if run.isHole, run.count >= 16 {
                index += run.count / 16 * 2
                continue
            }
            let chunk = min(Self.chunkWords, count - index)
            try body(try words(chunk, at: position), index)
            index += chunk
        }
    }
}
