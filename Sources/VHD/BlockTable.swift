import BlockImage
import ByteFormat

/// The way from a place of a dynamic or differencing disk to its bytes: the block allocation table (BAT) has the sector of
/// each block, and before a block lies a bitmap, whose bits say which of its sectors were written.
///
/// Every place is where the file says, and is checked against the file's end before it is used.
struct BlockTable: Sendable {
    /// How a run is stored.
    struct Run {
        var count: UInt64
        var storage: Extent.Storage
        var reserved: Extent.Reserved?
    }

    let file: any HostFile
    /// The bytes of a block: at most 2^31.
    let blockSize: UInt64
    /// The bytes of the bitmap before it: at most 2^19.
    let bitmapSize: UInt64
    /// Where the BAT is: the entries that the disk needs.
    let table: TableLocation
    /// Where blocks must end: where the footer begins, if that ends the file.
    let end: UInt64
    /// Where the header is, which no block may begin in: a table that was lost is all zeros, and sector 0 is no block.
    private let header: Range<UInt64>
    /// Whether what a block does not have is in the parent; otherwise it is zeros.
    let hasParent: Bool
    let resources: LayerResources

    init(
        _ description: VHDDescription, _ header: DynamicHeader, file: any HostFile, resources: LayerResources
    ) {
        self.file = file
        self.resources = resources
        blockSize = UInt64(header.blockSize)
        bitmapSize = header.bitmapSize
        hasParent = description.kind == .differencing
        end = description.footerOffset.rawValue == 0 ? file.size : description.footerOffset.rawValue
        // Read already, so that it lies in the file.
        self.header = description.footer.dataOffset..<description.footer.dataOffset + UInt64(DynamicHeader.size)
        table = TableLocation(
            file: file, offset: HostOffset(header.tableOffset),
            count: Int(header.blockCount(size: description.virtualSize)), entrySize: 4, name: "block allocation table"
        ) { decodeTable($0, of: UInt32.self, .big) }
    }

    /// How what no block has is stored: without a parent, the format says that it is zeros.
    private var absent: Extent.Storage { hasParent ? .unallocated : .zero(explicit: true) }

    /// The words of 64 bits that a page of a bitmap has: the most that the cache keeps as one.
    private static let pageWords = TableCache.pageEntries

    /// How the disk is stored from its byte `offset` on: at least one byte, at most `limit`, which must both lie inside it.
    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> Run {
        let index = Int(offset / blockSize)
        let (page, first) = try resources.tables.page(of: table, at: index, counters: resources.counters)
        let within = offset % blockSize
        let entry = page.entries[first]
        guard entry == DynamicHeader.unallocated else {
            return try run(inBlock: index, atSector: entry, within, limit: min(limit, blockSize - within))
        }
        var next = first + 1
        while next < page.entries.count, page.entries[next] == entry,
            UInt64(next - first) * blockSize - within < limit
        {
            next += 1
        }
        return Run(count: min(limit, UInt64(next - first) * blockSize - within), storage: absent)
    }

    /// The run of the block `index`, whose bitmap begins at `sector`, from its byte `within` on.
    private func run(
        inBlock index: Int, atSector sector: UInt64, _ within: UInt64, limit: UInt64
    ) throws(ImageError) -> Run {
        let start = sector * sectorSize
        guard start < end, bitmapSize <= end - start else { throw outOfFile(index, start, "its bitmap") }
        guard start >= UInt64(Footer.size), !isStructure(start) else {
            throw ImageError(
                .corrupt, path: file.path, offset: table.offset(of: index),
                "\(table.name), entry \(index): points to \(HostOffset(start)), where the headers or the table lie, and no block"
            )
        }
        // The first word may have bits of sectors before that one.
        let bit = within / sectorSize
        let (isWritten, bits) = try bitRun(at: bit, of: start, limit: (limit + within % sectorSize + 511) / sectorSize)
        let count = min(limit, bits * sectorSize - within % sectorSize)
        let data = start + bitmapSize + within
        guard isWritten else {
            let place = data < end ? Extent.Reserved(file: file, offset: HostOffset(data)) : nil
            return Run(count: count, storage: absent, reserved: place)
        }
        guard data < end else { throw outOfFile(index, start, "its data") }
        return Run(count: min(count, end - data), storage: .data(file: file, offset: HostOffset(data)))
    }

    /// Whether the header or the table has the byte at `offset`.
    private func isStructure(_ offset: UInt64) -> Bool {
        let first = table.offset.rawValue
        return header.contains(offset) || (offset >= first && offset - first < UInt64(table.count) * 4)
    }

    /// Whether the bit `bit` of the bitmap at `offset` is set, and how many from it on are alike: at most `limit`.
    ///
    /// A page of a bitmap all of whose bits are set, as most are, is kept as one word.
    private func bitRun(
        at bit: UInt64, of offset: UInt64, limit: UInt64
    ) throws(ImageError) -> (isSet: Bool, count: UInt64) {
        let bitmap = TableLocation(
            file: file, offset: HostOffset(offset), count: Int(bitmapSize / 8), entrySize: 8, name: "block bitmap"
        ) { bytes in
            let words = decodeTable(bytes, of: UInt64.self, .big)
            return words.allSatisfy { $0 == .max } ? [.max] : words
        }
        let word = Int(bit / 64)
        let pageStart = word - word % Self.pageWords
        let (page, _) = try resources.tables.page(of: bitmap, at: pageStart, counters: resources.counters)
        let words = page.entries
        let pageBits = UInt64(min(Self.pageWords, bitmap.count - pageStart)) * 64
        var position = bit - UInt64(pageStart) * 64
        if words.count == 1, words[0] == .max { return (true, min(limit, pageBits - position)) }
        let isSet = (words[Int(position / 64)] << (position % 64)) >> 63 == 1
        var count: UInt64 = 0
        while count < limit, position < pageBits {
            let word = words[Int(position / 64)] << (position % 64)
            let alike = UInt64((isSet ? ~word : word).leadingZeroBitCount)
            let rest = 64 - position % 64
            count += min(alike, rest)
            position += min(alike, rest)
            if alike < rest { break }
        }
        return (isSet, min(limit, count))
    }

    /// That `what` of the block `index`, which begins at `start`, does not lie in the file.
    private func outOfFile(_ index: Int, _ start: UInt64, _ what: String) -> ImageError {
        ImageError(
            .truncated, path: file.path, offset: table.offset(of: index),
            "block allocation table, entry \(index): points to \(HostOffset(start)), and \(what) must lie in the file, but "
                + "its blocks end at \(HostOffset(end))")
    }

    /// How many bytes from `offset` on are lost for the same reason, where `run` throws: at least one, at most `limit`.
    func lost(at offset: UInt64, limit: UInt64) -> UInt64 {
        let first = Int(offset / blockSize)
        var next = first + 1
        func covered() -> UInt64 { UInt64(next - first) * blockSize - offset % blockSize }
        guard let found = try? resources.tables.page(of: table, at: first, counters: resources.counters) else {
            // What follows in a table that is cut is past its end as well.
            let isCut = table.offset(of: first).rawValue >= file.size
            return isCut ? limit : min(limit, covered())
        }
        let entries = found.page.entries
        while found.index + next - first < entries.count, covered() < limit {
            let entry = entries[found.index + next - first]
            guard entry != DynamicHeader.unallocated, entry == entries[found.index] || entry * sectorSize >= end else {
                break
            }
            next += 1
        }
        return min(limit, covered())
    }
}

extension TableLocation {
    /// Where the entry `index` lies.
    func offset(of index: Int) -> HostOffset { offset.advanced(by: UInt64(index) * UInt64(entrySize)) }
}
