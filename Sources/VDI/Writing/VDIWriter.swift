import BlockImage
import ByteFormat
import Compression

/// Builds a new VDI from the start of its disk to its end. Used by one thread at a time.
///
/// As blocks come in the order of the disk, it keeps one page of the block map in memory.
final class VDIWriter: ImageWriter {
    /// A page, the smallest hole that file systems keep. What is not written of a block is a hole, and zeros.
    let granularity = 4096
    /// Encodes what is written: nothing does.
    var encoder: (any UnitEncoder)? { nil }

    private static let pageEntries: UInt64 = 1 << 16

    private let file: any NewFile
    private let disk: NewVDI
    private let blockCount: UInt64
    private var content: ContentIdentifier
    /// How many blocks the file has.
    private var allocated: UInt32 = 0
    /// The last block that got a place.
    private var last: UInt64?
    /// Which page of the map is filled, and its entries.
    private var page: (index: UInt64, entries: [UInt32]) = (0, [])

    /// Begins `disk`, which must be one that there can be, in `file`.
    init(_ disk: NewVDI, in file: any NewFile) {
        self.file = file
        self.disk = disk
        blockCount = disk.blockCount
        content = ContentIdentifier(disk.diskSize, disk.isStatic ? 1 : 0)
        page.entries = emptyPage(0)
    }

    /// Stores `bytes` in blocks.
    func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
        content.add(.bytes, UInt64(bytes.byteCount), at: start.rawValue)
        if !disk.isMeasured { content.update(bytes) }
        let blockSize = UInt64(NewVDI.blockSize)
        var done = 0
        while done < bytes.byteCount {
            let position = start.rawValue + UInt64(done)
            let within = position % blockSize
            // Blocks that come one after the other lie so as well.
            let count = Int(min(UInt64(bytes.byteCount - done), blockSize - within))
            let place = try block(position / blockSize) + within
            let part = stored.map { StoredBytes(file: $0.file, offset: $0.offset.advanced(by: UInt64(done))) }
            try file.write(bytes.extracting(done..<done + count), at: HostOffset(place), stored: part)
            done += count
        }
    }

    /// Where the block `index` begins.
    private func block(_ index: UInt64) throws(ImageError) -> UInt64 {
        let size = UInt64(NewVDI.blockSize)
        guard !disk.isStatic else { return disk.dataOffset + index * size }
        if last != index {
            try turn(to: index / Self.pageEntries)
            page.entries[Int(index % Self.pageEntries)] = allocated
            allocated += 1
            last = index
        }
        return disk.dataOffset + UInt64(allocated - 1) * size
    }

    /// The entries of the page `index` of the map, none of whose blocks was written.
    private func emptyPage(_ index: UInt64) -> [UInt32] {
        let first = index * Self.pageEntries
        let count = Int(min(Self.pageEntries, blockCount - min(first, blockCount)))
        guard disk.isStatic else { return [UInt32](repeating: .max, count: count) }
        return (0..<count).map { UInt32(truncatingIfNeeded: first + UInt64($0)) }
    }

    /// Writes the pages of the map before the page `index`, which is the next to be filled.
    private func turn(to index: UInt64) throws(ImageError) {
        while page.index < index {
            let offset = NewVDI.mapOffset + page.index * Self.pageEntries * 4
            try file.write(encodeTable(page.entries, .little), at: HostOffset(offset))
            page = (page.index + 1, emptyPage(page.index + 1))
        }
    }

    /// Never called, since there is no encoder.
    func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        preconditionFailure("a VDI encodes nothing")
    }

    /// Never needed, as there is no parent: what no piece covers is zeros.
    func writeZeros(_ count: UInt64, at start: GuestOffset) {}

    /// Writes the rest of the map and the header.
    func finish() throws(ImageError) {
        try turn(to: blockCount / Self.pageEntries + 1)
        let count = disk.isStatic ? UInt32(blockCount) : allocated
        let header = Header(
            info: Array("<<< rblock Virtual Disk Image >>>\n".utf8),
            storedKind: (disk.isStatic ? Header.Kind.fixed : .dynamic).rawValue, mapOffset: UInt32(NewVDI.mapOffset),
            dataOffset: UInt32(disk.dataOffset), diskSize: disk.diskSize, blockSize: NewVDI.blockSize,
            blockCount: UInt32(blockCount), allocatedCount: count,
            identity: disk.identity ?? content.uuid("VDI"), modification: content.uuid("VDI, modification"))
        try file.write(header.encoded, at: HostOffset(0))
        try file.setSize(disk.dataOffset + UInt64(count) * UInt64(NewVDI.blockSize))
    }
}
