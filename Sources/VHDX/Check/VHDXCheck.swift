import BlockImage
import ByteFormat

/// A check of the structures of a VHDX image against each other, while it runs. Reads no data of the disk.
struct VHDXCheck {
    /// The most MiB of a file whose use is recorded: 256 TiB, which take 32 MiB of memory.
    static let unitLimit: UInt64 = 1 << 28

    let layer: VHDXLayer
    private var result = CheckResult()
    /// A bit for each MiB of the file: whether something uses it. All that has a place begins and ends at whole MiB.
    private var used: [UInt64] = []
    /// The parts of the file that have a name.
    private var areas: [(name: String, range: Range<UInt64>)] = []

    init(_ layer: VHDXLayer) {
        self.layer = layer
    }

    private var description: VHDXDescription { layer.description }
    private var geometry: BlockGeometry { layer.geometry }
    private var path: String { description.file.path }
    /// How long the file is, once its log was replayed.
    private var fileSize: UInt64 { description.source.size }

    /// Checks everything; `progress` gets the part that is done. Throws `unsupported` for a file that is too large, and what reading it
    /// throws.
    mutating func run(progress: (Double) -> Void) throws(ImageError) -> CheckResult {
        let units = fileSize / mebibyte + 1
        guard units <= Self.unitLimit else {
            throw ImageError(
                .unsupported, path: path, "has \(fileSize) bytes, and files of at most 256 TiB can be checked")
        }
        used = Array(repeating: 0, count: Int(units / 64 + 1))
        try checkCopies()
        checkAreas()
        try walkTable(progress)
        for note in description.notes {
            result.add(CheckFinding(.flag, .warning, path: path, note))
        }
        progress(1)
        return result
    }

    // MARK: What there is twice, and areas

    /// Compares the two region tables. A header that is not valid is no fault: a writer may have ended while it wrote it, and the note about
    /// it is reported anyway.
    private mutating func checkCopies() throws(ImageError) {
        var tables: [RegionTable] = []
        for offset in RegionTable.offsets {
            do throws(ImageError) {
                tables.append(try VHDXDescription.regionTable(at: offset, of: description.source))
            } catch {
                if case .system = error.code { throw error }
                result.add(CheckFinding(.redundancy, .corruption, path: path, at: error.offset, error.detail))
            }
        }
        guard tables.count == 2, tables[0] != tables[1] else { return }
        result.add(
            CheckFinding(
                .redundancy, .corruption, path: path, at: HostOffset(RegionTable.offsets[1]),
                "region table 2: says something else than region table 1"))
    }

    /// Records the header area, the log and the regions.
    private mutating func checkAreas() {
        add(area: "the header area", 0..<mebibyte)
        let header = description.header
        if header.logLength > 0 { add(area: "the log", header.logOffset..<header.logOffset + UInt64(header.logLength)) }
        for region in description.regions.regions {
            add(area: "the region \(region.name)", region.offset..<region.end)
        }
    }

    private mutating func add(area name: String, _ range: Range<UInt64>) {
        if range.upperBound > fileSize, name != "the header area" {
            result.add(
                CheckFinding(
                    .outOfFile, .corruption, path: path, at: HostOffset(range.lowerBound),
                    "\(name): ends at \(HostOffset(range.upperBound)), but the file at \(HostOffset(fileSize))"))
        }
        if let other = areas.first(where: { $0.range.overlaps(range) }) {
            result.add(
                CheckFinding(
                    .overlap, .corruption, path: path, at: HostOffset(range.lowerBound),
                    "\(name): begins at \(HostOffset(range.lowerBound)), and overlaps \(other.name)"))
        }
        _ = record(range)
        areas.append((name, range))
    }

    /// Records that `range`, of whole MiB, is used, as far as the file goes; answers the first place that was used before.
    private mutating func record(_ range: Range<UInt64>) -> UInt64? {
        var earlier: UInt64?
        guard range.lowerBound < fileSize else { return nil }
        let units = range.lowerBound / mebibyte..<min(range.upperBound, fileSize + mebibyte - 1) / mebibyte
        for unit in units {
            let (word, bit) = (Int(unit / 64), UInt64(1) << (unit % 64))
            if used[word] & bit != 0, earlier == nil { earlier = unit * mebibyte }
            used[word] |= bit
        }
        return earlier
    }

    // MARK: The block allocation table

    private mutating func walkTable(_ progress: (Double) -> Void) throws(ImageError) {
        let count = geometry.entryCount
        let table = HostOffset(description.blockTable.offset)
        let source = description.source
        var first: UInt64 = 0
        while first < count {
            progress(Double(first) / Double(count))
            try ReadScope.checkWanted()
            let offset = table.advanced(by: first * 8)
            // Of a hole, all entries are 0, which nothing is wrong with.
            let run = source.run(at: offset, limit: (count - first) * 8)
            if run.isHole, run.count >= 8, offset.rawValue < source.size {
                first += run.count / 8
                continue
            }
            let size = min((count - first) * 8, 1 << 16)
            let bytes = try source.bytes(Int(size), at: offset, of: "BAT")
            // Safe: integers have no bytes that are not set.
            let entries = unsafe decodeTable(bytes.span.bytes, of: UInt64.self, .little)
            for (index, entry) in entries.enumerated() { try judge(BlockEntry(rawValue: entry), first + UInt64(index)) }
            first += UInt64(entries.count)
        }
    }

    private mutating func judge(_ entry: BlockEntry, _ index: UInt64) throws(ImageError) {
        let (chunk, place) = geometry.place(ofEntry: index)
        if place == geometry.chunkRatio { return judge(bitmap: entry, index, chunk) }
        let block = chunk * geometry.chunkRatio + place
        guard block < geometry.blockCount else { return }
        let guest = GuestOffset(block * geometry.blockSize)
        if entry.hasReservedBits {
            let word = hexadecimal(entry.rawValue)
            add(.reservedBits, index, guest, "bits 3 to 19 are set (\(word)), but must be 0")
        }
        switch entry.block {
        case .notPresent, .zeros: return
        case .invalid: return add(.entry, index, guest, "has the state \(entry.stateNumber), which has no meaning")
        case .partial where !geometry.hasParent:
            return add(.entry, index, guest, "says that a parent has sectors of its block, but the disk has none")
        case .present, .partial: break
        }
        // The last block need not be whole where the disk ends in it.
        let needed = min(geometry.blockSize, geometry.virtualSize - guest.rawValue)
        judge(placeOf: entry, index, guest, needed: needed, size: geometry.blockSize, "its block")
        if entry.block == .partial { try checkBitmap(of: chunk, index, guest) }
    }

    private mutating func judge(bitmap entry: BlockEntry, _ index: UInt64, _ chunk: UInt64) {
        let guest = GuestOffset(chunk * geometry.chunkRatio * geometry.blockSize)
        switch entry.isBitmapPresent {
        case nil:
            add(.entry, index, guest, "has the state \(entry.stateNumber), but that of a sector bitmap must be 0 or 6")
        case false?: break
        case true? where !geometry.hasParent:
            add(.entry, index, guest, "has a sector bitmap, but the disk has no parent", .warning)
        case true?:
            judge(placeOf: entry, index, guest, needed: mebibyte, size: mebibyte, "its sector bitmap")
        }
    }

    /// Whether the `size` bytes that `entry` leads to, of which the first `needed` must be there, lie in the file, where nothing else does.
    private mutating func judge(
        placeOf entry: BlockEntry, _ index: UInt64, _ guest: GuestOffset, needed: UInt64, size: UInt64, _ what: String
    ) {
        let start = entry.blockOffset
        guard start <= offsetLimit, start < fileSize, needed <= fileSize - start else {
            let end = HostOffset(fileSize)
            return add(
                .outOfFile, index, guest,
                "\(what) of \(needed) bytes at \(HostOffset(start)) must lie in the file, which ends at \(end)")
        }
        let range = start..<start + size
        let earlier = record(range)
        if let area = areas.first(where: { $0.range.overlaps(range) }) {
            add(.overlap, index, guest, "\(what) at \(HostOffset(start)) overlaps \(area.name)")
        } else if let earlier {
            add(
                .overlap, index, guest,
                "\(what) at \(HostOffset(start)) overlaps, at \(HostOffset(earlier)), what an entry before leads to")
        }
    }

    /// Whether the chunk of a partially present block has a sector bitmap.
    private mutating func checkBitmap(of chunk: UInt64, _ index: UInt64, _ guest: GuestOffset) throws(ImageError) {
        let place = HostOffset(description.blockTable.offset)
            .advanced(by: geometry.entryIndex(ofBitmapOf: chunk) * 8)
        let bytes = try description.source.bytes(8, at: place, of: "BAT")
        let entry = BlockEntry(rawValue: bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) })
        guard entry.isBitmapPresent != true else { return }
        add(.entry, index, guest, "is partially present, but its chunk \(chunk) has no sector bitmap")
    }

    private mutating func add(
        _ kind: CheckFinding.Kind, _ index: UInt64, _ guest: GuestOffset, _ fault: @autoclosure () -> ErrorText,
        _ severity: CheckFinding.Severity = .corruption
    ) {
        let place = HostOffset(description.blockTable.offset).advanced(by: index * 8)
        let path = path
        result.add(kind, severity, in: description.blockTable.offset, at: place) {
            CheckFinding(
                kind, severity, path: path, at: place, guest: guest,
                "BAT entry \(index) (guest offset \(guest)): \(fault())")
        }
    }
}
