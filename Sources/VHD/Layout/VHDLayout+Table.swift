import BlockImage
import ByteFormat

extension VHDLayout {
    /// The entries that are read at once.
    private static let step: UInt64 = 4096

    /// Hands over each entry of the table of `header` that the file has and a disk of `size` bytes needs, with its index.
    /// Ends where `body` answers false.
    private func visit(
        _ header: DynamicHeader, size: UInt64, _ body: (UInt64, UInt64) throws(ImageError) -> Bool
    ) throws(ImageError) {
        let count = entryCount(header, size: size)
        var index: UInt64 = 0
        while index < count {
            let here = min(Self.step, count - index)
            let bytes = try held(here * 4, at: header.tableOffset + index * 4, of: "block allocation table")
            for (place, entry) in Self.decode(bytes).enumerated() {
                guard try body(index + UInt64(place), entry) else { return }
            }
            index += here
        }
    }

    private static func decode(_ bytes: [UInt8]) -> [UInt64] {
        // Safe: integers have no bytes that are not set.
        unsafe decodeTable(bytes.span.bytes, of: UInt32.self, .big)
    }

    /// How many entries of the table the disk needs, as far as they lie in the file.
    private func entryCount(_ header: DynamicHeader, size: UInt64) -> UInt64 {
        guard header.tableOffset < file.size else { return 0 }
        let needed = size <= .max >> 1 && header.blockSize > 0 ? header.blockCount(size: size) : .max
        return min(UInt64(header.entryCount), needed, (file.size - header.tableOffset) / 4)
    }

    func listTable(
        _ header: DynamicHeader, size: UInt64, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        let name = "block allocation table"
        try consumer.begin(
            LayoutStructure(name, at: HostOffset(header.tableOffset), size: UInt64(header.entryCount) * 4))
        let needed = size <= .max >> 1 && header.blockSize > 0 ? header.blockCount(size: size) : 0
        let held = entryCount(header, size: size)
        if held < needed {
            try consumer.fault("of the \(needed) entries that the disk needs only \(held) lie in the file")
        }
        var lister = LayoutEntryLister(consumer, "\(name) entries", limit: options.entryLimit)
        do throws(ImageError) {
            try visit(header, size: size) { (index, word) throws(ImageError) in
                try lister.add(entry(word, index, header), isEmpty: word == DynamicHeader.unallocated)
                if lister.isExhausted { lister.omit(held - index - 1) }
                return !lister.isExhausted
            }
        } catch {
            // What the consumer threw is about no place of this file.
            guard error.subject == .file(file.path) else { throw error }
            try consumer.fault(error.detail)
        }
        try lister.finish()
        try consumer.end()
    }

    private func entry(_ word: UInt64, _ index: UInt64, _ header: DynamicHeader) -> LayoutEntry {
        let blockSize = UInt64(header.blockSize)
        var entry = LayoutEntry(
            index, at: HostOffset(header.tableOffset + index * 4), raw: [word],
            facts: [.init("guest", .range(index * blockSize, blockSize))])
        guard word != DynamicHeader.unallocated else { return entry }
        let start = word * sectorSize
        entry.facts += [
            .init("bitmap", .offset(start)), .init("host", .offset(start + header.bitmapSize)),
        ]
        if start >= file.size || file.size - start < header.bitmapSize + 1 {
            entry.fault = "its block must lie in the file, but that ends at \(HostOffset(file.size))"
        }
        return entry
    }

    /// Tells `recorder` what every part of the file is used for. Damage is passed over: `list` reports it.
    public func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        func record(_ use: HostUse, _ offset: UInt64, _ count: UInt64) {
            recorder.record(use, at: HostOffset(offset), count: count) { _, earlier in earlier == use }
        }
        let footers = try Footers(of: file)
        guard let found = (try? footers.chosen()) ?? footers.last ?? footers.first else { return }
        let footer = found.footer
        if let last = footers.last { record(.header, last.offset.rawValue, UInt64(last.bytes.count)) }
        guard footer.kind != .fixed else {
            let end = min(footers.last?.offset.rawValue ?? file.size, footer.currentSize)
            record(.data, 0, end)
            return recorder.record(StoredRange(.data, at: HostOffset(0), count: end, start: 0, covered: end))
        }
        record(.header, 0, UInt64(Footer.size))
        let bytes = try held(UInt64(DynamicHeader.size), at: footer.dataOffset, of: "dynamic header")
        record(.header, footer.dataOffset, UInt64(DynamicHeader.size))
        guard let header = try? DynamicHeader(parsing: bytes) else { return }
        for locator in header.locators where locator.isUsed { record(.header, locator.offset, UInt64(locator.length)) }
        record(.blockTable, header.tableOffset, UInt64(header.entryCount) * 4)
        let blockSize = UInt64(header.blockSize)
        let size = min(footer.currentSize, .max >> 1)
        // Blocks that lie over one another, as a hostile table has them, are recorded twice at most.
        var budget = min(file.size, .max >> 2) * 2 + (1 << 30)
        try visit(header, size: size) { (index, word) throws(ImageError) in
            guard word != DynamicHeader.unallocated, index * blockSize < size else { return true }
            let start = word * sectorSize
            guard start < file.size else { return true }
            let taken = min(header.bitmapSize + blockSize, file.size - start)
            guard budget >= taken else {
                recorder.note("blocks lie over one another: what the table has from entry \(index) on is not shown")
                return false
            }
            budget -= taken
            recorder.record(.bitmaps, at: HostOffset(start), count: header.bitmapSize) { _, _ in false }
            let data = HostOffset(start + header.bitmapSize)
            recorder.record(.data, at: data, count: blockSize) { _, _ in false }
            recorder.record(
                StoredRange(
                    .data, at: data, count: blockSize, start: index * blockSize,
                    covered: min(blockSize, size - index * blockSize)))
            return true
        }
    }
}
