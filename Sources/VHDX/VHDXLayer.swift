import BlockImage
import ByteFormat

/// A VHDX disk, or what a differencing one has of it, open for reading.
///
/// Immutable; every method may be called from any thread.
public final class VHDXLayer: ImageLayer {
    /// What the image says of itself.
    public let description: VHDXDescription
    let geometry: BlockGeometry
    /// The block allocation table.
    let table: TableLocation
    private let resources: LayerResources

    /// The size of the disk in bytes.
    public var virtualSize: UInt64 { geometry.virtualSize }
    /// The file.
    public var files: [any HostFile] { [description.file] }
    /// The size of the file.
    public var hostSize: UInt64 { description.file.size }
    /// A block; of a differencing disk, the sectors of one word of a sector bitmap.
    public var granuleSize: UInt64 { geometry.hasParent ? 64 * geometry.sectorSize : geometry.blockSize }
    /// The bytes of a sector of the disk, as the image says it.
    public var logicalSectorSize: Int? { Int(geometry.sectorSize) }

    /// The disk that `description` describes.
    init(_ description: VHDXDescription, resources: LayerResources) {
        self.description = description
        self.resources = resources
        geometry = description.metadata.geometry
        table = TableLocation(
            file: description.source, offset: HostOffset(description.blockTable.offset),
            count: Int(geometry.entryCount),
            entrySize: 8, name: "BAT", decode: { decodeTable($0, of: UInt64.self, .little) })
    }

    deinit {
        resources.tables.removeTables(of: description.source.id)
    }

    /// How the layer stores the disk from `start`, which lies inside it, on.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let block = start.rawValue / geometry.blockSize
        let index = Int(geometry.entryIndex(ofBlock: block))
        let (page, first) = try resources.tables.page(of: table, at: index, counters: resources.counters)
        let entry = BlockEntry(rawValue: page.entries[first])
        let skip = start.rawValue % geometry.blockSize
        let end = min(limit, virtualSize - start.rawValue)
        let count = min(end, geometry.blockSize - skip)
        if entry.block == .partial {
            return try partialExtent(entry, block, at: start, count: count)
        }
        let storage = try storage(of: entry, block, skip: skip, count: count)
        var extent = Extent(start: start, count: storage.count, storage: storage.storage)
        var place = first
        var next = block
        // What follows in the same way, as far as the page goes.
        while extent.count < end, (extent.count + skip) % geometry.blockSize == 0 {
            next += 1
            place += next % geometry.chunkRatio == 0 ? 2 : 1
            guard place < page.entries.count else { break }
            let follower = BlockEntry(rawValue: page.entries[place])
            guard follower.block == entry.block, entry.block != .invalid else { break }
            if entry.block == .present {
                guard
                    follower.blockOffset == entry.blockOffset.addingReportingOverflow(extent.count + skip).partialValue
                else { break }
            }
            let wanted = min(end - extent.count, geometry.blockSize)
            guard let more = try? self.storage(of: follower, next, skip: 0, count: wanted),
                more.isPlain == storage.isPlain
            else { break }
            extent.count += more.count
            if more.count < wanted { break }
        }
        return extent
    }

    /// How a run in one block is stored.
    private struct BlockStorage {
        var storage: Extent.Storage
        var count: UInt64
        /// Whether the file itself has it as it is, without what its log has.
        var isPlain = true
    }

    /// How the `count` bytes behind the first `skip` of `block` are stored, whose entry is `entry`, and is not partial: at
    /// least one of them.
    private func storage(
        of entry: BlockEntry, _ block: UInt64, skip: UInt64, count: UInt64
    ) throws(ImageError) -> BlockStorage {
        switch entry.block {
        case .notPresent: return BlockStorage(storage: .unallocated, count: count)
        case .zeros: return BlockStorage(storage: .zero(explicit: true), count: count)
        case .present: return try data(of: entry, block, skip: skip, count: count)
        case .partial, .invalid:
            throw fault(of: entry, block, "has the state \(entry.stateNumber), which has no meaning")
        }
    }

    /// The same of what lies in the file.
    private func data(
        of entry: BlockEntry, _ block: UInt64, skip: UInt64, count: UInt64
    ) throws(ImageError) -> BlockStorage {
        let (file, source) = (description.file, description.source)
        guard entry.blockOffset >= mebibyte, entry.blockOffset <= offsetLimit else {
            throw fault(of: entry, block, "has its block at \(HostOffset(entry.blockOffset)), where none can lie")
        }
        let offset = entry.blockOffset + skip
        guard offset < source.size else {
            throw fault(
                of: entry, block,
                "has its block at \(HostOffset(entry.blockOffset)), but the file ends at \(HostOffset(source.size))",
                .truncated)
        }
        let held = min(count, source.size - offset)
        let isPlain = description.log.map { !$0.changes(offset..<offset + held, of: file) } ?? true
        return BlockStorage(
            storage: .data(file: isPlain ? file : source, offset: HostOffset(offset)), count: held, isPlain: isPlain)
    }

    /// What is wrong with the entry of `block`.
    private func fault(
        of entry: BlockEntry, _ block: UInt64, _ message: ErrorText, _ code: ImageError.Code = .corrupt
    ) -> ImageError {
        let index = geometry.entryIndex(ofBlock: block)
        return ImageError(
            code, path: description.file.path, offset: table.offset.advanced(by: index * 8),
            "BAT entry \(index) for guest offset \(GuestOffset(block * geometry.blockSize)): \(message)")
    }
}

// MARK: Partially present blocks

extension VHDXLayer {
    /// How the `count` bytes from `start` on, which lie in `block`, are stored, of which some lie in the file: a set bit of the sector
    /// bitmap says that a sector does.
    private func partialExtent(
        _ entry: BlockEntry, _ block: UInt64, at start: GuestOffset, count: UInt64
    ) throws(ImageError) -> Extent {
        guard geometry.hasParent else {
            throw fault(of: entry, block, "says that a parent has sectors of its block, but the disk has none")
        }
        let bitmap = try bitmap(of: block / geometry.chunkRatio)
        let sectorSize = geometry.sectorSize
        let sector = start.rawValue / sectorSize
        let inSector = start.rawValue % sectorSize
        let sectors = (inSector + count + sectorSize - 1) / sectorSize
        let first = Int(sector % BlockGeometry.chunkSectors)
        let (page, word) = try resources.tables.page(of: bitmap, at: first / 64, counters: resources.counters)
        let isOwn = page.entries[word] >> UInt64(first % 64) & 1 == 1
        let alike = Self.alikeBits(page.entries, from: word * 64 + first % 64, isSet: isOwn, limit: sectors)
        let run = min(count, alike * sectorSize - inSector)
        guard isOwn else { return Extent(start: start, count: run, storage: .unallocated) }
        let found = try data(of: entry, block, skip: start.rawValue % geometry.blockSize, count: run)
        return Extent(start: start, count: found.count, storage: found.storage)
    }

    /// The sector bitmap of `chunk`, as words of 64 sectors, the first in the lowest bit.
    private func bitmap(of chunk: UInt64) throws(ImageError) -> TableLocation {
        let index = geometry.entryIndex(ofBitmapOf: chunk)
        let (page, place) = try resources.tables.page(of: table, at: Int(index), counters: resources.counters)
        let entry = BlockEntry(rawValue: page.entries[place])
        func fault(_ message: ErrorText) -> ImageError {
            ImageError(
                .corrupt, path: description.file.path, offset: table.offset.advanced(by: index * 8),
                "BAT entry \(index) for the sector bitmap of chunk \(chunk): \(message)")
        }
        guard entry.isBitmapPresent == true else {
            throw fault("has the state \(entry.stateNumber), but blocks of the chunk need it")
        }
        guard (mebibyte...offsetLimit).contains(entry.blockOffset) else {
            throw fault("has it at \(HostOffset(entry.blockOffset)), where none can lie")
        }
        return TableLocation(
            file: description.source, offset: HostOffset(entry.blockOffset),
            count: Int(BlockGeometry.chunkSectors / 64),
            entrySize: 8, name: "sector bitmap of chunk \(chunk)", decode: { decodeTable($0, of: UInt64.self, .little) }
        )
    }

    /// How many bits of `words` from the bit `start` on are as that, at most `limit`.
    static func alikeBits(_ words: [UInt64], from start: Int, isSet: Bool, limit: UInt64) -> UInt64 {
        var position = start
        while position < words.count * 64, UInt64(position - start) < limit {
            let word = isSet ? ~words[position / 64] : words[position / 64]
            let left = (word >> UInt64(position % 64)).trailingZeroBitCount
            let here = 64 - position % 64
            guard left >= here else { return min(limit, UInt64(position + left - start)) }
            position += here
        }
        return min(limit, UInt64(position - start))
    }
}

// MARK: What is lost

extension VHDXLayer {
    /// How many bytes from `start` on, where `extent(at:limit:)` throws, have no extent for the same reason: the rest of the block,
    /// and those after it whose entries cannot be used either; where the table itself ends, all that it lacks.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let block = start.rawValue / geometry.blockSize
        let rest = geometry.blockSize - start.rawValue % geometry.blockSize
        let index = Int(geometry.entryIndex(ofBlock: block))
        guard let found = try? resources.tables.page(of: table, at: index, counters: resources.counters) else {
            let held = description.source.size > table.offset.rawValue
            // Nothing of the table is there from here on.
            return held && UInt64(index) < (description.source.size - table.offset.rawValue) / 8
                ? min(limit, rest) : limit
        }
        var (count, place, next) = (rest, found.index, block)
        guard leadsNowhere(found.page.entries[place]) else { return min(limit, rest) }
        while count < limit {
            next += 1
            place += next % geometry.chunkRatio == 0 ? 2 : 1
            guard place < found.page.entries.count, leadsNowhere(found.page.entries[place]) else { break }
            count += geometry.blockSize
        }
        return min(limit, count)
    }

    /// Whether the block of `entry` has no place of the file.
    private func leadsNowhere(_ entry: UInt64) -> Bool {
        let entry = BlockEntry(rawValue: entry)
        switch entry.block {
        case .notPresent, .zeros: return false
        case .invalid: return true
        case .present, .partial:
            return entry.blockOffset < mebibyte || entry.blockOffset >= description.source.size
        }
    }
}
