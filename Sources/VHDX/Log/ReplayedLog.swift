import BlockImage

/// What the log of a file has that may not have been written to its places: what a writer that opens the file would write there first
/// (MS-VHDX 2.3.3). Here it is only read instead of what lies there.
public struct ReplayedLog: Sendable {
    /// How many entries are replayed.
    public let entryCount: Int
    /// The number of the last one.
    public let lastSequenceNumber: UInt64
    /// The log.
    let area: LogArea
    /// The pages that come from the log, by their places in the file, which are multiples of their size.
    let pages: [Page]
    /// What is zeros, in order and without overlaps, but for pages in it.
    let zeros: [Range<UInt64>]
    /// How long the file must be at least; what it lacks is zeros.
    let fileSize: UInt64

    /// A page of 4 KiB.
    struct Page: Hashable {
        /// Where in the file it belongs.
        var offset: UInt64
        /// Where in the log its data sector lies.
        var sector: UInt32
        /// The bytes that stand in the descriptor.
        var leading: [UInt8]
        var trailing: [UInt8]
    }

    /// The most descriptors that are replayed: those of a log of 4 GiB that is full of pages.
    static let writeLimit = 1 << 20
    static let pageSize = UInt64(LogEntryHeader.sectorSize)

    /// Finds what the log of `file` by `header` has; nil where it is empty. What people should know goes to `notes`.
    init?(_ header: VHDXHeader, of file: any HostFile, _ notes: inout [ErrorText]) throws(ImageError) {
        guard !header.logID.isZero else { return nil }
        let area = LogArea(header, of: file)
        guard area.length <= LogSearch.lengthLimit else {
            throw ImageError(
                .unsupported, path: file.path, offset: HostOffset(area.offset),
                "log: has \(area.length) bytes that are to be replayed, more than \(LogSearch.lengthLimit)")
        }
        guard area.offset <= file.size, UInt64(area.length) <= file.size - area.offset else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(area.offset),
                "log: takes \(area.length) bytes, but the file ends at \(HostOffset(file.size))")
        }
        var search = LogSearch(area)
        let entries = try search.activeSequence()
        guard let last = entries.last?.header else {
            notes.append(
                "\(path: file.path): its last writer did not close it, and its log has no valid entry: nothing is replayed"
            )
            return nil
        }
        // Those of the entries before may be larger: the file may have been made smaller since (DiscUtils #27).
        guard last.flushedFileOffset <= file.size else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(file.size),
                "log: the file had \(last.flushedFileOffset) bytes when its last entry was written, but ends here")
        }
        var writes: [LogWrite] = []
        for entry in entries {
            guard writes.count + Int(entry.header.descriptorCount) <= Self.writeLimit else {
                throw ImageError(
                    .unsupported, path: file.path, offset: HostOffset(area.offset),
                    "log: has more than \(Self.writeLimit) descriptors to replay")
            }
            writes += try area.writes(of: entry.header, at: entry.position)
        }
        self.area = area
        entryCount = entries.count
        lastSequenceNumber = last.sequenceNumber
        fileSize = max(file.size, last.lastFileOffset)
        (pages, zeros) = Self.lastWrites(of: writes)
        notes.append(
            "\(path: file.path): its last writer did not close it: \(counted(entryCount, "entry", "entries")) of its log "
                + "\(entryCount == 1 ? "is" : "are") replayed in memory, and the file is left as it is")
    }

    /// What each place of the file has after `writes`, one after the other.
    static func lastWrites(of writes: [LogWrite]) -> (pages: [Page], zeros: [Range<UInt64>]) {
        var pages: [UInt64: (page: Page, order: Int)] = [:]
        var zeros: [(range: Range<UInt64>, order: Int)] = []
        for (order, write) in writes.enumerated() {
            let offset = write.descriptor.fileOffset
            switch write.descriptor.content {
            case .data(let leading, let trailing):
                pages[offset] = (
                    Page(offset: offset, sector: write.sector, leading: leading, trailing: trailing), order
                )
            // Both were held to `offsetLimit`.
            case .zeros(let length): zeros.append((offset..<offset + length, order))
            }
        }
        let sorted = pages.values.sorted { $0.page.offset < $1.page.offset }
        let isLost = Self.overwritten(sorted.map { ($0.page.offset, $0.order) }, by: zeros)
        return (zip(sorted, isLost).filter { !$1 }.map(\.0.page), Self.union(zeros.map(\.range)))
    }

    /// Which of the `pages`, in the order of their places, were written before zeros that lie over them.
    ///
    /// The last of the zeros over a page decides. So these go first, and what they decided is passed over by those before them: the
    /// work is in proportion to both, however they overlap.
    private static func overwritten(
        _ pages: [(offset: UInt64, order: Int)], by zeros: [(range: Range<UInt64>, order: Int)]
    ) -> [Bool] {
        var isLost = [Bool](repeating: false, count: pages.count)
        // The first page from each on that is not decided yet.
        var next = Array(0...pages.count)
        func undecided(from start: Int) -> Int {
            var end = start
            while next[end] != end { end = next[end] }
            var place = start
            while next[place] != end, place != end { (next[place], place) = (end, next[place]) }
            return end
        }
        for (range, order) in zeros.reversed() {
            var index = undecided(from: pages.firstIndex(from: range.lowerBound) { $0.offset })
            while index < pages.count, pages[index].offset < range.upperBound {
                isLost[index] = pages[index].order < order
                next[index] = index + 1
                index = undecided(from: index + 1)
            }
        }
        return isLost
    }

    /// What is in any of `ranges`, in order.
    private static func union(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
        var result: [Range<UInt64>] = []
        for range in ranges.filter({ !$0.isEmpty }).sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = result.last, range.lowerBound <= last.upperBound {
                result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }

    /// The bytes of `page`.
    func bytes(of page: Page) throws(ImageError) -> [UInt8] {
        let sector = try area.bytes(LogEntryHeader.sectorSize, at: page.sector)
        return page.leading + sector[page.leading.count..<sector.count - page.trailing.count] + page.trailing
    }

    /// What the file has from `offset` on, and for how many bytes.
    enum Piece {
        /// A page of the log.
        case page(Page, count: UInt64)
        /// Zeros of the log, or what the file lacks.
        case zeros(count: UInt64)
        /// What the file itself has.
        case file(count: UInt64)
    }

    /// What `file` has from `offset` on.
    func piece(at offset: UInt64, of file: any HostFile) -> Piece {
        var end = UInt64.max
        let index = pages.firstIndex(from: offset / Self.pageSize * Self.pageSize) { $0.offset }
        if index < pages.count {
            let page = pages[index]
            if page.offset <= offset { return .page(page, count: page.offset + Self.pageSize - offset) }
            end = page.offset
        }
        // The last that begins at or before it.
        let zero = zeros.firstIndex(from: offset + 1) { $0.lowerBound }
        if zero > 0, zeros[zero - 1].upperBound > offset {
            return .zeros(count: min(end, zeros[zero - 1].upperBound) - offset)
        }
        if zero < zeros.count { end = min(end, zeros[zero].lowerBound) }
        if offset >= file.size { return .zeros(count: end - offset) }
        return .file(count: min(end, file.size) - offset)
    }

    /// Whether any of `range` of `file` is not as it lies there.
    func changes(_ range: Range<UInt64>, of file: any HostFile) -> Bool {
        guard range.upperBound <= file.size, case .file(let count) = piece(at: range.lowerBound, of: file) else {
            return true
        }
        return count < UInt64(range.upperBound - range.lowerBound)
    }
}

extension Array {
    /// The first element whose `key`, by which they are in order, is at least `limit`; their number where there is none.
    fileprivate func firstIndex(from limit: UInt64, _ key: (Element) -> UInt64) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = low + (high - low) / 2
            if key(self[middle]) < limit { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
