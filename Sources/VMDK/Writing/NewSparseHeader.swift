import BlockImage
import ByteFormat

extension SparseHeader {
    /// The sectors of a grain in new extents: 64 KiB, as in all that VMware writes.
    static let newGrainSize: UInt64 = 128
    /// The sectors that are reserved for an embedded descriptor: the first 10 KiB after the header, in which QEMU looks
    /// for what it names.
    static let newDescriptorSectors: UInt64 = 20

    /// The header of a new extent of `sectors` sectors, for whose grain tables `directoryEntryLimit` entries must be
    /// enough; `descriptorSectors`: how many follow the header, 0 where the descriptor is not embedded.
    ///
    /// Behind them come the redundant grain directory and its tables, the grain directory and its tables, and then, at
    /// a multiple of their size, the grains.
    static func sparse(sectors: UInt64, descriptorSectors: UInt64, hasZeroedGrains: Bool) -> SparseHeader {
        let tableCount = tableCount(sectors: sectors)
        let copySectors = directorySectors(tableCount: tableCount) + tableCount * NewGrainTable.sectors
        let directory = 1 + descriptorSectors
        let end = directory + 2 * copySectors
        var flags = newlineCheckFlag.mask | redundantDirectoryFlag.mask
        if hasZeroedGrains { flags |= zeroedGrainFlag.mask }
        return SparseHeader(
            version: hasZeroedGrains ? 2 : 1, flags: flags, capacity: sectors, grainSize: newGrainSize,
            descriptorOffset: descriptorSectors == 0 ? 0 : 1, descriptorSize: descriptorSectors,
            grainTableEntryCount: UInt32(NewGrainTable.entryCount), redundantDirectoryOffset: directory,
            directoryOffset: directory + copySectors, overhead: (end + newGrainSize - 1) / newGrainSize * newGrainSize,
            uncleanShutdown: false, compressAlgorithm: 0)
    }

    /// The header of a new streamOptimized extent of `sectors` sectors, whose grain directory is at `directoryOffset`:
    /// `directoryAtEnd` in the first header, the place itself in the footer.
    ///
    /// Version 3, which ovftool, VirtualBox and QEMU write.
    static func stream(sectors: UInt64, directoryOffset: UInt64) -> SparseHeader {
        SparseHeader(
            version: 3, flags: newlineCheckFlag.mask | compressedGrainsFlag.mask | markersFlag.mask,
            capacity: sectors, grainSize: newGrainSize, descriptorOffset: 1, descriptorSize: newDescriptorSectors,
            grainTableEntryCount: UInt32(NewGrainTable.entryCount), redundantDirectoryOffset: 0,
            directoryOffset: directoryOffset, overhead: newGrainSize, uncleanShutdown: false, compressAlgorithm: 1)
    }

    /// Where the grain table `index` of a new sparse extent lies, after its grain directory at the sector `directory`.
    func tableSector(_ index: Int, afterDirectoryAt directory: UInt64) -> UInt64 {
        directory + Self.directorySectors(tableCount: directoryEntryCount) + UInt64(index) * NewGrainTable.sectors
    }

    /// How many grain tables a new extent of `sectors` sectors has.
    static func tableCount(sectors: UInt64) -> UInt64 {
        let span = newGrainSize * UInt64(NewGrainTable.entryCount)
        return (sectors + span - 1) / span
    }

    /// How many sectors the grain directory of `tableCount` tables takes.
    static func directorySectors(tableCount: UInt64) -> UInt64 {
        (tableCount * 4 + sectorSize - 1) / sectorSize
    }
}

extension NewFile {
    /// That something would lie where its sector does not fit the 32 bits of an entry.
    var noSectorLeft: ImageError {
        ImageError(
            .unsupported, path: path, offset: HostOffset((UInt64(UInt32.max) + 1) * sectorSize),
            "sparse extent: its grains and tables take more than 2 TiB, which must be enough; "
                + "twoGbMaxExtentSparse must be used for as much data")
    }
}
