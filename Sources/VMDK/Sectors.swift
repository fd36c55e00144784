import BlockImage

/// The largest number of sectors that a disk, an extent or a place in a file may have: (2^63 - 1) / 512, rounded down,
/// because files and disks end where their byte offsets no longer fit a signed 64-bit integer.
let sectorLimit: UInt64 = (1 << 54) - 1

/// The bytes of a sector, the unit in which VMDK counts nearly everything.
let sectorSize: UInt64 = 512

extension HostFile {
    /// How many sectors the file has; the last may be cut short.
    var sectorCount: UInt64 { size / sectorSize + (size % sectorSize == 0 ? 0 : 1) }
}
