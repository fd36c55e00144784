/// Builds VDI files, for tests that need what QEMU does not make, or damage it.
package struct VDIBuilder: Sendable {
    /// What the block map says of a block.
    package enum Block: Sendable {
        /// Never written.
        case free
        /// Zeros.
        case zero
        /// These bytes.
        case data([UInt8])
    }

    /// The size of the disk.
    package var size: UInt64
    /// 1: dynamic, 2: static, 3: undo, 4: differencing.
    package var kind: UInt32 = 1
    /// The bytes of a block.
    package var blockSize = 4096
    /// The bytes before each block.
    package var extraSize = 0
    /// The bytes of the header behind the preheader.
    package var headerSize: UInt32 = 400
    /// What each block is.
    package var blocks: [Block] = []
    /// The UUID of the image, as its bytes stand in the file.
    package var identity: [UInt8] = Array(1...16)
    /// That of its last modification.
    package var modification: [UInt8] = Array(17...32)
    /// The two UUIDs of the parent.
    package var parent: (identity: [UInt8], modification: [UInt8])?
    /// Whether the blocks come in the reverse order.
    package var isReversed = false

    /// A disk of `size` bytes.
    package init(size: UInt64) {
        self.size = size
    }

    /// Where the block map begins.
    package static let mapOffset = 512

    /// Where the blocks begin.
    package var dataOffset: Int { Self.mapOffset + (blocks.count * 4 + 511) / 512 * 512 }

    /// The file.
    package func build() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: dataOffset)
        bytes.replaceSubrange(0..<21, with: "<<< a disk image >>>\n".utf8)
        bytes.put(UInt32(0xbeda_107f), at: 64)
        bytes.put(UInt32(0x0001_0001), at: 68)
        bytes.put(headerSize, at: 72)
        bytes.put(kind, at: 76)
        bytes.put(UInt32(Self.mapOffset), at: 340)
        bytes.put(UInt32(dataOffset), at: 344)
        bytes.put(UInt32(512), at: 360)
        bytes.put(size, at: 368)
        bytes.put(UInt32(blockSize), at: 376)
        bytes.put(UInt32(extraSize), at: 380)
        bytes.put(UInt32(blocks.count), at: 384)
        bytes.replaceSubrange(392..<408, with: identity)
        bytes.replaceSubrange(408..<424, with: modification)
        if let parent {
            bytes.replaceSubrange(424..<440, with: parent.identity)
            bytes.replaceSubrange(440..<456, with: parent.modification)
        }
        var count: UInt32 = 0
        for index in isReversed ? Array(blocks.indices.reversed()) : Array(blocks.indices) {
            var entry = UInt32.max
            switch blocks[index] {
            case .free: break
            case .zero: entry = 0xffff_fffe
            case .data(let data):
                entry = count
                count += 1
                bytes += [UInt8](repeating: 0xee, count: extraSize) + data
                bytes += [UInt8](repeating: 0, count: blockSize - data.count)
            }
            bytes.put(entry, at: Self.mapOffset + index * 4)
        }
        bytes.put(count, at: 388)
        return bytes
    }
}
