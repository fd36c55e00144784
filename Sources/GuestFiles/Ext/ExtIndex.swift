import BlockImage
import ByteFormat

// The index of a directory: Documentation/filesystems/ext4/directory.rst of Linux, "Hash Tree Directories". The first block is its
// root, after two entries for "." and ".." that seem to fill it; other nodes begin with one unused entry that does:
//
//     OFFSET SIZE FIELD (of the root)
//       0x1c    1 hash_version
//       0x1d    1 info_length: 8
//       0x1e    1 indirect_levels
//       0x20    4 limit, count: of the entries, this one included; 8 in other nodes
//       0x24    4 block: what is below the first hash of those that follow
//       0x28    8 for each other entry: hash, block

extension ExtVolume {
    /// The inode that the index of the directory `inode` leads to for `name`; nil where there is no index, it is damaged, or does
    /// not lead there at once. So names are found by looking at all of them where the index is wrong.
    func indexed(_ name: [UInt8], in inode: ExtInode) -> UInt32? {
        // Of names without a difference between small and capital letters, the hash is that of one form.
        guard hasIndex(inode), !inode.flags.contains(.inlineData), !inode.flags.contains(.casefold),
            inode.size > UInt64(2 * blockSize)
        else { return nil }
        return try? lookUp(name, in: inode)
    }

    private func lookUp(_ name: [UInt8], in inode: ExtInode) throws(ImageError) -> UInt32? {
        let root = try block(0, of: inode)
        let flags = superblock.fields.u32(0x160)
        let levels = Int(root.fields.u8(0x1e))
        guard root.fields.u8(0x1d) == 8, levels < 3,
            let hash = extNameHash(
                of: name, version: root.fields.u8(0x1c), seed: (0..<4).map { superblock.fields.u32(0xec + $0 * 4) },
                isUnsigned: flags & 2 != 0)
        else { return nil }
        var (node, start) = (root, 0x20)
        for level in 0...levels {
            guard isSound(node, start, of: inode), let logical = child(of: node, start, hash) else { return nil }
            guard UInt64(logical) < inode.size >> UInt64(blockShift) else { return nil }
            node = try block(UInt64(logical), of: inode)
            guard level < levels else { break }
            guard node.fields.u32(0) == 0, Int(node.fields.u16(4)) == blockSize || blockSize == 65536 else {
                return nil
            }
            start = 8
        }
        var found: UInt32?
        _ = try entries(in: node, of: inode) { (entry, bytes) throws(ImageError) in
            guard bytes[entry.name].elementsEqual(name) else { return true }
            found = entry.inode
            return false
        }
        return found
    }

    /// Whether the entries of the node, which begin at `start`, lie in it, and have the check sum that they must have.
    private func isSound(_ node: ExtBlock, _ start: Int, of inode: ExtInode) -> Bool {
        let (limit, count) = (Int(node.fields.u16(start)), Int(node.fields.u16(start + 2)))
        guard count > 0, count <= limit, start + limit * 8 <= blockSize else { return false }
        guard superblock.hasChecksums else { return true }
        let tail = start + limit * 8
        guard tail + 8 <= blockSize else { return false }
        var sum = CRC32C(state: inode.seed(superblock))
        sum.update(node.fields.bytes, in: 0..<start + count * 8)
        sum.update(node.fields.bytes, in: tail..<tail + 4)
        sum.update(littleEndian: 0)
        return sum.state == node.fields.u32(tail + 4)
    }

    /// The block of the directory in which `hash` is, or the index of it.
    private func child(of node: ExtBlock, _ start: Int, _ hash: UInt32) -> UInt32? {
        // The entry 0 has no hash: it is for all below that of the entry 1.
        var (low, high) = (1, Int(node.fields.u16(start + 2)))
        while low < high {
            let middle = (low + high) / 2
            if node.fields.u32(start + middle * 8) <= hash { low = middle + 1 } else { high = middle }
        }
        return node.fields.u32(start + (low - 1) * 8 + 4) & 0x0fff_ffff
    }
}
