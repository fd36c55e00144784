import BlockImage

/// Blocks of a file that follow one another on the disk, or are not there.
struct ExtRun: Hashable, Sendable {
    /// The first block on the disk; nil: they are zeros.
    var start: UInt64?
    /// How many there are; at least 1.
    var count: UInt64

    /// Whether `next` goes on where it ends.
    func goesOn(with next: ExtRun) -> Bool {
        switch (start, next.start) {
        case (nil, nil): true
        case (let start?, let other?): start &+ count == other
        default: false
        }
    }
}

extension ExtVolume {
    /// Where the blocks of `inode` from `logical` on are: at most `limit`, which is at least 1.
    func run(of inode: ExtInode, at logical: UInt64, limit: UInt64) throws(ImageError) -> ExtRun {
        if inode.flags.contains(.extents) { return try extentRun(of: inode, at: logical, limit: limit) }
        return try pointerRun(of: inode, at: logical, limit: limit)
    }

    /// The block `logical` of a directory or another file of which no block may be missing.
    func block(_ logical: UInt64, of inode: ExtInode) throws(ImageError) -> ExtBlock {
        guard let number = try run(of: inode, at: logical, limit: 1).start else {
            throw corrupt(
                "inode \(inode.number)", at: inode.place, "its block \(logical) is a hole, but must be stored")
        }
        return try block(number, of: "inode \(inode.number)")
    }

    /// Blocks that are found by pointers, in up to three levels of blocks of them: those of ext2 and ext3.
    private func pointerRun(of inode: ExtInode, at logical: UInt64, limit: UInt64) throws(ImageError) -> ExtRun {
        let direct: UInt64 = 12
        if logical < direct {
            return try scan(inode.map, Int(logical), 12, limit, of: inode, at: inode.place + 0x28)
        }
        let perBlock = UInt64(blockSize / 4)
        var offset = logical - direct
        var span = perBlock
        for level in 1...3 {
            if offset < span {
                return try descend(
                    inode.map.u32((11 + level) * 4), levels: level, offset, span, limit, of: inode)
            }
            offset -= span
            // At most 2^14 of each of the three.
            span *= perBlock
        }
        return ExtRun(start: nil, count: limit)
    }

    /// The run at `offset` of the `span` blocks that the block of pointers `root` leads to.
    private func descend(
        _ root: UInt32, levels: Int, _ offset: UInt64, _ span: UInt64, _ limit: UInt64, of inode: ExtInode
    ) throws(ImageError) -> ExtRun {
        let perBlock = UInt64(blockSize / 4)
        var (pointer, place) = (UInt64(root), inode.place + UInt64((21 + levels) * 4))
        var (offset, span) = (offset, span)
        for level in (1...levels).reversed() {
            guard pointer != 0 else { return ExtRun(start: nil, count: min(limit, span - offset)) }
            try check(pointer, of: "inode \(inode.number): block of pointers of level \(level)", at: place)
            let table = try block(pointer, of: "inode \(inode.number)")
            if level == 1 {
                return try scan(
                    table.fields, Int(offset), Int(perBlock), limit, of: inode, at: self.place(table.number))
            }
            span /= perBlock
            let index = Int(offset / span)
            offset %= span
            pointer = UInt64(table.fields.u32(index * 4))
            place = self.place(table.number) + UInt64(index * 4)
        }
        return ExtRun(start: nil, count: limit)
    }

    /// The pointers from `index` on of `table`, which has `count` and lies at `place`, that lead to blocks that follow one another.
    private func scan(
        _ table: ExtFields, _ index: Int, _ count: Int, _ limit: UInt64, of inode: ExtInode, at place: UInt64
    ) throws(ImageError) -> ExtRun {
        let first = UInt64(table.u32(index * 4))
        var length: UInt64 = 1
        let most = min(limit, UInt64(count - index))
        while length < most {
            let next = UInt64(table.u32((index + Int(length)) * 4))
            guard next == (first == 0 ? 0 : first + length) else { break }
            length += 1
        }
        if first == 0 { return ExtRun(start: nil, count: length) }
        try check(first, length, of: "inode \(inode.number): pointer \(index)", at: place + UInt64(index * 4))
        return ExtRun(start: first, count: length)
    }
}
