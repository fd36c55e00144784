/// How the blocks of a disk and the entries of its block allocation table go together (MS-VHDX 2.5).
///
/// A chunk is 2^23 sectors: what the bits of one sector bitmap block of 1 MiB stand for. The entries of the payload blocks
/// of a chunk are followed by that of its sector bitmap block.
struct BlockGeometry: Hashable {
    /// The size of the disk in bytes: at most 64 TiB.
    let virtualSize: UInt64
    /// The bytes of a payload block: a power of two from 1 MiB to 256 MiB.
    let blockSize: UInt64
    /// The bytes of a logical sector: 512 or 4096.
    let sectorSize: UInt64
    /// Whether sector bitmaps are used.
    let hasParent: Bool

    /// The most bytes of a disk.
    static let sizeLimit: UInt64 = 64 << 40
    static let blockSizes: ClosedRange<UInt64> = 1 << 20...256 << 20
    static let sectorSizes: [UInt64] = [512, 4096]
    /// The sectors of a chunk.
    static let chunkSectors: UInt64 = 1 << 23

    /// The payload blocks of a chunk: 16 to 32,768.
    var chunkRatio: UInt64 { Self.chunkSectors * sectorSize / blockSize }
    /// The payload blocks of the disk: at most 2^26.
    var blockCount: UInt64 { (virtualSize + blockSize - 1) / blockSize }
    /// The chunks that they make.
    var chunkCount: UInt64 { (blockCount + chunkRatio - 1) / chunkRatio }
    /// How many entries the table must have: up to that of the last payload block, with a parent up to that of the last
    /// sector bitmap block.
    var entryCount: UInt64 {
        if hasParent { return chunkCount * (chunkRatio + 1) }
        return blockCount == 0 ? 0 : blockCount + (blockCount - 1) / chunkRatio
    }

    /// Which entry the payload block `block` has.
    func entryIndex(ofBlock block: UInt64) -> UInt64 { block + block / chunkRatio }
    /// Which entry the sector bitmap block of `chunk` has.
    func entryIndex(ofBitmapOf chunk: UInt64) -> UInt64 { chunk * (chunkRatio + 1) + chunkRatio }
    /// The chunk of the entry `index`, and the place in it: `chunkRatio` for the sector bitmap block's.
    func place(ofEntry index: UInt64) -> (chunk: UInt64, place: UInt64) {
        (index / (chunkRatio + 1), index % (chunkRatio + 1))
    }
}
