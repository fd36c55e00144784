import ByteFormat

/// What a journal has in the place of blocks of the file system: all of its committed transactions together.
struct JournalCopies: Sendable {
    /// The bytes that every block of the journal's own begins with.
    static let magic: [UInt8] = [0xc0, 0x3b, 0x39, 0x98]

    /// The newest copy of one block.
    struct Copy: Hashable, Sendable {
        /// The block of the file system that has it.
        var place: UInt64
        /// The transaction that it belongs to.
        var sequence: UInt32
        /// What the tag says is its check sum.
        var checksum: UInt32
        /// Whether the journal's magic was taken from its first bytes.
        var isEscaped: Bool
    }

    /// How the check sums of tags are made.
    enum Checksums: Sendable {
        case none
        /// The lower 16 bits.
        case version2(seed: UInt32)
        case version3(seed: UInt32)
    }

    /// The blocks that it has copies of, in order.
    private let blocks: [UInt64]
    /// A copy for each.
    private let copies: [Copy]
    private let checksums: Checksums

    /// Those of no journal.
    init() { (blocks, copies, checksums) = ([], [], .none) }

    /// Those of `copies`, by block.
    init(_ copies: [UInt64: Copy], _ checksums: Checksums) {
        let sorted = copies.sorted { $0.key < $1.key }
        blocks = sorted.map(\.key)
        self.copies = sorted.map(\.value)
        self.checksums = checksums
    }

    /// How many blocks it has copies of.
    var count: Int { blocks.count }

    /// The first block from `number` on that it has a copy of.
    func next(from number: UInt64) -> (block: UInt64, copy: Copy)? {
        if blocks.isEmpty { return nil }
        var (low, high) = (0, blocks.count)
        while low < high {
            let middle = (low + high) / 2
            if blocks[middle] < number { low = middle + 1 } else { high = middle }
        }
        return low < blocks.count ? (blocks[low], copies[low]) : nil
    }

    /// Whether `bytes`, as the journal has them, have the check sum of `copy`.
    func isSound(_ bytes: [UInt8], _ copy: Copy) -> Bool {
        let seed: UInt32
        switch checksums {
        case .none: return true
        case .version2(let value), .version3(let value): seed = value
        }
        var sum = CRC32C(state: seed)
        sum.update(littleEndian: copy.sequence.byteSwapped)
        sum.update(bytes, in: 0..<bytes.count)
        if case .version2 = checksums { return sum.state & 0xffff == copy.checksum }
        return sum.state == copy.checksum
    }
}
