import BlockImage
import ByteFormat

/// A check of a VHD file's structures against each other, while it runs. Reads no data of the disk but where a bitmap says
/// that there is none.
struct VHDCheck {
    /// The most bytes that are read to find data where a bitmap says that there is none.
    private static let readLimit: UInt64 = 256 << 20
    /// The most blocks whose bitmaps are looked at: those of 2 TiB in blocks of 2 MiB.
    private static let bitmapLimit = 1 << 20

    private let file: any HostFile
    private let description: VHDDescription
    private let table: BlockTable?
    private(set) var result = CheckResult()
    private var readLeft = VHDCheck.readLimit
    private var bitmapsLeft = VHDCheck.bitmapLimit
    private let buffer = AlignedBuffer(capacity: 1 << 16)

    init(_ disk: VHDLayer, file: any HostFile) {
        self.file = file
        description = disk.description
        table = disk.table
    }

    /// Checks everything. Throws what reading the file throws.
    mutating func run(progress: (Double) -> Void) throws(ImageError) {
        try checkFooters()
        guard let table, let header = description.header else {
            checkFixed()
            return progress(1)
        }
        try checkHeader(header)
        checkLocators(header)
        result.totalClusters = UInt64(table.table.count)
        var places = BlockPlaces(blockSize: table.bitmapSize + table.blockSize, besides: structures(header))
        var isFirst = true
        repeat {
            try walk(table, &places, isFirst: isFirst, progress: progress)
            isFirst = false
        } while !finish(&places)
        progress(1)
    }

    private mutating func add(
        _ kind: CheckFinding.Kind, _ severity: CheckFinding.Severity = .corruption, at offset: HostOffset,
        guest: GuestOffset? = nil, _ message: ErrorText
    ) {
        result.add(CheckFinding(kind, severity, path: file.path, at: offset, guest: guest, message))
    }

    private mutating func checkFooters() throws(ImageError) {
        let footers = try Footers(of: file)
        if footers.last == nil {
            add(
                .redundancy, at: HostOffset(file.size),
                "footer: is missing at the end of the file, so that only its copy at the beginning says what the disk is"
            )
        }
        var found = [footers.last]
        if description.kind != .fixed {
            if footers.first == nil {
                add(.redundancy, at: HostOffset(0), "copy of the footer: is missing at the beginning of the file")
            }
            found.append(footers.first)
        }
        for footer in found.compactMap({ $0 }) where !footer.isSummed {
            let sum = checkSum(of: footer.bytes, at: Footer.checkSumOffset)
            add(
                .redundancy, at: footer.offset.advanced(by: UInt64(Footer.checkSumOffset)),
                "footer: checksum is \(hexadecimal(footer.footer.checkSum)), but that of the footer is \(hexadecimal(sum))"
            )
        }
        if description.kind != .fixed, let last = footers.last, let first = footers.first, last.isSummed,
            first.isSummed,
            last.footer != first.footer
        {
            add(.redundancy, at: HostOffset(0), "copy of the footer: is not the footer that is at \(last.offset)")
        }
    }

    private mutating func checkFixed() {
        let end = description.footerOffset
        guard description.virtualSize > end.rawValue else { return }
        add(
            .outOfFile, at: end,
            "fixed disk: has \(description.virtualSize) bytes, but the file has \(end.rawValue) before its footer")
    }

    private mutating func checkHeader(_ header: DynamicHeader) throws(ImageError) {
        let offset = HostOffset(description.footer.dataOffset)
        let bytes = try file.bytes(DynamicHeader.size, at: offset, of: "dynamic header")
        let sum = checkSum(of: bytes, at: DynamicHeader.checkSumOffset)
        guard sum != header.checkSum else { return }
        add(
            .redundancy, at: offset.advanced(by: UInt64(DynamicHeader.checkSumOffset)),
            "dynamic header: checksum is \(hexadecimal(header.checkSum)), but that of the header is \(hexadecimal(sum))"
        )
    }

    private mutating func checkLocators(_ header: DynamicHeader) {
        guard description.kind == .differencing else { return }
        for (index, locator) in header.locators.enumerated() where locator.isUsed {
            guard VHDDescription.bytes(of: locator, in: file) == nil else { continue }
            let place = description.footer.dataOffset + UInt64(DynamicHeader.locatorOffset + index * ParentLocator.size)
            add(
                .outOfFile, .warning, at: HostOffset(place),
                "parent locator \(index) (\"\(printable(locator.code))\"): \(locator.length) bytes at \(hexadecimal(locator.offset)) "
                    + "are no name that lies in the file")
        }
    }

    /// Where other things than blocks lie.
    private func structures(_ header: DynamicHeader) -> [BlockPlaces.Place] {
        var places = [
            BlockPlaces.Place("dynamic header", at: description.footer.dataOffset, count: UInt64(DynamicHeader.size)),
            BlockPlaces.Place("block allocation table", at: header.tableOffset, count: UInt64(header.entryCount) * 4),
            BlockPlaces.Place(
                "footer", at: description.footerOffset.rawValue, count: UInt64(Footer.size)),
        ]
        if description.footerOffset.rawValue != 0 {
            places.append(BlockPlaces.Place("copy of the footer", at: 0, count: UInt64(Footer.size)))
        }
        guard description.kind == .differencing else { return places }
        for (index, locator) in header.locators.enumerated() where locator.isUsed {
            places.append(
                BlockPlaces.Place(
                    "parent locator", at: locator.offset, count: UInt64(locator.length), index: UInt64(index)))
        }
        return places
    }

    private mutating func finish(_ places: inout BlockPlaces) -> Bool {
        var found: [(BlockPlaces.Place, BlockPlaces.Place)] = []
        var more: UInt64 = 0
        let isLast = places.finishPass { place, other in
            if found.count < CheckResult.findingLimit { found.append((place, other)) } else { more += 1 }
        }
        for (place, other) in found {
            let guest = place.index.flatMap { index in
                place.name == "block" ? GuestOffset(index * (table?.blockSize ?? 0)) : nil
            }
            add(
                .overlap, at: HostOffset(place.start), guest: guest,
                "\(place.text): begins at \(HostOffset(place.start)), inside \(other.text), which ends at \(HostOffset(other.end))"
            )
        }
        if more > 0 {
            result.add(CheckFinding(.overlap, .corruption, path: file.path, times: more, "more that overlaps"))
        }
        return isLast
    }

    /// Walks over the table, and the bitmaps of all blocks.
    private mutating func walk(
        _ table: BlockTable, _ places: inout BlockPlaces, isFirst: Bool, progress: (Double) -> Void
    ) throws(ImageError) {
        var index = 0
        while index < table.table.count {
            progress(Double(index) / Double(table.table.count))
            try ReadScope.checkWanted()
            let entries: [UInt64]
            do throws(ImageError) {
                let counters = ReadCounters()
                entries = try table.resources.tables.page(of: table.table, at: index, counters: counters).page.entries
            } catch {
                guard error.code == .truncated else { throw error }
                if isFirst { add(.outOfFile, at: error.offset ?? table.table.offset, error.detail) }
                return
            }
            for (place, entry) in entries.enumerated() where entry != DynamicHeader.unallocated {
                let start = entry * sectorSize
                if isFirst { try judge(table, index + place, start) }
                if start < table.end { places.add(UInt64(index + place), at: start) }
            }
            index += entries.count
        }
    }

    private mutating func judge(_ table: BlockTable, _ index: Int, _ start: UInt64) throws(ImageError) {
        result.allocatedClusters += 1
        let guest = GuestOffset(UInt64(index) * table.blockSize)
        let used = min(table.blockSize, description.virtualSize - guest.rawValue)
        let place = table.table.offset.advanced(by: UInt64(index) * 4)
        guard start < table.end, table.bitmapSize + used <= table.end - start else {
            let (path, end) = (file.path, table.end)
            result.add(.outOfFile, .corruption, in: UInt64(index / TableCache.pageEntries), at: place) {
                CheckFinding(
                    .outOfFile, .corruption, path: path, at: place, guest: guest,
                    "block allocation table, entry \(index): points to \(HostOffset(start)), but blocks must end at "
                        + "\(HostOffset(end))")
            }
            return
        }
        guard description.kind == .dynamic, bitmapsLeft > 0 else { return }
        bitmapsLeft -= 1
        try checkBitmap(table, index, guest, used)
    }

    /// Looks for data where the bitmap of the block `index` says that none was written.
    private mutating func checkBitmap(
        _ table: BlockTable, _ index: Int, _ guest: GuestOffset, _ used: UInt64
    ) throws(ImageError) {
        var position = guest.rawValue
        var hidden: UInt64 = 0
        var first: HostOffset?
        while position < guest.rawValue + used, readLeft > 0 {
            // That its block cannot be where the table has it is a finding of its own.
            guard
                let run = try unlessCorrupt({ () throws(ImageError) in
                    try table.run(at: position, limit: guest.rawValue + used - position)
                })
            else { return }
            defer { position += run.count }
            guard case .zero = run.storage, let reserved = run.reserved else { continue }
            var done: UInt64 = 0
            while done < run.count, readLeft > 0 {
                let offset = reserved.offset.advanced(by: done)
                let stretch = file.run(at: offset, limit: run.count - done)
                let count = min(
                    max(stretch.count, 1), stretch.isHole ? .max : min(1 << 16, readLeft), table.end - offset.rawValue)
                guard count > 0 else { break }
                done += count
                guard !stretch.isHole else { continue }
                readLeft -= count
                try buffer.fill(Int(count)) { output throws(ImageError) in
                    try file.read(Int(count), at: offset, into: &output)
                }
                let bytes = buffer.array
                for sector in stride(from: 0, to: bytes.count, by: Int(sectorSize))
                where bytes[sector..<min(sector + Int(sectorSize), bytes.count)].contains(where: { $0 != 0 }) {
                    hidden += 1
                    first = first ?? offset.advanced(by: UInt64(sector))
                }
            }
        }
        guard let first else { return }
        result.add(
            CheckFinding(
                .bitmap, .warning, path: file.path, at: first, guest: guest, times: hidden,
                "block \(index): \(counted(hidden, "sector")) with data, the first at \(first), that the bitmap says were never "
                    + "written: they read as zeros, and as data in programs that ignore the bitmap, as QEMU does"))
    }
}

/// What `read` answers; nil where it is about bytes that contradict the format. Throws the host's errors.
private func unlessCorrupt<Result>(_ read: () throws(ImageError) -> Result) throws(ImageError) -> Result? {
    do throws(ImageError) {
        return try read()
    } catch {
        if error.code == .corrupt { return nil }
        throw error
    }
}
