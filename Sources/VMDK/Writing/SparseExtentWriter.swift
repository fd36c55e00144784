import BlockImage
import ByteFormat

/// Writes a hosted sparse extent in one pass (Virtual Disk Format 5.0, "Hosted Sparse Extents"):
///
///     the header
///     space for the descriptor, where it is embedded
///     the redundant grain directory, and all of its grain tables
///     the grain directory, and all of its grain tables
///     the grains, in the order of the disk, from a multiple of their size on
///
/// As in QEMU's and VMware's own, every grain table has its place whether there are grains in it or not: QEMU cannot
/// write to a disk that lacks one. Where there are none, its place stays a hole.
final class SparseExtentWriter: ExtentWriter {
    private let file: any NewFile
    private let header: SparseHeader
    /// The sector at which the next grain is put.
    private var nextSector: UInt64
    /// The grain table that is being filled.
    private var table: NewGrainTable?

    /// The most entries of a grain directory that are written at once: 1 MiB of them.
    private static let pieceEntryCount: UInt64 = 1 << 18

    /// An extent of `sectors` sectors in `file`; `descriptorSectors`: how many are left free after the header.
    init(sectors: UInt64, descriptorSectors: UInt64, hasZeroedGrains: Bool, in file: any NewFile) {
        self.file = file
        header = .sparse(sectors: sectors, descriptorSectors: descriptorSectors, hasZeroedGrains: hasZeroedGrains)
        nextSector = header.overhead
    }

    func write(_ bytes: RawSpan, at offset: UInt64, stored: StoredBytes?) throws(ImageError) {
        let sector = try place(UInt64(bytes.byteCount), at: offset)
        try file.write(bytes, at: HostOffset(sector * sectorSize), stored: stored)
    }

    func writeZeros(_ count: UInt64, at offset: UInt64) throws(ImageError) {
        if header.hasZeroedGrains {
            for grain in grains(count, at: offset) { try setEntry(1, of: grain) }
        } else {
            // What is not written reads as zeros, so grains of zeros take no more than their entries.
            _ = try place(count, at: offset)
        }
    }

    func finish() throws(ImageError) {
        try storeTable()
        try writeDirectory(atSector: header.redundantDirectoryOffset)
        try writeDirectory(atSector: header.directoryOffset)
        try file.write(header.encoded, at: HostOffset(0))
        // The last grain is whole, also where the disk ends inside of it.
        try file.setSize(nextSector * sectorSize)
    }

    /// Which grains the `count` bytes at `offset` take.
    private func grains(_ count: UInt64, at offset: UInt64) -> Range<UInt64> {
        let grainBytes = header.grainSize * sectorSize
        return offset / grainBytes..<(offset + count + grainBytes - 1) / grainBytes
    }

    /// Gives the grains of the `count` bytes at `offset` their places, one after another, and answers the first
    /// one's sector.
    private func place(_ count: UInt64, at offset: UInt64) throws(ImageError) -> UInt64 {
        let first = nextSector
        for grain in grains(count, at: offset) {
            guard let sector = UInt32(exactly: nextSector) else { throw file.noSectorLeft }
            try setEntry(sector, of: grain)
            nextSector += header.grainSize
        }
        return first
    }

    private func setEntry(_ entry: UInt32, of grain: UInt64) throws(ImageError) {
        let index = NewGrainTable.index(of: grain)
        if table?.index != index {
            try storeTable()
            table = NewGrainTable(index: index)
        }
        table?[grain] = entry
    }

    /// Writes the grain table that is being filled to its two places.
    private func storeTable() throws(ImageError) {
        guard let table else { return }
        for directory in [header.redundantDirectoryOffset, header.directoryOffset] {
            let sector = header.tableSector(table.index, afterDirectoryAt: directory)
            try file.write(table.encoded, at: HostOffset(sector * sectorSize))
        }
        self.table = nil
    }

    /// Writes the grain directory at `sector`, which the grain tables that it names follow.
    private func writeDirectory(atSector sector: UInt64) throws(ImageError) {
        let count = header.directoryEntryCount
        for first in stride(from: 0, to: count, by: Int(Self.pieceEntryCount)) {
            let entries = (first..<min(count, first + Self.pieceEntryCount)).map { index in
                // Fits: there are at most 2^25 tables, twice, of 4 sectors.
                UInt32(truncatingIfNeeded: header.tableSector(Int(index), afterDirectoryAt: sector))
            }
            try file.write(encodeTable(entries, .little), at: HostOffset(sector * sectorSize + first * 4))
        }
    }
}
