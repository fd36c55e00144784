import BlockImage
import ByteFormat
import Compression
import FormatCore

/// Builds a new VHDX disk from its start to its end. Used by one thread at a time.
///
/// Blocks get their places in the order of the disk; what of a block no piece covers stays a hole. What lies where depends on what
/// is written only, not on the pieces that it is written in. It keeps 64 KiB of the block allocation table in memory.
final class VHDXWriter: ImageWriter {
    /// The 4 KiB of which file systems make holes: a sector or more.
    let granularity = 4096
    /// Nothing is encoded.
    var encoder: (any UnitEncoder)? { nil }

    private let disk: NewVHDX
    private let file: any NewFile
    private let geometry: BlockGeometry
    private let layout: NewVHDXLayout
    private var content: ContentIdentifier
    /// Where the next block is put.
    private var nextBlock: UInt64
    /// The block that was written to last, and where it lies.
    private var current: (block: UInt64, offset: UInt64)?
    /// Entries of the table from `firstEntry` on, which are written when the next ones begin.
    private var entries: [UInt64]
    private var firstEntry: UInt64 = 0

    /// How many entries are kept.
    private static let pageCount: UInt64 = 8192

    /// Begins `disk` in `file`. Throws `unsupported` where it cannot be as it is said to be.
    init(_ disk: NewVHDX, in file: any NewFile) throws(ImageError) {
        if let fault = disk.sizeFault ?? disk.optionFault {
            throw ImageError(.unsupported, path: file.path, "\(fault.message)")
        }
        self.disk = disk
        self.file = file
        geometry = disk.geometry
        layout = NewVHDXLayout(disk)
        content = ContentIdentifier(disk.diskSize)
        nextBlock = layout.dataOffset
        entries = []
        entries = newEntries()
    }

    /// Stores `bytes`, which the caller knows not to be all zeros, as they are.
    func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
        content.add(.bytes, UInt64(bytes.byteCount), at: start.rawValue)
        if !disk.isMeasured { content.update(bytes) }
        var done = 0
        while done < bytes.byteCount {
            let guest = start.rawValue + UInt64(done)
            let skip = guest % geometry.blockSize
            let count = Int(min(UInt64(bytes.byteCount - done), geometry.blockSize - skip))
            let host = try place(of: guest / geometry.blockSize) + skip
            let shared = stored.map { StoredBytes(file: $0.file, offset: $0.offset.advanced(by: UInt64(done))) }
            try file.write(bytes.extracting(done..<done + count), at: HostOffset(host), stored: shared)
            done += count
        }
    }

    /// Never called, since there is no encoder.
    func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        preconditionFailure("a VHDX disk encodes nothing")
    }

    /// Nothing, as there is no parent: what is not written is zeros.
    func writeZeros(_ count: UInt64, at start: GuestOffset) {}

    /// Writes what is left to write: nothing can be written afterwards.
    func finish() throws(ImageError) {
        while firstEntry < geometry.entryCount { try writeEntries() }
        if disk.subformat == .fixed { nextBlock = layout.dataOffset + geometry.blockCount * geometry.blockSize }
        try file.setSize(nextBlock)
        try writeMetadata()
        let regions = RegionTable([layout.table, layout.metadata]).encoded
        for offset in RegionTable.offsets { try file.write(regions, at: HostOffset(offset)) }
        for (index, offset) in VHDXHeader.offsets.enumerated() {
            let header = VHDXHeader(
                sequenceNumber: UInt64(index) + 1, fileWriteID: content.uuid("file"), dataWriteID: content.uuid("data"),
                logID: ImageIdentity([]), logLength: UInt32(disk.logSize), logOffset: layout.logOffset)
            try file.write(header.encoded, at: HostOffset(offset))
        }
        var writer = ByteWriter(capacity: 520)
        writer.write(bytes: VHDXDescription.magic)
        for unit in "rblock".utf16 { writer.write(unit, .little) }
        writer.pad(to: 520)
        try file.write(writer.bytes, at: HostOffset(0))
    }

    /// Where `block` lies, which gets a place if it has none.
    private func place(of block: UInt64) throws(ImageError) -> UInt64 {
        if disk.subformat == .fixed { return layout.dataOffset + block * geometry.blockSize }
        if let current, current.block == block { return current.offset }
        let offset = nextBlock
        nextBlock += geometry.blockSize
        current = (block, offset)
        let index = geometry.entryIndex(ofBlock: block)
        while index >= firstEntry + UInt64(entries.count) { try writeEntries() }
        entries[Int(index - firstEntry)] = BlockEntry(presentAt: offset).rawValue
        return offset
    }

    /// Writes the entries that are kept, but where all are 0, and goes on with those after them.
    private func writeEntries() throws(ImageError) {
        if entries.contains(where: { $0 != 0 }) {
            try file.write(encodeTable(entries, .little), at: HostOffset(layout.table.offset + firstEntry * 8))
        }
        firstEntry += UInt64(entries.count)
        entries = newEntries()
    }

    /// The entries from `firstEntry` on as they are before anything is written to their blocks.
    private func newEntries() -> [UInt64] {
        let count = min(Self.pageCount, geometry.entryCount - firstEntry)
        return (firstEntry..<firstEntry + count).map { index in
            let (chunk, place) = geometry.place(ofEntry: index)
            if place == geometry.chunkRatio { return 0 }
            if disk.subformat == .fixed {
                let block = chunk * geometry.chunkRatio + place
                return BlockEntry(presentAt: layout.dataOffset + block * geometry.blockSize).rawValue
            }
            return disk.marksZeros ? 2 : 0
        }
    }

    private func writeMetadata() throws(ImageError) {
        var items: [MetadataItem] = []
        var writer = ByteWriter(capacity: 64)
        func add(_ id: ImageIdentity, isOfDisk: Bool = true, _ body: (inout ByteWriter) -> Void) {
            let start = writer.position
            body(&writer)
            items.append(
                MetadataItem(
                    id, at: UInt32(MetadataTable.size + start), length: UInt32(writer.position - start),
                    isOfDisk: isOfDisk))
        }
        add(KnownIdentifier.fileParameters, isOfDisk: false) { writer in
            writer.write(UInt32(geometry.blockSize), .little)
            writer.write(UInt32(disk.subformat == .fixed ? 1 : 0), .little)
        }
        add(KnownIdentifier.virtualSize) { $0.write(geometry.virtualSize, .little) }
        add(KnownIdentifier.diskID) { $0.write(bytes: (disk.diskID ?? content.uuid("disk")).guidBytes) }
        add(KnownIdentifier.logicalSectorSize) { $0.write(UInt32(disk.logicalSectorSize), .little) }
        add(KnownIdentifier.physicalSectorSize) { $0.write(UInt32(disk.physicalSectorSize), .little) }
        try file.write(MetadataTable(items).encoded, at: HostOffset(layout.metadata.offset))
        try file.write(writer.bytes, at: HostOffset(layout.metadata.offset + UInt64(MetadataTable.size)))
    }
}
