import BlockImage

/// How large the blocks and the chunks of a map are.
struct ChunkLayout: Equatable {
    /// A block has 2 to the power of this many bytes.
    var blockBits: Int
    /// A chunk has 2 to the power of this many bytes.
    var chunkBits: Int

    /// Larger chunks than 1 GiB gain nothing.
    private static let chunkBitLimit = 30
    /// What the kernel takes on all machines.
    private static let leastBlockBits = 9
    static let mostBlockBits = 12

    /// The layout for `found`, which is a disk of `size` bytes, at least one.
    ///
    /// The blocks are as large as nearly all that lies in files allows: one part of 64 may be left to the fallback. The
    /// chunks are as large as can be without any loss, since the kernel looks up and keeps an entry for each; and so large
    /// that there are not too many.
    init(for found: MappedPieces, size: UInt64) {
        var least = 0
        while (size - 1) >> UInt64(least) >= ExtentMap.chunkLimit { least += 1 }
        var blockBits = Self.leastBlockBits
        while blockBits < Self.mostBlockBits, (size - 1) >> UInt64(blockBits) >= ExtentMap.blockLimit { blockBits += 1 }
        let smallest = Self(blockBits: blockBits, leastChunkBits: least)
        let most = smallest.directSize(of: found, size: size)
        var best = (layout: smallest, size: most)
        while blockBits < Self.mostBlockBits {
            blockBits += 1
            let layout = Self(blockBits: blockBits, leastChunkBits: least)
            let direct = layout.directSize(of: found, size: size)
            if direct >= most - most / 64 { best = (layout, direct) }
        }
        self = best.layout
        while best.size > 0, chunkBits < Self.chunkBitLimit {
            let larger = Self(blockBits: self.blockBits, leastChunkBits: chunkBits + 1)
            guard larger.directSize(of: found, size: size) == best.size else { break }
            self = larger
        }
    }

    private init(blockBits: Int, leastChunkBits: Int) {
        self.blockBits = blockBits
        chunkBits = max(blockBits, leastChunkBits)
    }

    /// `size` up to the next multiple of a block.
    func wholeBlocks(_ size: UInt64) -> UInt64 {
        let mask = UInt64(1) << UInt64(blockBits) - 1
        return (size + mask) & ~mask
    }

    /// How many bytes of `found` are in whole chunks of one piece that lies in a file.
    private func directSize(of found: MappedPieces, size: UInt64) -> UInt64 {
        let (blockMask, chunkMask) = (UInt64(1) << UInt64(blockBits) - 1, UInt64(1) << UInt64(chunkBits) - 1)
        var sum: UInt64 = 0
        for (index, piece) in found.pieces.enumerated() {
            guard case .file(let number) = piece.source, (piece.offset &- piece.start) & blockMask == 0 else {
                continue
            }
            let end = index + 1 < found.pieces.count ? found.pieces[index + 1].start : size
            let first = (piece.start + chunkMask) & ~chunkMask
            // What the disk ends with is a chunk, whole or not, if the file does not end within its last block.
            let isWhole = end == size && piece.offset + wholeBlocks(end - piece.start) <= found.files[number].size
            let last = isWhole ? end : end & ~chunkMask
            if last > first { sum += last - first }
        }
        return sum
    }
}
