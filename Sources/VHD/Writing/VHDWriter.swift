import BlockImage
import ByteFormat
import Compression

/// Builds a new VHD from the start of its disk to its end. Used by one thread at a time.
///
/// What it keeps in memory is the block allocation table: 4 MiB at most.
final class VHDWriter: ImageWriter {
    /// A page, the smallest hole that file systems keep. What is not written of a block is a hole, and zeros.
    let granularity = 4096
    /// Encodes what is written: nothing does.
    var encoder: (any UnitEncoder)? { nil }

    private let file: any NewFile
    private let disk: NewVHD
    private let diskSize: UInt64
    private var content: ContentIdentifier
    /// Where blocks are put, and those that are there; nil for a fixed disk.
    private var blocks: DynamicPlaces?

    /// Begins `disk`, which must be one that there can be, in `file`.
    init(_ disk: NewVHD, in file: any NewFile) {
        self.file = file
        self.disk = disk
        diskSize = disk.diskSize
        blocks = disk.isFixed ? nil : DynamicPlaces(diskSize: diskSize)
        content = ContentIdentifier(diskSize, disk.isFixed ? 1 : 0)
    }

    /// Stores `bytes`, in blocks where the disk has them.
    func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
        content.add(.bytes, UInt64(bytes.byteCount), at: start.rawValue)
        if !disk.isMeasured { content.update(bytes) }
        guard blocks != nil else { return try file.write(bytes, at: HostOffset(start.rawValue), stored: stored) }
        let blockSize = UInt64(NewVHD.blockSize)
        var done = 0
        while done < bytes.byteCount {
            let position = start.rawValue + UInt64(done)
            let within = position % blockSize
            let count = Int(min(UInt64(bytes.byteCount - done), blockSize - within))
            let place = try block(Int(position / blockSize)).advanced(by: within)
            let part = stored.map { StoredBytes(file: $0.file, offset: $0.offset.advanced(by: UInt64(done))) }
            try file.write(bytes.extracting(done..<done + count), at: place, stored: part)
            done += count
        }
    }

    /// Where the data of the block `index` begins. One that is new gets a place, and a bitmap that says that all of its
    /// sectors were written: what is not is zeros.
    private func block(_ index: Int) throws(ImageError) -> HostOffset {
        let place = blocks?.take(index) ?? (data: 0, isNew: false)
        if place.isNew {
            let bitmap = [UInt8](repeating: 0xff, count: Int(DynamicPlaces.bitmapSize))
            try file.write(bitmap, at: HostOffset(place.data - DynamicPlaces.bitmapSize))
        }
        return HostOffset(place.data)
    }

    /// Never called, since there is no encoder.
    func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        preconditionFailure("a VHD encodes nothing")
    }

    /// Never needed, as there is no parent: what no piece covers is zeros.
    func writeZeros(_ count: UInt64, at start: GuestOffset) {}

    /// Writes the table, the headers and the footer.
    func finish() throws(ImageError) {
        let footer = Footer(
            blocks == nil ? .fixed : .dynamic, size: diskSize, geometry: disk.geometry,
            creator: disk.hasExactSize ? Self.exactCreator : Self.geometryCreator,
            identity: disk.identity ?? content.uuid("VHD"))
        var end = diskSize
        if let blocks {
            let header = DynamicHeader(
                tableOffset: DynamicPlaces.tableOffset, entryCount: UInt32(blocks.entries.count),
                blockSize: NewVHD.blockSize)
            try file.write(footer.encoded + header.encoded + blocks.encodedTable, at: HostOffset(0))
            end = blocks.next
        }
        try file.write(footer.encoded, at: HostOffset(end))
        try file.setSize(end + UInt64(Footer.size))
    }

    /// What QEMU calls itself where the size in the footer holds: so all readers take that. As the programs that make disks
    /// so that the geometry holds, it would be "qemu".
    private static let exactCreator = "qem2"
    private static let geometryCreator = "qemu"
}

/// Where the blocks of a new dynamic disk lie: in the order in which they are written, each so that its data begins a page,
/// as Windows has them, after a bitmap of one sector.
struct DynamicPlaces {
    /// Behind the copy of the footer and the header.
    static let tableOffset = UInt64(Footer.size + DynamicHeader.size)
    /// The bytes of the bitmap before a block.
    static let bitmapSize: UInt64 = 512
    private static let page: UInt64 = 4096

    /// The sector of each block's bitmap.
    private(set) var entries: [UInt32]
    /// Where the next block, or else the footer, begins.
    private(set) var next: UInt64

    /// For a disk of `diskSize` bytes.
    init(diskSize: UInt64) {
        let block = UInt64(NewVHD.blockSize)
        let count = Int(min(diskSize, NewVHD.sizeLimit) / block) + (diskSize % block == 0 ? 0 : 1)
        entries = [UInt32](repeating: .max, count: count)
        let tableEnd = Self.tableOffset + UInt64(count) * 4
        next = (tableEnd + sectorSize - 1) / sectorSize * sectorSize
    }

    /// Where the data of the block `index` begins, and whether it had no place before.
    mutating func take(_ index: Int) -> (data: UInt64, isNew: Bool) {
        guard entries[index] == .max else {
            return (UInt64(entries[index]) * sectorSize + Self.bitmapSize, false)
        }
        let data = (next + Self.bitmapSize + Self.page - 1) / Self.page * Self.page
        // Fits: all blocks of the largest disk, with a page for each bitmap, take less than 2 TiB.
        entries[index] = UInt32(truncatingIfNeeded: (data - Self.bitmapSize) / sectorSize)
        next = data + UInt64(NewVHD.blockSize)
        return (data, true)
    }

    /// Where they end when all of them have places.
    var end: UInt64 {
        guard !entries.isEmpty else { return next }
        let first = (next + Self.bitmapSize + Self.page - 1) / Self.page * Self.page
        return first + UInt64(entries.count) * UInt64(NewVHD.blockSize) + UInt64(entries.count - 1) * Self.page
    }

    /// The bytes of the table, in whole sectors that are filled up with entries of no block.
    var encodedTable: [UInt8] {
        let bytes = encodeTable(entries, .big)
        let over = bytes.count % Int(sectorSize)
        return bytes + [UInt8](repeating: 0xff, count: over == 0 ? 0 : Int(sectorSize) - over)
    }
}
