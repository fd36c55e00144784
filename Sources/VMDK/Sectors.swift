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

extension HostFile {
    /// Whether it is a device, whose identity alone has the inode 0: its size is not that of the image on it, and what lies
    /// past the image was there before, most likely.
    var isDevice: Bool { identity?.inode == 0 }
}
