import BlockImage
import ByteFormat

/// A VDI file's own part of its disk: the block map says which block of the file a block of the disk is. Immutable; every
/// method may be called from any thread.
public final class VDILayer: ImageLayer {
    /// What the file says of itself.
    let header: Header
    /// Where the block map is: the entries that the disk needs.
    let map: TableLocation
    let resources: LayerResources
    private let file: any HostFile
    private let blockSize: UInt64

    /// The disk in `file`, whose `header` was checked.
    init(_ header: Header, file: any HostFile, resources: LayerResources) {
        self.header = header
        self.file = file
        self.resources = resources
        blockSize = UInt64(header.blockSize)
        map = TableLocation(
            file: file, offset: HostOffset(UInt64(header.mapOffset)), count: Int(header.neededCount), entrySize: 4,
            name: "block map"
        ) { decodeTable($0, of: UInt32.self, .little) }
    }

    deinit {
        resources.tables.removeTables(of: file.id)
    }

    /// The size of the disk in bytes.
    public var virtualSize: UInt64 { header.virtualSize }
    /// The file.
    public var files: [any HostFile] { [file] }
    /// Its size.
    public var hostSize: UInt64 { file.size }
    /// A block.
    public var granuleSize: UInt64 { blockSize }

    /// What the block map says, for as many blocks as are stored alike, one behind the other.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let limit = min(limit, virtualSize - start.rawValue)
        let index = Int(start.rawValue / blockSize)
        let within = start.rawValue % blockSize
        let (page, first) = try resources.tables.page(of: map, at: index, counters: resources.counters)
        let entries = page.entries
        let entry = entries[first]
        let isData = entry < Header.zero
        // Blocks with extra bytes between them do not lie one behind the other.
        let step: UInt64 = isData ? 1 : 0
        var next = first + 1
        while next < entries.count, UInt64(next - first) * blockSize - within < limit,
            isData ? header.extraSize == 0 && entries[next] < Header.zero : true,
            entries[next] == entry + step * UInt64(next - first)
        {
            next += 1
        }
        let count = min(limit, UInt64(next - first) * blockSize - within)
        guard isData else {
            let isBelow = entry == Header.free && header.kind?.hasParent == true
            return Extent(start: start, count: count, storage: isBelow ? .unallocated : .zero(explicit: true))
        }
        let place = header.offset(ofBlock: entry) + within
        guard place < file.size else { throw outOfFile(index, header.offset(ofBlock: entry)) }
        return Extent(
            start: start, count: min(count, file.size - place), storage: .data(file: file, offset: HostOffset(place)))
    }

    private func outOfFile(_ index: Int, _ place: UInt64) -> ImageError {
        ImageError(
            .truncated, path: file.path, offset: map.offset.advanced(by: UInt64(index) * 4),
            "block map, entry \(index): its block is at \(HostOffset(place)), and must lie in the file, but that ends at "
                + "\(HostOffset(file.size))")
    }

    /// The rest of the block, and those behind it that lie past the end of the file as well.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let index = Int(start.rawValue / blockSize)
        let within = start.rawValue % blockSize
        guard let found = try? resources.tables.page(of: map, at: index, counters: resources.counters) else {
            let isCut = map.offset.rawValue + UInt64(index) * 4 >= file.size
            return isCut ? limit : min(limit, blockSize - within)
        }
        let entries = found.page.entries[found.index...]
        let behind = entries.prefix { $0 < Header.zero && header.offset(ofBlock: $0) + blockSize > file.size }
        return min(limit, UInt64(max(behind.count, 1)) * blockSize - within)
    }
}
