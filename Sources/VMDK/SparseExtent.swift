import BlockImage
import ByteFormat

/// What an entry of a grain table says about its grain.
enum GrainMapping: Equatable {
    /// Nothing is stored: the parent decides, and without one it is zeros.
    case unallocated
    /// The grain is zeros, whatever the parent has.
    case zeroed
    /// The grain lies at this sector of the file.
    case allocated(sector: UInt64)
    /// The entry is 1, the second sector of the file, where no grain can lie.
    case invalid

    /// The meaning of `entry` in a file whose flags say whether 1 stands for zeros.
    init(_ entry: UInt64, hasZeroedGrains: Bool) {
        switch entry {
        case 0: self = .unallocated
        case 1: self = hasZeroedGrains ? .zeroed : .invalid
        default: self = .allocated(sector: entry)
        }
    }
}

/// A file that holds an extent in grains: a grain directory leads to grain tables, and these to the grains.
///
/// Every table lies where the file says, so that each place is checked against the file's end before it is used.
struct SparseExtent: Sendable {
    /// The file.
    let file: any HostFile
    /// The size of the extent in bytes, at most 2^63 - 512.
    let capacity: UInt64
    /// The size of a grain in bytes, at most 2^30.
    let grainSize: UInt64
    /// What was found when it was opened, and does not keep it from being read.
    let notes: [String]
    private let directory: TableLocation
    private let tableEntryCount: Int
    private let hasZeroedGrains: Bool
    private let resources: LayerResources

    /// The bytes of the disk that one grain table covers, at most 2^42.
    private var tableCoverage: UInt64 { grainSize * UInt64(tableEntryCount) }

    /// The extent that the file holds whose header is `header`.
    ///
    /// Throws `corrupt` for a geometry that cannot be and `truncated` when the file ends before its metadata does.
    init(_ header: SparseHeader, file: any HostFile, resources: LayerResources) throws(ImageError) {
        do throws(ParseFault) { try header.checkGeometry() } catch { throw file.corrupt(error) }
        guard header.overhead <= file.sectorCount else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(64),
                "overHead: \(header.overhead) sectors of metadata, but the file has only \(file.size) bytes")
        }
        let count = Int(header.directoryEntryCount)
        let place = try Self.directoryPlace(header, entryCount: count, file: file)
        self.file = file
        self.resources = resources
        capacity = header.capacity * sectorSize
        grainSize = header.grainSize * sectorSize
        tableEntryCount = Int(header.grainTableEntryCount)
        hasZeroedGrains = header.hasZeroedGrains
        directory = Self.table(in: file, sector: place.sector, count: count, name: "grain directory")
        notes =
            (place.note.map { [$0] } ?? [])
            + (header.uncleanShutdown ? ["\(file.path): its last writer did not close it (uncleanShutdown)"] : [])
    }

    /// The sector of the grain directory, or of the redundant one when the first does not lie in the file.
    private static func directoryPlace(
        _ header: SparseHeader, entryCount: Int, file: any HostFile
    ) throws(ImageError) -> (sector: UInt64, note: String?) {
        func fits(_ sector: UInt64) -> Bool {
            sector > 0 && sector <= sectorLimit
                && sector * sectorSize + UInt64(entryCount * tableEntrySize) <= file.size
        }
        // An extent of no sectors has no table, and what its header says of one is not looked at.
        if entryCount == 0 { return (0, nil) }
        if fits(header.directoryOffset) { return (header.directoryOffset, nil) }
        let problem =
            "gdOffset: a grain directory of \(entryCount) entries at sector \(header.directoryOffset) "
            + "does not lie in the file, which has \(file.size) bytes"
        guard header.hasRedundantDirectory, fits(header.redundantDirectoryOffset) else {
            throw ImageError(
                header.directoryOffset == 0 ? .corrupt : .truncated, path: file.path, offset: HostOffset(56), problem)
        }
        return (
            header.redundantDirectoryOffset,
            "\(file.path): \(problem); the redundant one at sector \(header.redundantDirectoryOffset) is read"
        )
    }

    /// How the extent is stored from its byte `offset` on: at least one byte, at most `limit`, which must both lie
    /// inside it.
    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> (count: UInt64, storage: Extent.Storage) {
        // At most 2^25 by the limit on the directory's entries.
        let directoryIndex = Int(offset / tableCoverage)
        let (tables, first) = try page(of: directory, at: directoryIndex)
        guard tables[first] != 0 else {
            let end = tables.index(after: first, within: directory.count - directoryIndex) { index, _ in
                tables[index] == 0 && UInt64(index - first) * tableCoverage < limit
            }
            // Not beyond the last table's end, which is less than 2^63 + 2^42.
            let covered = UInt64(directoryIndex + end - first) * tableCoverage - offset
            return (min(limit, covered), .unallocated)
        }
        let table = Self.table(in: file, sector: tables[first], count: tableEntryCount, name: "grain table")
        guard table.offset.rawValue + UInt64(tableEntryCount * Self.tableEntrySize) <= file.size else {
            throw ImageError(
                .truncated, path: file.path, offset: directory.offset(of: directoryIndex),
                "grain directory entry \(directoryIndex): points to a grain table at \(table.offset), "
                    + "which must lie in the file, but that ends at \(HostOffset(file.size))")
        }
        return try grainRun(at: offset, limit: limit, table: table, directoryIndex: directoryIndex)
    }

    /// The run of grains from `offset` of the extent on, which all stand in `table`.
    private func grainRun(
        at offset: UInt64, limit: UInt64, table: TableLocation, directoryIndex: Int
    ) throws(ImageError) -> (count: UInt64, storage: Extent.Storage) {
        let index = Int(offset % tableCoverage / grainSize)
        let skipped = offset % grainSize
        let (grains, first) = try page(of: table, at: index)
        func mapping(_ index: Int) -> GrainMapping { GrainMapping(grains[index], hasZeroedGrains: hasZeroedGrains) }
        /// The bytes of the grains from the first up to `end` that are asked for.
        func count(upTo end: Int) -> UInt64 { min(limit, UInt64(end - first) * grainSize - skipped) }
        func subject() -> String { "grain table \(directoryIndex), entry \(index)" }

        let start = mapping(first)
        switch start {
        case .invalid:
            throw ImageError(
                .corrupt, path: file.path, offset: table.offset(of: index),
                "\(subject()): is 1, which means zeros only where flags has bit 2, and no grain can lie there")
        case .unallocated, .zeroed:
            let end = grains.index(after: first, within: tableEntryCount - index) { next, covered in
                mapping(next) == start && covered * grainSize - skipped < limit
            }
            return (count(upTo: end), start == .zeroed ? .zero(explicit: true) : .unallocated)
        case .allocated(let sector):
            // An entry has 32 bits and a grain at most 2^21 sectors, so that no sum below leaves 2^43 sectors.
            let hostStart = sector * sectorSize
            guard hostStart < file.size else {
                throw ImageError(
                    .truncated, path: file.path, offset: table.offset(of: index),
                    "\(subject()): points to a grain at \(HostOffset(hostStart)), "
                        + "which must lie in the file, but that ends at \(HostOffset(file.size))")
            }
            let end = grains.index(after: first, within: tableEntryCount - index) { next, covered in
                let expected = sector + covered * (grainSize / sectorSize)
                return grains[next] == expected && expected * sectorSize < file.size
                    && covered * grainSize - skipped < limit
            }
            let host = hostStart + skipped
            // The last grain of a file may be cut short; the rest of it is zeros.
            guard host < file.size else { return (count(upTo: end), .zero(explicit: true)) }
            return (min(count(upTo: end), file.size - host), .data(file: file, offset: HostOffset(host)))
        }
    }
}

extension SparseExtent {
    /// The bytes of an entry of a grain directory or grain table: a sector number of 32 bits.
    private static let tableEntrySize = 4

    private static func table(in file: any HostFile, sector: UInt64, count: Int, name: String) -> TableLocation {
        // Sectors come from 32-bit entries, or were found to lie in the file.
        TableLocation(
            file: file, offset: HostOffset(sector * sectorSize), count: count, entrySize: tableEntrySize, name: name
        ) { decodeTable($0, of: UInt32.self, .little) }
    }

    /// The entries of the page that holds the entry `index` of `table`, and that entry's index in them.
    private func page(of table: TableLocation, at index: Int) throws(ImageError) -> ([UInt64], Int) {
        let found = try resources.tables.page(of: table, at: index, counters: resources.counters)
        return (found.page.entries, found.index)
    }
}

extension TableLocation {
    /// Where the entry `index` lies in the file.
    fileprivate func offset(of index: Int) -> HostOffset {
        offset.advanced(by: UInt64(index * entrySize))
    }
}

extension [UInt64] {
    /// The end of the run that begins at `first`: the first later index that does not belong to it, which `belongs`
    /// says of an index and of how many entries come before it in the run. At most `limit` entries are in the run.
    fileprivate func index(after first: Int, within limit: Int, belongs: (Int, UInt64) -> Bool) -> Int {
        let last = Swift.min(count, first + limit)
        var next = first + 1
        while next < last, belongs(next, UInt64(next - first)) { next += 1 }
        return next
    }
}
