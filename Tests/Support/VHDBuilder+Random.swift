import HostTools

extension VHDBuilder {
    /// A disk in blocks, with bits set here and there, and the disk that it is over `parent`, which is as long. Where a bit is
    /// not set, the block has bytes that are not the disk's.
    package static func random(
        kind: UInt32, size: Int, blockSize: Int, over parent: [UInt8], using random: inout SeededRandom
    ) -> (builder: VHDBuilder, disk: [UInt8]) {
        var builder = VHDBuilder(size: UInt64(size))
        builder.kind = kind
        builder.blockSize = UInt32(blockSize)
        builder.isReversed = Bool.random(using: &random)
        var disk = kind == 4 ? parent : [UInt8](repeating: 0, count: size)
        for index in 0..<(size + blockSize - 1) / blockSize where Int.random(in: 0..<3, using: &random) > 0 {
            let sectors = blockSize / 512
            var written = [Bool](repeating: Bool.random(using: &random), count: sectors)
            if Bool.random(using: &random) {
                var position = 0
                while position < sectors {
                    let end = min(sectors, position + Int.random(in: 1...max(1, sectors / 4), using: &random))
                    let bit = Bool.random(using: &random)
                    for sector in position..<end { written[sector] = bit }
                    position = end
                }
            }
            let seed = random.next()
            let bytes = (0..<blockSize).map { UInt8(truncatingIfNeeded: (seed &+ UInt64($0)) &* 0x9e37_79b9 >> 16) | 1 }
            builder.blocks[index] = Block(written: written, bytes: bytes)
            for sector in 0..<sectors where written[sector] {
                let start = index * blockSize + sector * 512
                guard start < size else { break }
                let count = min(512, size - start)
                disk.replaceSubrange(start..<start + count, with: bytes[sector * 512..<sector * 512 + count])
            }
        }
        return (builder, disk)
    }
}
