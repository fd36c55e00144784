import BlockImage
import ByteFormat

/// Writes a streamOptimized extent: everything after its first 64 KiB in the order in which it is read (Virtual Disk
/// Format 5.0, "Stream-Optimized Compressed Sparse Extents"):
///
///     the header, the descriptor
///     for each grain table: its grains, each after a marker, and then the table after a marker
///     the grain directory after a marker
///     the footer, which says where the directory is, after a marker
///     the marker of the end
///
/// As VMware's products write it and their importers want it. QEMU's own has its tables in front, and no footer.
final class StreamExtentWriter: ExtentWriter {
    private let file: any NewFile
    private let sectors: UInt64
    private let encoder: GrainEncoder
    /// The sector at which the next marker is put.
    private var nextSector: UInt64
    /// The grain table that is being filled.
    private var table: NewGrainTable?
    /// The sectors of the grain tables that are written, 0 for those without grains: 128 KiB for each TiB of the disk.
    private var directory: [UInt32] = []

    /// An extent of `sectors` sectors in `file`, with space for the descriptor after the header.
    init(sectors: UInt64, encoder: GrainEncoder, in file: any NewFile) {
        self.file = file
        self.sectors = sectors
        self.encoder = encoder
        nextSector = SparseHeader.stream(sectors: sectors, directoryOffset: SparseHeader.directoryAtEnd).overhead
    }

    /// Stores `bytes`, grain by grain, compressed here.
    func write(_ bytes: RawSpan, at offset: UInt64, stored: StoredBytes?) throws(ImageError) {
        for start in stride(from: 0, to: bytes.byteCount, by: encoder.unitSize) {
            let end = min(start + encoder.unitSize, bytes.byteCount)
            let grain = try encoder.encodedGrain(bytes.extracting(start..<end))
            try writeEncoded(grain.bytes, at: offset + UInt64(start))
        }
    }

    /// Stores grains of zeros: a reader of the stream from its start to its end sees nothing of the tables' entries.
    func writeZeros(_ count: UInt64, at offset: UInt64) throws(ImageError) {
        let grain = try encoder.encodedGrain(RawSpan())
        for start in stride(from: offset, to: offset + count, by: encoder.unitSize) {
            try writeEncoded(grain.bytes, at: start)
        }
    }

    /// Stores `bytes`, which the encoder made of the grain at `offset`.
    func writeEncoded(_ bytes: RawSpan, at offset: UInt64) throws(ImageError) {
        let grain = offset / sectorSize / SparseHeader.newGrainSize
        let index = NewGrainTable.index(of: grain)
        if table?.index != index {
            try storeTable()
            table = NewGrainTable(index: index)
        }
        let marker = StreamMarker.Kind.grain(lba: offset / sectorSize, size: UInt32(bytes.byteCount))
        table?[grain] = try append(marker.encoded, bytes)
    }

    func finish() throws(ImageError) {
        try storeTable()
        let tableCount = SparseHeader.tableCount(sectors: sectors)
        let directorySectors = SparseHeader.directorySectors(tableCount: tableCount)
        try append(.grainDirectory, sectors: directorySectors)
        let directoryOffset = nextSector
        try append(encodeTable(directory, .little))
        nextSector = directoryOffset + directorySectors
        try append(.footer, sectors: 1)
        try append(SparseHeader.stream(sectors: sectors, directoryOffset: directoryOffset).encoded)
        try append(.endOfStream, sectors: 0)
        let header = SparseHeader.stream(sectors: sectors, directoryOffset: SparseHeader.directoryAtEnd)
        try file.write(header.encoded, at: HostOffset(0))
        try file.setSize(nextSector * sectorSize)
    }

    /// Writes the grain table that is being filled after its grains.
    private func storeTable() throws(ImageError) {
        guard let table else { return }
        try append(.grainTable, sectors: NewGrainTable.sectors)
        directory += repeatElement(0, count: table.index - directory.count)
        directory.append(try append(table.encoded))
        self.table = nil
    }

    private func append(_ metadata: StreamMarker.Metadata, sectors: UInt64) throws(ImageError) {
        try append(StreamMarker.Kind.metadata(metadata, sectors: sectors).encoded)
    }

    /// Writes `bytes`, and `data` after them, at the sector that is next, and answers that. What is left of the last
    /// sector stays a hole.
    @discardableResult
    private func append(_ bytes: [UInt8], _ data: RawSpan = RawSpan()) throws(ImageError) -> UInt32 {
        guard let sector = UInt32(exactly: nextSector) else { throw file.noSectorLeft }
        let offset = HostOffset(nextSector * sectorSize)
        try file.write(bytes, at: offset)
        if !data.isEmpty { try file.write(data, at: offset.advanced(by: UInt64(bytes.count))) }
        nextSector += (UInt64(bytes.count + data.byteCount) + sectorSize - 1) / sectorSize
        return sector
    }
}
