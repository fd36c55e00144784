import BlockImage
import ByteFormat

// The tree of extents: Documentation/filesystems/ext4/ifork.rst of Linux. Each node, of which the first is in the inode, begins
// with a header, after which are entries of 12 bytes:
//
//     OFFSET SIZE FIELD
//          0    2 eh_magic
//          2    2 eh_entries
//          4    2 eh_max
//          6    2 eh_depth: 0 in leaves
//
//     entry of a leaf (ext4_extent)
//          0    4 ee_block: the first block of the file
//          4    2 ee_len: above 32768 that many less, which are allocated but not written
//          6    2 ee_start_hi
//          8    4 ee_start_lo
//
//     entry of another node (ext4_extent_idx)
//          0    4 ei_block
//          4    4 ei_leaf_lo
//          8    2 ei_leaf_hi

/// The deepest trees that there are.
private let depthLimit = 5

/// A node of a tree.
private struct ExtentNode {
    let fields: ExtFields
    let count: Int
    let depth: Int
    /// Where it lies in the file system.
    let place: UInt64

    init(_ fields: ExtFields, at place: UInt64) {
        (self.fields, self.place) = (fields, place)
        (count, depth) = (Int(fields.u16(2)), Int(fields.u16(6)))
    }

    /// The first block of the file that the entry `index` is about.
    func first(_ index: Int) -> UInt64 { UInt64(fields.u32(12 + index * 12)) }

    /// The node that the entry `index` leads to.
    func child(_ index: Int) -> UInt64 {
        UInt64(fields.u32(16 + index * 12)) | UInt64(fields.u16(20 + index * 12)) << 32
    }

    /// What the entry `index` of a leaf has.
    func extent(_ index: Int) -> (start: UInt64, count: UInt64, isWritten: Bool) {
        let length = UInt64(fields.u16(16 + index * 12))
        let start = UInt64(fields.u32(20 + index * 12)) | UInt64(fields.u16(18 + index * 12)) << 32
        return length > 32768 ? (start, length - 32768, false) : (start, length, true)
    }

    /// The last entry that begins at `logical` or before it.
    func last(at logical: UInt64) -> Int? {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if first(middle) <= logical { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? low - 1 : nil
    }

    /// What is wrong with it, in a place with space for `space` entries, and at which byte of it; nil: nothing.
    func fault(depth expected: Int?, space: Int) -> (at: Int, message: String)? {
        guard fields.u16(0) == 0xf30a else {
            return (0, "extent header: eh_magic is \(hexadecimal(fields.u16(0))), but must be 0xf30a")
        }
        if let expected, depth != expected { return (6, "extent header: depth: is \(depth), but must be \(expected)") }
        guard depth <= depthLimit else {
            return (6, "extent header: depth: is \(depth), but must be at most \(depthLimit)")
        }
        let most = Int(fields.u16(4))
        guard most <= space, count <= most, count > 0 || depth == 0 else {
            return (2, "extent header: has \(count) of \(most) entries, in space for \(space)")
        }
        var end: UInt64 = 0
        for index in 0..<count {
            guard first(index) >= end else {
                return (
                    12 + index * 12, "extent \(index): begins at the block \(first(index)) of the file, before \(end)"
                )
            }
            let length = depth == 0 ? extent(index).count : 1
            guard length > 0 else { return (16 + index * 12, "extent \(index): has no blocks") }
            end = first(index) + length
        }
        return nil
    }
}

extension ExtVolume {
    /// See `run(of:at:limit:)`, of a file with extents.
    func extentRun(of inode: ExtInode, at logical: UInt64, limit: UInt64) throws(ImageError) -> ExtRun {
        guard logical < 1 << 32 else { return ExtRun(start: nil, count: limit) }
        var node = ExtentNode(inode.map, at: inode.place + 0x28)
        if let fault = node.fault(depth: nil, space: 4) {
            throw corrupt("inode \(inode.number)", at: node.place + UInt64(fault.at), fault.message)
        }
        // Where what is known of holes ends.
        var bound = UInt64(1) << 32
        while node.depth > 0 {
            guard let index = node.last(at: logical) else {
                return ExtRun(start: nil, count: min(limit, node.first(0) - logical))
            }
            if index + 1 < node.count { bound = min(bound, node.first(index + 1)) }
            node = try self.node(node.child(index), depth: node.depth - 1, of: inode, entry: node.place)
        }
        guard let index = node.last(at: logical) else {
            let end = node.count > 0 ? min(bound, node.first(0)) : bound
            return ExtRun(start: nil, count: min(limit, max(1, end - min(end, logical))))
        }
        let (start, count, isWritten) = node.extent(index)
        let offset = logical - node.first(index)
        guard offset < count else {
            let end = index + 1 < node.count ? min(bound, node.first(index + 1)) : bound
            return ExtRun(start: nil, count: min(limit, max(1, end - min(end, logical))))
        }
        guard isWritten else { return ExtRun(start: nil, count: min(limit, count - offset)) }
        try check(
            start, count, of: "inode \(inode.number): extent \(index)", at: node.place + UInt64(12 + index * 12))
        return ExtRun(start: start + offset, count: min(limit, count - offset))
    }

    /// The node in the block `number`.
    private func node(
        _ number: UInt64, depth: Int, of inode: ExtInode, entry: UInt64
    ) throws(ImageError) -> ExtentNode {
        try check(number, of: "inode \(inode.number): index of extents", at: entry)
        let block = try block(number, of: "inode \(inode.number)")
        let node = ExtentNode(block.fields, at: place(number))
        try block.check(once: UInt64(inode.number) | UInt64(depth + 1) << 32) { () throws(ImageError) in
            if let fault = node.fault(depth: depth, space: (blockSize - 12) / 12) {
                throw corrupt("inode \(inode.number)", at: node.place + UInt64(fault.at), fault.message)
            }
            guard superblock.hasChecksums else { return }
            let tail = 12 + Int(block.fields.u16(4)) * 12
            var sum = CRC32C(state: inode.seed(superblock))
            sum.update(block.fields.bytes, in: 0..<tail)
            guard tail + 4 <= blockSize, sum.state == block.fields.u32(tail) else {
                throw corrupt(
                    "inode \(inode.number): block of extents", at: node.place + UInt64(tail),
                    "the check sum is \(hexadecimal(sum.state)), but must be \(hexadecimal(block.fields.u32(tail)))")
            }
        }
        return node
    }
}
