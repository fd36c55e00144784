import BlockImage
import ByteFormat

extension QCOW2Layout {
    /// The entries of the snapshot table, one after another: index, place, and the bytes without their padding. Ends
    /// where the table is damaged so that the next entry cannot be found; answers why.
    @discardableResult
    func forEachSnapshot(
        _ header: Header, _ body: (UInt32, HostOffset, [UInt8]) throws(ImageError) -> Void
    ) throws(ImageError) -> String? {
        var position = header.snapshotsOffset
        for index in 0..<min(header.snapshotCount, Snapshot.countLimit) {
            guard position < file.size, file.size - position >= 40 else {
                return "entry \(index) of \(header.snapshotCount): the file ends within it"
            }
            guard position - header.snapshotsOffset <= Snapshot.tableSizeLimit else {
                return "entry \(index): the table is larger than \(Snapshot.tableSizeLimit) bytes"
            }
            let place = HostOffset(position)
            let sizes = Snapshot.Sizes(try file.bytes(40, at: place, of: "snapshot table"))
            guard sizes.extraData <= Snapshot.extraDataLimit else {
                return "entry \(index): has \(sizes.extraData) bytes of extra data, but at most "
                    + "\(Snapshot.extraDataLimit) are allowed"
            }
            let size = min(40 + UInt64(sizes.variable), file.size - position)
            try body(index, place, try file.bytes(Int(size), at: place, of: "snapshot table"))
            position += UInt64(40 + sizes.variable + 7) & ~7
        }
        return nil
    }

    func listSnapshots(
        _ header: Header, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        guard header.snapshotCount > 0 else { return }
        let structure = LayoutStructure("snapshot table", at: HostOffset(header.snapshotsOffset), size: nil)
        try consumer.structure(structure) { () throws(ImageError) in
            var omitted: UInt64 = 0
            try reportingReadErrors(consumer) { () throws(ImageError) in
                let fault = try forEachSnapshot(header) { (index, place, bytes) throws(ImageError) in
                    guard UInt64(index) < options.entryLimit else {
                        omitted += 1
                        return
                    }
                    let structure = LayoutStructure("snapshot \(index)", at: place, size: UInt64(bytes.count))
                    try consumer.structure(structure) { () throws(ImageError) in
                        var cursor = LayoutCursor(bytes, at: place, isLittleEndian: false, telling: consumer)
                        try listSnapshot(header, &cursor)
                    }
                }
                if let fault { try consumer.fault("\(fault)") }
            }
            if omitted > 0 { try consumer.omit(omitted, "snapshots") }
        }
    }

    private func listSnapshot(_ header: Header, _ cursor: inout LayoutCursor) throws(ImageError) {
        // The faults of the fields are known only once they are read, and reported with them: so the first is read
        // ahead.
        if let offset = cursor.peek(8, at: 0), let fault = placeFault(offset, header) { cursor.faults[0] = "\(fault)" }
        try cursor.number("l1_table_offset", size: 8) { "\(HostOffset($0))" }
        try cursor.number("l1_size", size: 4) { counted($0, "entry", "entries") }
        let idSize = try cursor.number("id_str_size", size: 2)
        let nameSize = try cursor.number("name_size", size: 2)
        try cursor.number("date_sec", size: 4) { utcTime($0) ?? "\($0) seconds since 1970" }
        try cursor.number("date_nsec", size: 4)
        try cursor.number("vm_clock_nsec", size: 8)
        try cursor.number("vm_state_size (32 bits)", size: 4) { counted($0, "byte") }
        let extra = Int(try cursor.number("extra_data_size", size: 4) { counted($0, "byte") })
        var left = extra
        for (name, meaning) in [
            ("vm_state_size (64 bits)", " bytes"), ("disk_size", " bytes"), ("icount", ""),
        ] where left >= 8 {
            try cursor.number(name, size: 8) { $0 == .max && meaning.isEmpty ? "none" : "\($0)\(meaning)" }
            left -= 8
        }
        if left > 0 { try cursor.bytes("unknown extra data", size: left) { _ in "\(counted(left, "byte"))" } }
        try cursor.bytes("id", size: Int(idSize)) { "\"\(printable($0))\"" }
        try cursor.bytes("name", size: Int(nameSize)) { "\"\(printable($0))\"" }
    }
}

extension QCOW2Layout {
    /// The bytes of the bitmap directory, as far as they lie in the file and within the format's limit.
    func bitmapDirectory(_ place: HeaderExtensions.Bitmaps) throws(ImageError) -> [UInt8] {
        guard place.directoryOffset < file.size else { return [] }
        let size = min(place.directorySize, Bitmap.directorySizeLimit, file.size - place.directoryOffset)
        return try file.bytes(Int(size), at: HostOffset(place.directoryOffset), of: "bitmap directory")
    }

    /// The entries of a bitmap directory: index, place in it, and bytes without padding. Answers how many there are.
    func forEachBitmap(
        _ place: HeaderExtensions.Bitmaps, in directory: [UInt8],
        _ body: (UInt32, Int, [UInt8]) throws(ImageError) -> Void
    ) throws(ImageError) -> UInt32 {
        var position = 0
        for index in 0..<min(place.count, Bitmap.countLimit) {
            guard directory.count - position >= 24 else { return index }
            func integer(_ range: Range<Int>) -> UInt64 {
                directory[(position + range.lowerBound)..<(position + range.upperBound)]
                    .reduce(0) { $0 << 8 | UInt64($1) }
            }
            let size = 24 + integer(18..<20) + integer(20..<24)
            guard size <= UInt64(directory.count - position) else { return index }
            try body(index, position, Array(directory[position..<position + Int(size)]))
            position = min(directory.count, (position + Int(size) + 7) & ~7)
        }
        return place.count
    }

    func listBitmaps(
        _ header: Header, _ found: FoundExtensions, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        guard let place = found.bitmaps else { return }
        let start = HostOffset(place.directoryOffset)
        let structure = LayoutStructure("bitmap directory", at: start, size: place.directorySize)
        try consumer.structure(structure) { () throws(ImageError) in
            if !header.autoclearFeatures.contains(.bitmaps) {
                try consumer.note("autoclear_features does not vouch for it: what stands here may be stale")
            }
            if let fault = placeFault(place.directoryOffset, header) {
                try consumer.fault("bitmap_directory_offset: \(fault)")
            }
            var omitted: UInt64 = 0
            var lister = LayoutEntryLister(consumer, "bitmap table entries", limit: options.entryLimit)
            try reportingReadErrors(consumer) { () throws(ImageError) in
                let directory = try bitmapDirectory(place)
                let count = try forEachBitmap(place, in: directory) { (index, position, bytes) throws(ImageError) in
                    guard UInt64(index) < options.entryLimit else {
                        omitted += 1
                        return
                    }
                    let offset = start.advanced(by: UInt64(position))
                    let structure = LayoutStructure("bitmap \(index)", at: offset, size: UInt64(bytes.count))
                    try consumer.structure(structure) { () throws(ImageError) in
                        var cursor = LayoutCursor(bytes, at: offset, isLittleEndian: false, telling: consumer)
                        try listBitmap(header, &cursor, &lister, consumer)
                    }
                }
                if count < place.count {
                    try consumer.fault("of \(place.count) entries only \(count) lie in its bytes, or are allowed")
                }
            }
            if omitted > 0 { try consumer.omit(omitted, "bitmaps") }
        }
    }

    private func listBitmap(
        _ header: Header, _ cursor: inout LayoutCursor, _ lister: inout LayoutEntryLister,
        _ consumer: any LayoutConsumer
    ) throws(ImageError) {
        if let offset = cursor.peek(8, at: 0), let fault = placeFault(offset, header) { cursor.faults[0] = "\(fault)" }
        if let type = cursor.peek(1, at: 16), type != 1 { cursor.faults[16] = "must be 1, a dirty bitmap" }
        if let bits = cursor.peek(1, at: 17), !(9...31).contains(bits) { cursor.faults[17] = "must be 9 to 31" }
        let offset = try cursor.number("bitmap_table_offset", size: 8) { "\(HostOffset($0))" }
        let count = try cursor.number("bitmap_table_size", size: 4) { counted($0, "entry", "entries") }
        try cursor.number("flags", size: 4) { bits in
            let names = ["in_use", "auto", "extra_data_compatible"].enumerated()
                .filter { bits >> UInt64($0.offset) & 1 == 1 }.map(\.element)
            let rest = bits & ~7 == 0 ? [] : ["unknown bits 0x\(String(bits & ~7, radix: 16))"]
            return names.isEmpty && rest.isEmpty ? "none" : (names + rest).joined(separator: ", ")
        }
        try cursor.number("type", size: 1) { $0 == 1 ? "1: dirty bitmap" : "\($0)" }
        try cursor.number("granularity_bits", size: 1) { $0 < 64 ? "\($0): \(humanSize(1 << $0))" : "\($0)" }
        let nameSize = try cursor.number("name_size", size: 2)
        let extraSize = try cursor.number("extra_data_size", size: 4)
        if extraSize > 0 {
            try cursor.bytes("extra data", size: Int(extraSize)) { _ in "\(counted(extraSize, "byte"))" }
        }
        try cursor.bytes("name", size: Int(nameSize)) { "\"\(printable($0))\"" }
        try listBitmapTable(offset, count, header, &lister, consumer)
    }

    /// The entries of a bitmap table: docs/interop/qcow2 "Bitmap table".
    private func listBitmapTable(
        _ offset: UInt64, _ count: UInt64, _ header: Header, _ lister: inout LayoutEntryLister,
        _ consumer: any LayoutConsumer
    ) throws(ImageError) {
        let table = StoredTable(file, at: offset, count: count)
        if table.count < count {
            try consumer.fault("of its table's \(count) entries only \(table.count) lie in the file")
        }
        var entries = lister
        try table.visit { (index, word, _) throws(ImageError) in
            let place = BitmapTableEntry.offset.masked(in: word)
            var entry = LayoutEntry(index, at: table.offset(of: index), raw: [word], facts: [])
            if place == 0 {
                entry.facts = [
                    .init("bits", .text(BitmapTableEntry.allOnes.isSet(in: word) ? "all ones" : "all zeros"))
                ]
            } else {
                entry.facts = [.init("host", .offset(place))]
                entry.fault = placeFault(place, header)
            }
            try entries.add(entry, isEmpty: word == 0)
            if entries.isExhausted { entries.omit(table.count - index - 1) }
            return !entries.isExhausted
        }
        try entries.finish()
        lister = entries
    }
}
