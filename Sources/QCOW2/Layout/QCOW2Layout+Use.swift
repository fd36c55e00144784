import BlockImage
import ByteFormat

extension QCOW2Layout {
    /// Reports to `recorder` what every cluster of the file is used for. Time and memory are bounded by the file's
    /// size, whatever the tables say: none is walked over twice, and all walks together read at most twice the file.
    ///
    /// Damage is passed over: `list` reports it. Throws nothing but what reading the file throws.
    public func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        guard let header = clusters else {
            recorder.record(.header, at: HostOffset(0), count: UInt64(start.count)) { _, _ in false }
            return
        }
        let walk = QCOW2UseWalk(self, header, recorder)
        try walk.run()
    }
}

/// One walk over all tables of a file. For use by one thread.
///
/// `CheckedImage` walks the same tables for `check`: there the header and the directories are sound, each use counts, also
/// one that is misplaced or comes twice, and an image beyond the limits is refused. Here the header may be damaged, a
/// cluster has one use, and what the budget does not allow is left out.
private final class QCOW2UseWalk {
    private let layout: QCOW2Layout
    private let header: Header
    private let recorder: any HostUseRecorder
    private let refcounts: RefcountLookup?
    /// The bytes of tables that may still be read.
    private var budget: UInt64
    private var isIncomplete = false
    /// Clusters of one use, one after another, that were not recorded yet.
    private var pending: (use: HostUse, start: UInt64, count: UInt64) = (.free, 0, 0)

    init(_ layout: QCOW2Layout, _ header: Header, _ recorder: any HostUseRecorder) {
        self.layout = layout
        self.header = header
        self.recorder = recorder
        refcounts = layout.refcounts(header)
        budget = min(layout.file.size, .max >> 2) * 2 + (1 << 20)
    }

    private var file: any HostFile { layout.file }

    func run() throws(ImageError) {
        record(.header, at: 0, count: header.clusterSize)
        try reading("refcount table") { () throws(ImageError) in try recordRefcounts() }
        try reading("header extensions") { () throws(ImageError) in try recordExtensions() }
        try reading("snapshot table") { () throws(ImageError) in
            try layout.forEachSnapshot(header) { (_, place, bytes) throws(ImageError) in
                record(.snapshotTable, at: place.rawValue, count: UInt64(bytes.count))
            }
        }
        try reading("tables") { () throws(ImageError) in
            try layout.forEachL1Table(header) { (table) throws(ImageError) in try recordL1(table) }
        }
        flush()
        try reading("refcounts") { () throws(ImageError) in try recordLeaks() }
        flush()
        if isIncomplete {
            recorder.note("the tables overlap so much that not all of them were walked over")
        }
    }

    /// Does what reads the file; what the host cannot read is left out, and said.
    private func reading(_ what: String, _ body: () throws(ImageError) -> Void) throws(ImageError) {
        do throws(ImageError) { try body() } catch { recorder.note("\(what): \(error)") }
    }

    /// Whether a table of `size` bytes may be walked over.
    private func spend(_ size: UInt64) -> Bool {
        guard size <= budget else {
            isIncomplete = true
            return false
        }
        budget -= size
        return true
    }

    @discardableResult
    private func record(_ use: HostUse, at offset: UInt64, count: UInt64) -> HostUse? {
        recorder.record(use, at: HostOffset(offset), count: count) { place, earlier in
            switch (use, earlier) {
            case (.compressed, .compressed): true
            case (.l2Table, .l2Table), (.data, .data), (.data, .snapshotData), (.snapshotData, .data),
                (.snapshotData, .snapshotData), (.preallocated, .preallocated), (.preallocated, .data),
                (.data, .preallocated), (.snapshotData, .preallocated), (.preallocated, .snapshotData),
                (.compressed, .snapshotData), (.snapshotData, .compressed):
                // The look-up goes by clusters, as the recorder's units do.
                (refcounts.map { $0.refcount(of: place) ?? 0 } ?? 2) > 1
            // A table's last cluster has space after the table, which the same table's parts may name again.
            case (.bitmaps, .bitmaps), (.snapshotTable, .snapshotTable): true
            default: false
            }
        }
    }

    /// Records a cluster together with its neighbours.
    private func add(_ use: HostUse, at offset: UInt64) {
        if pending.use == use, pending.start + pending.count == offset {
            pending.count += header.clusterSize
        } else {
            flush()
            pending = (use, offset, header.clusterSize)
        }
    }

    /// Records which part of the disk a table or cluster stands for; in damaged images, tables may reach beyond 2^64.
    private func recordRange(
        _ use: HostUse, at offset: UInt64, _ count: UInt64, _ start: (partialValue: UInt64, overflow: Bool),
        _ covered: UInt64, snapshot: UInt32? = nil
    ) {
        guard !start.overflow, offset < file.size else { return }
        recorder.record(
            StoredRange(
                use, at: HostOffset(offset), count: min(count, file.size - offset), start: start.partialValue,
                covered: covered, snapshot: snapshot))
    }

    private func flush() {
        if pending.count > 0 { record(pending.use, at: pending.start, count: pending.count) }
        pending.count = 0
    }

    private func recordRefcounts() throws(ImageError) {
        let size = UInt64(header.refcountTableClusters) << UInt64(header.clusterBits)
        guard layout.placeFault(header.refcountTableOffset, header) == nil, spend(size) else { return }
        record(.refcountTable, at: header.refcountTableOffset, count: size)
        try forEachRefcountBlock { (refcounts, index, block) throws(ImageError) in
            add(.refcountBlock, at: block)
            let covered = refcounts.blockEntries * header.clusterSize
            recordRange(
                .refcountBlock, at: block, header.clusterSize, index.multipliedReportingOverflow(by: covered), covered)
        }
        flush()
    }

    private func forEachRefcountBlock(
        _ body: (RefcountLookup, UInt64, UInt64) throws(ImageError) -> Void
    ) throws(ImageError) {
        guard let refcounts else { return }
        let table = StoredTable(file, at: header.refcountTableOffset, count: refcounts.tableEntries)
        try table.visit { (index, word, _) throws(ImageError) in
            let block = RefcountTableEntry.offset.masked(in: word)
            if block != 0, layout.placeFault(block, header) == nil { try body(refcounts, index, block) }
            return true
        }
    }

    /// What has a refcount and was not recorded by anything else.
    private func recordLeaks() throws(ImageError) {
        let clusterCount = (file.size - 1) / header.clusterSize + 1
        try forEachRefcountBlock { (refcounts, index, block) throws(ImageError) in
            let (first, overflow) = index.multipliedReportingOverflow(by: refcounts.blockEntries)
            guard !overflow, first < clusterCount, spend(header.clusterSize) else { return }
            _ = try layout.forEachRefcount(ofBlockAt: block, header) { place in
                if place < clusterCount - first { add(.leaked, at: (first + place) * header.clusterSize) }
            }
        }
    }

    private func recordExtensions() throws(ImageError) {
        var reader = ByteReader(layout.start, at: layout.headerLength(header))
        guard let extensions = try? HeaderExtensions(parsing: &reader, upTo: layout.start.count) else { return }
        if let pointer = extensions.encryptionHeader {
            record(.encryptionHeader, at: pointer.offset, count: pointer.length)
        }
        guard let place = extensions.bitmaps, header.autoclearFeatures.contains(.bitmaps) else { return }
        record(.bitmaps, at: place.directoryOffset, count: place.directorySize)
        let directory = try layout.bitmapDirectory(place)
        _ = try layout.forEachBitmap(place, in: directory) { (_, _, bytes) throws(ImageError) in
            var reader = ByteReader(bytes)
            guard let bitmap = try? Bitmap(parsing: &reader) else { return }
            let size = UInt64(bitmap.tableSize) * 8
            guard layout.placeFault(bitmap.tableOffset, header) == nil, spend(min(size, file.size)) else { return }
            record(.bitmaps, at: bitmap.tableOffset, count: size)
            let table = StoredTable(file, at: bitmap.tableOffset, count: UInt64(bitmap.tableSize))
            try table.visit { (_, word, _) in
                let host = BitmapTableEntry.offset.masked(in: word)
                if host != 0, layout.placeFault(host, header) == nil { add(.bitmaps, at: host) }
                return true
            }
            flush()
        }
    }

    private func recordL1(_ table: QCOW2Layout.L1Table) throws(ImageError) {
        let count = min(table.count, UInt64(Header.l1SizeLimit))
        guard count > 0, layout.placeFault(table.offset, header) == nil, spend(min(count * 8, file.size)) else {
            return
        }
        record(.l1Table, at: table.offset, count: count * 8)
        let format = layout.l2Format(header)
        try StoredTable(file, at: table.offset, count: count).visit { (index, word, _) throws(ImageError) in
            let offset = L1Entry(rawValue: word).l2TableOffset
            if offset >= file.size, offset % header.clusterSize == 0 {
                record(.l2Table, at: offset, count: header.clusterSize)
            }
            guard offset != 0, layout.placeFault(offset, header) == nil else { return true }
            let earlier = record(.l2Table, at: offset, count: header.clusterSize)
            let start = index.multipliedReportingOverflow(by: header.l2Coverage)
            recordRange(.l2Table, at: offset, header.clusterSize, start, header.l2Coverage, snapshot: table.snapshot)
            // What was walked over once is known.
            if earlier != .l2Table, earlier != .overlap, spend(header.clusterSize) {
                try recordL2(at: offset, format, start.partialValue, of: table)
            }
            return true
        }
        flush()
    }

    /// Records what the L2 table at `offset` leads to: clusters of the disk from `start` on.
    private func recordL2(
        at offset: UInt64, _ format: L2Format, _ start: UInt64, of l1: QCOW2Layout.L1Table
    ) throws(ImageError) {
        let isActive = l1.isActive
        let count = header.clusterSize / UInt64(format.wordsPerEntry * 8)
        let table = StoredTable(file, at: offset, count: count, words: format.wordsPerEntry)
        try table.visit { (index, word, bitmap) in
            guard word != 0,
                let mapping = try? L2Entry(rawValue: word).mapping(
                    format, bitmap: SubclusterBitmap(rawValue: bitmap))
            else { return true }
            let guest = start.addingReportingOverflow(index * header.clusterSize)
            switch mapping {
            case .compressed(let host, let count):
                flush()
                let use = isActive ? HostUse.compressed : .snapshotData
                record(use, at: host.rawValue, count: count)
                recordRange(use, at: host.rawValue, count, guest, header.clusterSize, snapshot: l1.snapshot)
            case .data, .subclusters, .zero:
                guard let host = mapping.host, !format.hasDataFile else { return true }
                var use = isActive ? HostUse.data : .snapshotData
                if case .zero = mapping { use = .preallocated }
                add(use, at: host.rawValue)
                recordRange(
                    use, at: host.rawValue, header.clusterSize, guest, header.clusterSize, snapshot: l1.snapshot)
            case .unallocated: break
            }
            return true
        }
    }
}
