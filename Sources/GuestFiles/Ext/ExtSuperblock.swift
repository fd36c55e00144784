import ByteFormat

/// The superblock, 1,024 bytes from the start of the file system: Documentation/filesystems/ext4/super.rst of Linux.
///
///     OFFSET SIZE FIELD (of those that are read)
///          0    4 s_inodes_count
///          4    4 s_blocks_count_lo, and at 0x150 the upper half
///          8    4 s_r_blocks_count_lo, and at 0x154
///       0x14    4 s_first_data_block
///       0x18    4 s_log_block_size: blocks have 1,024 << it bytes
///       0x1c    4 s_log_cluster_size
///       0x20    4 s_blocks_per_group
///       0x24    4 s_clusters_per_group
///       0x28    4 s_inodes_per_group
///       0x38    2 s_magic
///       0x4c    4 s_rev_level: 0 has none of what follows
///       0x54    4 s_first_ino
///       0x58    2 s_inode_size
///       0x5c   12 s_feature_compat, s_feature_incompat, s_feature_ro_compat
///       0x68   16 s_uuid
///       0x78   16 s_volume_name
///       0xce    2 s_reserved_gdt_blocks
///       0xe0    8 s_journal_inum, s_journal_dev
///       0xec   16 s_hash_seed
///       0xfe    2 s_desc_size
///      0x104    4 s_first_meta_bg
///      0x160    4 s_flags
///      0x175    1 s_checksum_type
///      0x248    4 s_overhead_blocks
///      0x24c    8 s_backup_bgs
///      0x270    4 s_checksum_seed
///      0x3fc    4 s_checksum
struct ExtSuperblock: Sendable {
    static let offset: UInt64 = 1024
    static let size = 1024
    static let magic: UInt16 = 0xef53

    let fields: ExtFields
    let blockShift: Int
    let blockCount: UInt64
    let firstDataBlock: UInt64
    let clusterShift: Int
    let blocksPerGroup: UInt64
    let inodesPerGroup: UInt32
    let inodeCount: UInt32
    let inodeSize: Int
    let firstInode: UInt32
    let descriptorSize: Int
    let features: ExtFeatures
    let writerFeatures: ExtWriterFeatures
    let compatible: UInt32
    /// What check sums begin with.
    let seed: UInt32

    var blockSize: Int { 1 << blockShift }
    var hasJournal: Bool { compatible & 0x4 != 0 }
    var hasChecksums: Bool { writerFeatures.contains(.metadataChecksums) }
    var journalInode: UInt32 { fields.u32(0xe0) }
    var uuid: [UInt8] { fields.slice(0x68..<0x78) }
    var groupCount: UInt64 { (blockCount - firstDataBlock + blocksPerGroup - 1) / blocksPerGroup }

    /// Whether `bytes`, those at `offset`, are a superblock at all.
    static func isThere(in bytes: [UInt8]) -> Bool { ExtFields(bytes).u16(0x38) == magic }

    /// The superblock in `bytes`, whose features are all known if `features` has no `unknownNames`. Throws what is wrong.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        let fields = ExtFields(bytes)
        self.fields = fields
        let isDynamic = fields.u32(0x4c) > 0
        compatible = isDynamic ? fields.u32(0x5c) : 0
        features = ExtFeatures(rawValue: isDynamic ? fields.u32(0x60) : 0)
        writerFeatures = ExtWriterFeatures(rawValue: isDynamic ? fields.u32(0x64) : 0)
        if features.contains(.checksumSeed) {
            seed = fields.u32(0x270)
        } else {
            var sum = CRC32C()
            sum.update(fields.bytes, in: 0x68..<0x78)
            seed = sum.state
        }
        if writerFeatures.contains(.metadataChecksums) { try Self.checkSum(fields) }
        let shift = fields.u32(0x18)
        guard shift <= 6 else {
            throw ParseFault(at: 0x18, "s_log_block_size is \(shift), but must be at most 6")
        }
        blockShift = Int(shift) + 10
        let blockSize = UInt64(1) << blockShift
        let isWide = features.contains(.wide)
        blockCount = UInt64(fields.u32(0x4)) | (isWide ? UInt64(fields.u32(0x150)) << 32 : 0)
        firstDataBlock = UInt64(fields.u32(0x14))
        guard firstDataBlock <= 1, firstDataBlock < blockCount, blockCount <= UInt64(Int64.max) >> blockShift else {
            throw ParseFault(
                at: 0x4,
                "there are \(blockCount) blocks, of which \(firstDataBlock) is the first, as no device has them")
        }
        let isBigalloc = writerFeatures.contains(.bigalloc)
        let clusterLog = isBigalloc ? fields.u32(0x1c) : shift
        guard clusterLog >= shift, clusterLog <= 20 else {
            throw ParseFault(at: 0x1c, "s_log_cluster_size is \(clusterLog), but must be \(shift) to 20")
        }
        clusterShift = Int(clusterLog - shift)
        blocksPerGroup = UInt64(fields.u32(0x20))
        let unitsPerGroup = isBigalloc ? UInt64(fields.u32(0x24)) : blocksPerGroup
        guard unitsPerGroup > 0, unitsPerGroup <= blockSize * 8, unitsPerGroup << UInt64(clusterShift) == blocksPerGroup
        else {
            throw ParseFault(
                at: 0x20,
                "groups have \(blocksPerGroup) blocks and \(unitsPerGroup) clusters, but at most \(blockSize * 8)")
        }
        inodeSize = isDynamic ? Int(fields.u16(0x58)) : 128
        guard inodeSize >= 128, inodeSize <= Int(blockSize), inodeSize.nonzeroBitCount == 1 else {
            throw ParseFault(
                at: 0x58, "s_inode_size is \(inodeSize), but must be a power of two from 128 to \(blockSize)")
        }
        inodesPerGroup = fields.u32(0x28)
        inodeCount = fields.u32(0)
        firstInode = isDynamic ? fields.u32(0x54) : 11
        let groups = (blockCount - firstDataBlock + blocksPerGroup - 1) / blocksPerGroup
        let (places, overflow) = groups.multipliedReportingOverflow(by: UInt64(inodesPerGroup))
        guard inodesPerGroup > 0, UInt64(inodesPerGroup) <= blockSize * 8, inodeCount > 10, firstInode > 10,
            overflow || UInt64(inodeCount) <= places
        else {
            throw ParseFault(
                at: 0,
                "there are \(inodeCount) inodes, the first for files \(firstInode), in \(groups) groups of "
                    + "\(inodesPerGroup)")
        }
        descriptorSize = isWide ? Int(fields.u16(0xfe)) : 32
        guard
            descriptorSize == 32 && !isWide
                || descriptorSize >= 64 && descriptorSize <= 1024 && descriptorSize.nonzeroBitCount == 1
        else {
            throw ParseFault(at: 0xfe, "s_desc_size is \(descriptorSize), but must be a power of two from 64 to 1024")
        }
    }

    private static func checkSum(_ fields: ExtFields) throws(ParseFault) {
        guard fields.u8(0x175) == 1 else {
            throw ParseFault(at: 0x175, "s_checksum_type is \(fields.u8(0x175)), but must be 1, which is CRC-32C")
        }
        var sum = CRC32C()
        sum.update(fields.bytes, in: 0..<0x3fc)
        guard sum.state == fields.u32(0x3fc) else {
            throw ParseFault(
                at: 0x3fc,
                "the check sum is \(hexadecimal(sum.state)), but must be \(hexadecimal(fields.u32(0x3fc)))")
        }
    }

    /// What mount(8) and blkid(8) call a file system with these features.
    var type: String {
        let isOld = writerFeatures.isSubset(of: .ofExt3) && features.isSubset(of: [.filetype, .recover, .metaBG])
        return isOld ? (hasJournal ? "ext3" : "ext2") : "ext4"
    }

    /// Nil where it has none.
    var label: String? {
        let bytes = fields.slice(0x78..<0x88).prefix { $0 != 0 }
        return bytes.isEmpty ? nil : String(decoding: bytes, as: UTF8.self)
    }

    /// Whether the group `group` has a copy of the superblock.
    func hasCopy(in group: UInt64) -> Bool {
        if compatible & 0x200 != 0 {
            return group == 0 || group == UInt64(fields.u32(0x24c)) || group == UInt64(fields.u32(0x250))
        }
        if group <= 1 || !writerFeatures.contains(.sparseSuper) { return true }
        let bases: [UInt64] = [3, 5, 7]
        return bases.contains { base in
            var power = base
            while power < group { power *= base }
            return power == group
        }
    }

    /// Where the block `index` of the group descriptors is.
    func descriptorBlock(_ index: UInt64) -> UInt64 {
        let holder: UInt64 = blockShift == 10 ? 1 : 0
        guard features.contains(.metaBG), index >= UInt64(fields.u32(0x104)) else { return holder + 1 + index }
        let group = index * UInt64(blockSize / descriptorSize)
        var before: UInt64 = hasCopy(in: group) ? 1 : 0
        // Blocks of 1 KiB that are counted from 0: the first has what starts the machine, and the second the superblock.
        if blockShift == 10, index == 0, firstDataBlock == 0 { before += 1 }
        return firstDataBlock + group * blocksPerGroup + before
    }
}
