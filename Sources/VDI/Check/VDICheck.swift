import BlockImage
import ByteFormat

/// A check of a VDI's block map against its file and itself, while it runs. Reads no data of the disk.
struct VDICheck {
    private let file: any HostFile
    private let disk: VDILayer
    private let header: Header
    private(set) var result = CheckResult()
    /// The first byte behind all blocks.
    private var end: UInt64 = 0

    init(_ disk: VDILayer, file: any HostFile) {
        self.disk = disk
        self.file = file
        header = disk.header
    }

    /// Checks everything. Throws what reading the file throws.
    mutating func run(progress: (Double) -> Void) throws(ImageError) {
        result.totalClusters = header.neededCount
        let structures = [
            BlockPlaces.Place("header", at: 0, count: UInt64(Header.start) + UInt64(header.headerSize)),
            BlockPlaces.Place("block map", at: UInt64(header.mapOffset), count: UInt64(header.blockCount) * 4),
        ]
        let size = UInt64(header.blockSize) + UInt64(header.extraSize)
        var places = BlockPlaces(blockSize: size, besides: structures)
        var isFirst = true
        repeat {
            try walk(&places, isFirst: isFirst, progress: progress)
            isFirst = false
        } while !finish(&places)
        countBlocks()
        progress(1)
    }

    private mutating func walk(
        _ places: inout BlockPlaces, isFirst: Bool, progress: (Double) -> Void
    ) throws(ImageError) {
        var index = 0
        var expected: UInt64?
        while index < disk.map.count {
            progress(Double(index) / Double(disk.map.count))
            try ReadScope.checkWanted()
            let entries: [UInt64]
            do throws(ImageError) {
                entries = try disk.resources.tables.page(of: disk.map, at: index, counters: ReadCounters()).page.entries
            } catch {
                guard error.code == .truncated else { throw error }
                if isFirst {
                    result.add(
                        CheckFinding(
                            .outOfFile, .corruption, path: file.path, at: error.offset ?? disk.map.offset, error.detail)
                    )
                }
                return
            }
            for (place, entry) in entries.enumerated() where entry < Header.zero {
                let start = header.offset(ofBlock: entry)
                if isFirst {
                    result.allocatedClusters += 1
                    if let expected, expected != entry { result.fragmentedClusters += 1 }
                    judge(index + place, start)
                }
                expected = entry + 1
                if start < file.size { places.add(UInt64(index + place), at: start - UInt64(header.extraSize)) }
            }
            index += entries.count
        }
    }

    private mutating func judge(_ index: Int, _ start: UInt64) {
        let guest = GuestOffset(UInt64(index) * UInt64(header.blockSize))
        let used = min(UInt64(header.blockSize), header.virtualSize - guest.rawValue)
        end = max(end, start + UInt64(header.blockSize))
        guard start >= file.size || used > file.size - start else { return }
        let place = disk.map.offset.advanced(by: UInt64(index) * 4)
        let (path, size) = (file.path, file.size)
        result.add(.outOfFile, .corruption, in: UInt64(index / TableCache.pageEntries), at: place) {
            CheckFinding(
                .outOfFile, .corruption, path: path, at: place, guest: guest,
                "block map, entry \(index): its block is at \(HostOffset(start)), but the file ends at \(HostOffset(size))"
            )
        }
    }

    private mutating func finish(_ places: inout BlockPlaces) -> Bool {
        var found: [(BlockPlaces.Place, BlockPlaces.Place)] = []
        var more: UInt64 = 0
        let isLast = places.finishPass { place, other in
            if found.count < CheckResult.findingLimit { found.append((place, other)) } else { more += 1 }
        }
        for (place, other) in found {
            let guest = place.index.map { GuestOffset($0 * UInt64(header.blockSize)) }
            result.add(
                CheckFinding(
                    .overlap, .corruption, path: file.path, at: HostOffset(place.start), guest: guest,
                    "\(place.text): begins at \(HostOffset(place.start)), inside \(other.text), which ends at \(HostOffset(other.end))"
                ))
        }
        if more > 0 {
            result.add(CheckFinding(.overlap, .corruption, path: file.path, times: more, "more that overlaps"))
        }
        return isLast
    }

    /// Compares how many blocks the header says that the file has, and how many it has, with those that the map names.
    private mutating func countBlocks() {
        let named = result.allocatedClusters
        if UInt64(header.allocatedCount) != named {
            result.add(
                CheckFinding(
                    .entry, .corruption, path: file.path, at: HostOffset(388),
                    "header: has \(header.allocatedCount) allocated blocks, but the block map names \(named)"))
        }
        result.imageEndOffset = end
        let size = UInt64(header.blockSize) + UInt64(header.extraSize)
        let held = file.size > UInt64(header.dataOffset) ? (file.size - UInt64(header.dataOffset)) / size : 0
        guard held > named else { return }
        result.add(
            CheckFinding(
                .leak, .leak, path: file.path, times: held - named,
                "\(counted(held - named, "block")) of the file that the block map does not name"))
    }
}
