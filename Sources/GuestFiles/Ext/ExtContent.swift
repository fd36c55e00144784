import BlockImage

/// The content of a file.
final class ExtContent: GuestFileContent {
    /// The most pieces that are reported as one run.
    private static let pieceLimit = 1 << 16

    private let volume: ExtVolume
    private let inode: ExtInode
    /// What the inode itself holds.
    private let inline: [UInt8]?

    /// Its bytes.
    var size: UInt64 { inode.size }

    /// That of `inode`.
    init(_ inode: ExtInode, of volume: ExtVolume) throws(ImageError) {
        (self.inode, self.volume) = (inode, volume)
        inline = inode.flags.contains(.inlineData) ? try volume.inlineData(of: inode) : nil
    }

    /// See `GuestFileContent`. Extents that follow one another on the disk are read at once.
    func read(_ count: Int, at offset: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        guard offset <= size, count >= 0, UInt64(count) <= size - offset else {
            throw ImageError(
                .outOfRange, path: volume.path,
                "inode \(inode.number): there are not \(count) bytes at \(offset): the file has \(size)")
        }
        if let inline {
            let start = Int(offset)
            // Safe: the span is used in this call only, in which the array stays.
            unsafe output.append(copying: inline.span.bytes.extracting(start..<start + count))
            return
        }
        let shift = UInt64(volume.blockShift)
        let mask = UInt64(volume.blockSize - 1)
        var (position, left) = (offset, UInt64(count))
        var ahead: ExtRun?
        while left > 0 {
            let (block, inside) = (position >> shift, position & mask)
            let needed = (inside + left + mask) >> shift
            var run: ExtRun
            if let ahead { run = ahead } else { run = try volume.run(of: inode, at: block, limit: needed) }
            ahead = nil
            while run.count < needed {
                let next = try volume.run(of: inode, at: block + run.count, limit: needed - run.count)
                guard run.goesOn(with: next) else {
                    ahead = next
                    break
                }
                run.count += next.count
            }
            let step = min(left, (run.count << shift) - inside)
            if let start = run.start {
                try volume.read(Int(step), at: start << shift + inside, into: &output)
            } else {
                output.appendZeros(Int(step))
            }
            position += step
            left -= step
        }
    }

    /// See `GuestFileContent`.
    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> GuestRun {
        guard offset < size, limit > 0 else {
            throw ImageError(
                .outOfRange, path: volume.path,
                "inode \(inode.number): nothing at \(offset): the file has \(size) bytes")
        }
        let count = min(limit, size - offset)
        if inline != nil { return GuestRun(isData: true, count: count) }
        let shift = UInt64(volume.blockShift)
        let mask = UInt64(volume.blockSize - 1)
        let inside = offset & mask
        let needed = (count + inside + mask) >> shift
        var run = try volume.run(of: inode, at: offset >> shift, limit: needed)
        // A hostile file may be of any number of pieces.
        var pieces = 1
        while run.count < needed, pieces < Self.pieceLimit {
            pieces += 1
            let next = try volume.run(of: inode, at: offset >> shift + run.count, limit: needed - run.count)
            guard (next.start == nil) == (run.start == nil) else { break }
            run.count += next.count
        }
        return GuestRun(isData: run.start != nil, count: min(count, run.count << shift - inside))
    }
}

extension ExtVolume {
    /// All that `inode` holds in itself, of a file with inline data: as many bytes as the file has, with those of the attribute
    /// `system.data` after the 60 of the map.
    func inlineData(of inode: ExtInode) throws(ImageError) -> [UInt8] {
        var data = inode.map.bytes
        if inode.size > 60 {
            for attribute in try attributes(of: inode)
            where attribute.index == 7 && attribute.name.elementsEqual("data".utf8) {
                data += attribute.value
                break
            }
        }
        guard inode.size <= UInt64(data.count) else {
            throw corrupt(
                "inode \(inode.number): inline data", at: inode.place,
                "there are \(data.count) bytes, but the file has \(inode.size)")
        }
        return Array(data.prefix(Int(inode.size)))
    }

    /// The first `count` bytes of `inode`, which are few.
    func contentBytes(of inode: ExtInode, _ count: Int) throws(ImageError) -> [UInt8] {
        let content = try ExtContent(inode, of: self)
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in try content.read(count, at: 0, into: &output) }
        return buffer.array
    }

    /// The path in the symbolic link `inode`.
    func target(of inode: ExtInode) throws(ImageError) -> [UInt8] {
        guard inode.kind == .link else {
            throw corrupt("inode \(inode.number)", at: inode.place, "is no symbolic link")
        }
        if inode.flags.contains(.encrypted) {
            throw unsupported("inode \(inode.number): the target of this link is encrypted, and there is no key for it")
        }
        guard inode.size > 0, inode.size <= 4095 else {
            throw corrupt(
                "inode \(inode.number)", at: inode.place + 4,
                "the link has \(inode.size) bytes, but must have 1 to 4095")
        }
        let bytes =
            isInMap(inode)
            ? Array(inode.map.bytes.prefix(Int(inode.size))) : try contentBytes(of: inode, Int(inode.size))
        let path = Array(bytes.prefix { $0 != 0 })
        guard !path.isEmpty else { throw corrupt("inode \(inode.number)", at: inode.place, "the link has no path") }
        return path
    }

    /// Whether the path of the link `inode` is where others have the map: it has no block then, but for attributes.
    private func isInMap(_ inode: ExtInode) -> Bool {
        guard !inode.flags.contains(.inlineData), !inode.flags.contains(.extents), inode.size < 60 else { return false }
        let attributes: UInt64 = inode.attributeBlock == 0 ? 0 : UInt64(blockSize) << UInt64(superblock.clusterShift)
        let bytes = inode.status(superblock).allocatedSize
        return bytes <= attributes
    }
}
