import BlockImage
import ByteFormat

/// The descriptor of a group of blocks (struct ext4_group_desc):
///
///     OFFSET SIZE FIELD (of those that are read)
///          8    4 bg_inode_table_lo, and at 0x28 the upper half
///        0xc    2 bg_free_blocks_count_lo, and at 0x2c: clusters
///        0xe    2 bg_free_inodes_count_lo, and at 0x2e
///       0x1e    2 bg_checksum
struct ExtGroup: Sendable {
    var inodeTable: UInt64
    var freeClusters: UInt64
    var freeInodes: UInt64
}

extension ExtVolume {
    /// The group `index`, which there is: the last one is kept, since files of one directory are in one group.
    func group(_ index: UInt64) throws(ImageError) -> ExtGroup {
        if let last = lastGroup.withLock({ $0 }), last.index == index { return last.group }
        let group = try readGroup(index)
        lastGroup.withLock { $0 = (index, group) }
        return group
    }

    private func readGroup(_ index: UInt64) throws(ImageError) -> ExtGroup {
        let size = superblock.descriptorSize
        let perBlock = UInt64(blockSize / size)
        let block = try block(superblock.descriptorBlock(index / perBlock), of: "group \(index)")
        let start = Int(index % perBlock) * size
        let fields = ExtFields(block.fields.slice(start..<start + size))
        let place = place(block.number) + UInt64(start)
        if let expected = checksum(of: fields, index), expected != fields.u16(0x1e) {
            throw corrupt(
                "group \(index)", at: place,
                "the check sum is \(hexadecimal(expected)), but must be \(hexadecimal(fields.u16(0x1e)))")
        }
        let isWide = size >= 64
        let group = ExtGroup(
            inodeTable: UInt64(fields.u32(8)) | (isWide ? UInt64(fields.u32(0x28)) << 32 : 0),
            freeClusters: UInt64(fields.u16(0xc)) | (isWide ? UInt64(fields.u16(0x2c)) << 16 : 0),
            freeInodes: UInt64(fields.u16(0xe)) | (isWide ? UInt64(fields.u16(0x2e)) << 16 : 0))
        let bytes = UInt64(superblock.inodesPerGroup) * UInt64(superblock.inodeSize)
        try check(
            group.inodeTable, (bytes + UInt64(blockSize) - 1) >> UInt64(blockShift), of: "group \(index): inode table",
            at: place)
        return group
    }

    /// What the check sum of the descriptor `fields` must be; nil where there are none.
    private func checksum(of fields: ExtFields, _ index: UInt64) -> UInt16? {
        let number = UInt32(truncatingIfNeeded: index)
        if superblock.hasChecksums {
            var sum = CRC32C(state: superblock.seed)
            sum.update(littleEndian: number)
            sum.update(fields.bytes, without: 0x1e..<0x20)
            return UInt16(truncatingIfNeeded: sum.state)
        }
        guard superblock.writerFeatures.contains(.groupChecksums) else { return nil }
        let group = [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: number >> $0) }
        return extCRC16(superblock.uuid, group, fields.slice(0..<0x1e), fields.slice(0x20..<fields.count))
    }

    /// How much it holds, as statfs(2) has it.
    func usage() throws(ImageError) -> GuestUsage {
        let (size, clusters) = (UInt64(blockSize), UInt64(superblock.clusterShift))
        var (freeClusters, freeInodes): (UInt64, UInt64) = (0, 0)
        for index in 0..<superblock.groupCount {
            let group = try group(index)
            // Each of 32 bits, of less than 2^53 groups whose descriptors are on the disk.
            freeClusters &+= group.freeClusters
            freeInodes &+= group.freeInodes
        }
        let all = superblock.blockCount
        let overhead = min(try overhead() >> clusters, all >> clusters) << clusters
        let free = min(freeClusters, all >> clusters) << clusters
        let isWide = superblock.features.contains(.wide)
        var kept = UInt64(superblock.fields.u32(8)) | (isWide ? UInt64(superblock.fields.u32(0x154)) << 32 : 0)
        // The kernel keeps some for writes to what is allocated already.
        if superblock.features.contains(.extents) { kept &+= min((all >> clusters) / 50, 4096) << clusters }
        return GuestUsage(
            blockSize: size, blocks: all - overhead, freeBlocks: free, availableBlocks: free - min(free, kept),
            files: UInt64(superblock.inodeCount), freeFiles: min(freeInodes, UInt64(superblock.inodeCount)))
    }

    /// The blocks that no file can have: as the superblock says, or else counted as Linux does it. There are as many groups as the
    /// superblock says, which is found out before.
    private func overhead() throws(ImageError) -> UInt64 {
        let stored = UInt64(superblock.fields.u32(0x248)) << UInt64(superblock.clusterShift)
        guard stored == 0, superblock.clusterShift == 0 else { return stored }
        let perBlock = UInt64(blockSize / superblock.descriptorSize)
        let descriptors = (superblock.groupCount + perBlock - 1) / perBlock
        let isMeta = superblock.features.contains(.metaBG)
        let firstMeta = isMeta ? min(UInt64(superblock.fields.u32(0x104)), descriptors) : descriptors
        let inodeBytes = UInt64(superblock.inodesPerGroup) * UInt64(superblock.inodeSize)
        // A bitmap of blocks, one of inodes, and the inodes.
        let each = (inodeBytes + UInt64(blockSize) - 1) >> UInt64(blockShift) + 2
        var count = superblock.firstDataBlock
        for group in 0..<superblock.groupCount {
            let hasCopy = superblock.hasCopy(in: group)
            count &+= each + (hasCopy ? 1 + UInt64(superblock.fields.u16(0xce)) : 0)
            if group / perBlock < firstMeta {
                count &+= hasCopy ? firstMeta : 0
            } else {
                let place = group % perBlock
                count &+= place <= 1 || place == perBlock - 1 ? 1 : 0
            }
        }
        if superblock.hasJournal, superblock.journalInode != 0 {
            count &+= try inode(superblock.journalInode).size >> UInt64(blockShift)
        }
        return count
    }
}
