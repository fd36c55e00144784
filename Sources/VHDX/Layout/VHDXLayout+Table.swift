import BlockImage
import ByteFormat

extension VHDXLayout {
    /// Lists the entries of the block allocation table in `region`; where `metadata` is not known, how many there are.
    func listTable(
        _ region: Region, _ metadata: DiskMetadata?, to consumer: any LayoutConsumer, _ options: LayoutOptions
    ) throws(ImageError) {
        try consumer.structure(LayoutStructure("BAT", at: HostOffset(region.offset), size: UInt64(region.length))) {
            () throws(ImageError) in
            guard let geometry = metadata?.geometry else {
                return try consumer.fault("cannot be shown without the block size and the size of the disk")
            }
            try consumer.note(
                "\(counted(geometry.blockCount, "block")) of \(humanSize(geometry.blockSize)), "
                    + "\(geometry.chunkRatio) for each sector bitmap block")
            let held = source.size > region.offset ? min(UInt64(region.length), source.size - region.offset) / 8 : 0
            if held < geometry.entryCount {
                try consumer.fault("of its \(geometry.entryCount) entries only \(held) lie in the file")
            }
            var lister = LayoutEntryLister(consumer, "BAT entries", limit: options.entryLimit)
            do throws(ImageError) {
                try visitTable(region, count: min(held, geometry.entryCount)) {
                    (index, word, count) throws(ImageError) in
                    var entry = entry(BlockEntry(rawValue: word), index, geometry, region)
                    entry.count = count
                    try lister.add(entry, isEmpty: false)
                    guard lister.isExhausted else { return true }
                    lister.omit(geometry.entryCount - index - count)
                    return false
                }
            } catch {
                guard error.subject == .file(file.path) else { throw error }
                try consumer.fault(error.detail)
            }
            try lister.finish()
        }
    }

    /// Hands over the first `count` entries of the table in `region` with their indices; runs of equal ones without a block as
    /// one, with how many they are. Ends where `body` answers false.
    func visitTable(
        _ region: Region, count: UInt64, _ body: (UInt64, UInt64, UInt64) throws(ImageError) -> Bool
    ) throws(ImageError) {
        var first: UInt64 = 0
        while first < count {
            let offset = HostOffset(region.offset).advanced(by: first * 8)
            let run = source.run(at: offset, limit: (count - first) * 8)
            if run.isHole, run.count >= 8 {
                guard try body(first, 0, run.count / 8) else { return }
                first += run.count / 8
                continue
            }
            let bytes = try source.bytes(Int(min((count - first) * 8, 1 << 16)), at: offset, of: "BAT")
            // Safe: integers have no bytes that are not set.
            let words = unsafe decodeTable(bytes.span.bytes, of: UInt64.self, .little)
            var place = 0
            while place < words.count {
                let word = words[place]
                var end = place + 1
                if !BlockEntry(rawValue: word).hasPlace {
                    while end < words.count, words[end] == word { end += 1 }
                }
                guard try body(first + UInt64(place), word, UInt64(end - place)) else { return }
                place = end
            }
            first += UInt64(words.count)
        }
    }

    private func entry(_ entry: BlockEntry, _ index: UInt64, _ geometry: BlockGeometry, _ region: Region) -> LayoutEntry
    {
        let (chunk, place) = geometry.place(ofEntry: index)
        let isBitmap = place == geometry.chunkRatio
        let block = chunk * geometry.chunkRatio + place
        let start = (isBitmap ? chunk * geometry.chunkRatio : block) * geometry.blockSize
        let count = isBitmap ? geometry.chunkRatio * geometry.blockSize : geometry.blockSize
        var shown = LayoutEntry(
            index, at: HostOffset(region.offset).advanced(by: index * 8), raw: [entry.rawValue],
            facts: [.init("guest", .range(start, count))])
        let isThere: Bool
        if isBitmap {
            isThere = entry.isBitmapPresent ?? false
            shown.facts.append(.init("kind", .text(isThere ? "sector bitmap" : "no sector bitmap")))
            if entry.isBitmapPresent == nil {
                shown.fault = "has the state \(entry.stateNumber), but that of a sector bitmap must be 0 or 6"
            }
        } else {
            isThere = entry.block == .present || entry.block == .partial
            shown.facts.append(.init("kind", .text(entry.blockStateName)))
            if entry.block == .invalid { shown.fault = "has the state \(entry.stateNumber), which has no meaning" }
            if entry.block == .partial, !geometry.hasParent {
                shown.fault = "says that a parent has sectors of its block, but the disk has none"
            }
        }
        guard isThere else { return shown }
        shown.facts.append(.init("host", .offset(entry.blockOffset)))
        if entry.blockOffset < mebibyte || entry.blockOffset >= source.size {
            shown.fault = "leads to \(HostOffset(entry.blockOffset)), but the file ends at \(HostOffset(source.size))"
        }
        return shown
    }

    /// Tells `recorder` what every part of the file is used for. Damage is passed over: `list` reports it.
    public func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        func record(_ use: HostUse, _ offset: UInt64, _ count: UInt64) {
            recorder.record(use, at: HostOffset(offset), count: count) { _, _ in false }
        }
        record(.header, 0, mebibyte)
        if let header, header.logLength > 0 { record(.bookkeeping, header.logOffset, UInt64(header.logLength)) }
        let regions = regions
        for region in regions?.regions ?? [] {
            let use: HostUse =
                switch region.id {
                case KnownIdentifier.tableRegion: .blockTable
                case KnownIdentifier.metadataRegion: .descriptor
                default: .bookkeeping
                }
            record(use, region.offset, UInt64(region.length))
        }
        guard let table = regions?[KnownIdentifier.tableRegion],
            let geometry = regions?[KnownIdentifier.metadataRegion].flatMap({ metadata(in: $0) })?.geometry
        else { return }
        let held = source.size > table.offset ? (source.size - table.offset) / 8 : 0
        do throws(ImageError) {
            try recordBlocks(table, geometry, count: min(held, geometry.entryCount), in: recorder)
        } catch {
            recorder.note("\(error)")
        }
    }

    /// Records what the first `count` entries of `table` lead to, in bytes at most twice what the file has, and a bit: a hostile table can
    /// name one block again and again.
    private func recordBlocks(
        _ table: Region, _ geometry: BlockGeometry, count: UInt64, in recorder: any HostUseRecorder
    ) throws(ImageError) {
        var budget = min(file.size, .max >> 2) * 2 + (512 << 20)
        var isComplete = true
        try visitTable(table, count: count) { (index, word, _) throws(ImageError) in
            let entry = BlockEntry(rawValue: word)
            let (chunk, place) = geometry.place(ofEntry: index)
            let isBitmap = place == geometry.chunkRatio
            let isThere = isBitmap ? entry.isBitmapPresent == true : entry.block == .present || entry.block == .partial
            guard isThere, entry.blockOffset < file.size else { return true }
            let size = isBitmap ? mebibyte : geometry.blockSize
            let held = min(size, file.size - entry.blockOffset)
            guard budget >= held else {
                isComplete = false
                return false
            }
            budget -= held
            let use: HostUse = isBitmap ? .bitmaps : .data
            recorder.record(use, at: HostOffset(entry.blockOffset), count: held) { _, _ in false }
            if !isBitmap {
                let block = chunk * geometry.chunkRatio + place
                recorder.record(
                    StoredRange(
                        .data, at: HostOffset(entry.blockOffset), count: held, start: block * geometry.blockSize,
                        covered: geometry.blockSize))
            }
            return true
        }
        if !isComplete { recorder.note("so many entries name the same blocks that not all were looked at") }
    }
}
