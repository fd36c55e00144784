import BlockImage
import ByteFormat
import Compression
import FormatCore

/// A table of where chunks lie: the specification's "Table section".
///
///     OFFSET SIZE FIELD
///          0    4 number of entries
///          8    8 what offsets are counted from; 0: the start of the file (0 in older forms, too)
///         20    4 Adler-32 of the bytes before
///         24    4 for each entry: bits 0-30 the offset of a chunk, bit 31: it is compressed
///               4 Adler-32 of the entries (not in the form of SMART, whose chunks follow here)
///
/// A chunk ends where the next one begins, and the last one where the section does that has the chunks. A chunk that is not
/// compressed has its own Adler-32 after it.
struct ChunkTable: Sendable {
    /// The bytes before the entries.
    static let headerLength: UInt64 = 24
    static let compressed: UInt64 = 1 << 31

    /// A place where the entries stand.
    struct Place: Hashable, Sendable {
        /// The section: "table" or "table2".
        var section: Section
        /// What offsets are counted from.
        var base: UInt64
        /// Whether a check sum of the entries follows them.
        var hasChecksum: Bool
    }

    /// The segment that has the table and its chunks.
    var file: any HostFile
    /// The first chunk that it is for.
    var firstChunk: UInt64
    /// How many.
    var count: Int
    /// Where the entries stand.
    var place: Place
    /// Where they stand once more; nil where they do not.
    var copy: Place?
    /// Where the last chunk ends.
    var end: UInt64

    /// Reads the header of the table in `section` of `file`. Throws `corrupt` where it contradicts the section.
    static func header(_ section: Section, in file: any HostFile) throws(ImageError) -> (place: Place, count: Int) {
        let bytes = try file.bytes(
            Int(min(section.dataSize, headerLength)), at: section.dataOffset, of: "section \"\(section.type)\"")
        do throws(ParseFault) {
            var reader = ByteReader(bytes)
            let count: UInt32 = try reader.read(.little)
            try reader.skip(4)
            let base: UInt64 = try reader.read(.little)
            try reader.skip(4)
            let stored: UInt32 = try reader.read(.little)
            let found = Adler32.value(of: Array(bytes.prefix(20)))
            guard stored == found else {
                throw ParseFault(
                    at: 20, "check sum is \(hexadecimal(stored)), but that of the header is \(hexadecimal(found))")
            }
            let size = headerLength + UInt64(count) * 4
            guard size <= section.dataSize else {
                throw ParseFault(at: 0, "has \(count) entries, more than fit into the section")
            }
            guard base <= UInt64(Int64.max) else {
                throw ParseFault(at: 8, "counts offsets from \(HostOffset(base)), where no file reaches")
            }
            // Behind the entries of SMART's form come chunks, which are longer.
            let hasChecksum = section.dataSize - size >= 4 && section.dataSize - size < 16
            return (Place(section: section, base: base, hasChecksum: hasChecksum), Int(count))
        } catch {
            throw ImageError(error, in: file, at: section.dataOffset, of: "section \"\(section.type)\"")
        }
    }

    /// The entries as they stand at `place`.
    func location(_ place: Place) -> TableLocation {
        TableLocation(
            file: file, offset: place.section.dataOffset.advanced(by: Self.headerLength), count: count, entrySize: 4,
            name: "chunk table"
        ) { bytes in decodeTable(bytes, of: UInt32.self, .little) }
    }

    /// What is wrong with the entries at `place` by their check sum; nil where nothing is, or there is none.
    func checksumFault(at place: Place) throws(ImageError) -> ImageError? {
        guard place.hasChecksum else { return nil }
        let step = 1 << 20
        let buffer = AlignedBuffer(capacity: step, alignment: 64)
        var sum: UInt32 = 1
        var offset = place.section.dataOffset.advanced(by: Self.headerLength)
        var left = count * 4
        while left > 0 {
            let size = min(left, step)
            try buffer.fill(size) { output throws(ImageError) in try file.read(size, at: offset, into: &output) }
            sum = Adler32.value(of: buffer.bytes, after: sum)
            offset = offset.advanced(by: UInt64(size))
            left -= size
        }
        let bytes = try file.bytes(4, at: offset, of: "check sum of a chunk table")
        let stored = bytes.reversed().reduce(0 as UInt32) { $0 << 8 | UInt32($1) }
        guard stored != sum else { return nil }
        return ImageError(
            .corrupt, path: file.path, offset: offset,
            "section \"\(place.section.type)\": check sum is \(hexadecimal(stored)), but that of the entries is \(hexadecimal(sum))"
        )
    }
}

/// A chunk of the disk as it lies in a segment.
struct Chunk: Sendable {
    /// Which it is.
    var number: UInt64
    var file: any HostFile
    var offset: HostOffset
    /// The bytes of it in the file, check sum included.
    var count: UInt64
    var isCompressed: Bool
}

/// Where all chunks of a disk lie. Every method may be called from any thread.
final class ChunkMap: Sendable {
    /// The tables, in the order of the disk.
    let tables: [ChunkTable]
    /// How many chunks the tables have together.
    let chunkCount: UInt64
    let chunkSize: UInt64
    /// What came up while chunks were read.
    let findings = ReadFindings()
    private let resources: LayerResources
    /// Of each table whose check sums were compared, the place whose entries hold, or why none does.
    private let checked = Guarded<[Int: Result<ChunkTable.Place, ImageError>]>([:])

    init(_ tables: [ChunkTable], chunkSize: UInt64, resources: LayerResources) {
        self.tables = tables
        self.chunkSize = chunkSize
        self.resources = resources
        chunkCount = tables.last.map { $0.firstChunk + UInt64($0.count) } ?? 0
    }

    /// The chunk `number`, which must be one of those that there are. Throws what is wrong with its table or its entry.
    func chunk(_ number: UInt64) throws(ImageError) -> Chunk {
        let index = tableIndex(of: number)
        let table = tables[index]
        let place = try self.place(of: index)
        let location = table.location(place)
        let entry = Int(number - table.firstChunk)
        let stored = try self.entry(entry, of: location)
        let first = entry == 0 ? stored : try self.entry(0, of: location)
        // Some writers go on past 2 GiB, where the bit of compression becomes one of the offset.
        func isWide(_ other: UInt64) -> Bool { other & ~ChunkTable.compressed < first & ~ChunkTable.compressed }
        func offset(_ other: UInt64) -> UInt64 { isWide(other) ? other : other & ~ChunkTable.compressed }
        let start = place.base + offset(stored)
        let end = entry + 1 < table.count ? place.base + offset(try self.entry(entry + 1, of: location)) : table.end
        let most = chunkSize + chunkSize / 8 + 4096
        guard end > start, end - start <= most, end <= table.file.size else {
            throw ImageError(
                .corrupt, path: table.file.path, offset: location.offset.advanced(by: UInt64(entry) * 4),
                "chunk table: chunk \(number) lies from \(HostOffset(start)) to \(HostOffset(end)), but must have 1 to \(most) "
                    + "bytes in the file, which ends at \(HostOffset(table.file.size))")
        }
        return Chunk(
            number: number, file: table.file, offset: HostOffset(start), count: end - start,
            isCompressed: !isWide(stored) && stored & ChunkTable.compressed != 0)
    }

    private func entry(_ index: Int, of table: TableLocation) throws(ImageError) -> UInt64 {
        let (page, place) = try resources.tables.page(of: table, at: index, counters: resources.counters)
        return page.entries[place]
    }

    /// Which table has the chunk `number`: the last that begins at it or before.
    private func tableIndex(of number: UInt64) -> Int {
        var (low, high) = (0, tables.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if tables[middle].firstChunk <= number { low = middle } else { high = middle }
        }
        return low
    }

    /// Where the entries of the table `index` are read: the first place whose check sum fits.
    private func place(of index: Int) throws(ImageError) -> ChunkTable.Place {
        if let known = checked.withLock({ $0[index] }) { return try known.get() }
        let table = tables[index]
        var result: Result<ChunkTable.Place, ImageError> = .success(table.place)
        if let fault = try table.checksumFault(at: table.place) {
            if let copy = table.copy, try table.checksumFault(at: copy) == nil {
                findings.add("\(fault): its copy is read")
                result = .success(copy)
            } else {
                result = .failure(fault)
            }
        }
        checked.withLock { $0[index] = result }
        return try result.get()
    }
}
