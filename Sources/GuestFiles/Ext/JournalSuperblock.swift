import ByteFormat

/// The first block of a journal: Documentation/filesystems/ext4/journal.rst of Linux. All integers are big-endian.
///
///     OFFSET SIZE FIELD (of those that are read)
///          0    4 h_magic
///          4    4 h_blocktype: 3 or 4; 3 has nothing from 0x24 on
///        0xc    4 s_blocksize
///       0x10    4 s_maxlen: the blocks of the journal
///       0x14    4 s_first: the first one for transactions
///       0x18    4 s_sequence: the first transaction
///       0x1c    4 s_start: its first block; 0: there is none
///       0x24   12 s_feature_compat, s_feature_incompat, s_feature_ro_compat
///       0x30   16 s_uuid
///       0x50    1 s_checksum_type
///       0x54    4 s_num_fc_blocks
///       0xfc    4 s_checksum
struct JournalSuperblock: Sendable {
    /// What its blocks have (s_feature_incompat).
    struct Features: OptionSet, Sendable {
        let rawValue: UInt32
        static let revoke = Self(rawValue: 1)
        static let wide = Self(rawValue: 2)
        static let asyncCommit = Self(rawValue: 4)
        static let checksums2 = Self(rawValue: 8)
        static let checksums3 = Self(rawValue: 16)
        static let fastCommit = Self(rawValue: 32)
        static let known: Self = [.revoke, .wide, .asyncCommit, .checksums2, .checksums3, .fastCommit]
    }

    let length: UInt32
    let first: UInt32
    let sequence: UInt32
    let start: UInt32
    let features: Features
    /// Whether commit blocks have a check sum of all blocks of their transaction.
    let hasTransactionSums: Bool
    let seed: UInt32
    /// The blocks at the end that fast commits have.
    let fastBlocks: UInt32
    /// What it has that is not known; nil: nothing.
    let unknown: String?

    /// Where the blocks for transactions end.
    var end: UInt32 { length - fastBlocks }
    var hasSums: Bool { !features.isDisjoint(with: [.checksums2, .checksums3]) }
    /// The bytes of a tag.
    var tagSize: Int {
        if features.contains(.checksums3) { return 16 }
        return 8 + (features.contains(.checksums2) ? 2 : 0) + (features.contains(.wide) ? 4 : 0)
    }

    /// The journal whose first block is `bytes`, of `blocks` blocks at most. Throws what is wrong.
    init(parsing bytes: [UInt8], blocks: UInt64) throws(ParseFault) {
        let fields = ExtFields(bytes)
        let kind = fields.big32(4)
        guard fields.slice(0..<4) == JournalCopies.magic, kind == 3 || kind == 4 else {
            throw ParseFault(at: 0, "there is no superblock of a journal")
        }
        let isNew = kind == 4
        features = Features(rawValue: isNew ? fields.big32(0x28) : 0)
        let compatible = isNew ? fields.big32(0x24) : 0
        let unknownBits = (features.subtracting(.known).rawValue, isNew ? fields.big32(0x2c) : 0)
        unknown =
            unknownBits == (0, 0)
            ? nil : "incompatible \(hexadecimal(unknownBits.0)), read-only \(hexadecimal(unknownBits.1))"
        hasTransactionSums = compatible & 1 != 0 && features.isDisjoint(with: [.checksums2, .checksums3])
        var sum = CRC32C()
        sum.update(bytes, in: 0x30..<0x40)
        seed = sum.state
        if !features.isDisjoint(with: [.checksums2, .checksums3]) {
            guard fields.u8(0x50) == 4, !features.isSuperset(of: [.checksums2, .checksums3]) else {
                throw ParseFault(
                    at: 0x50, "s_checksum_type is \(fields.u8(0x50)), but must be 4, which is CRC-32C, in one version")
            }
            var sum = CRC32C()
            sum.update(fields.slice(0..<1024), without: 0xfc..<0x100)
            guard sum.state == fields.big32(0xfc) else {
                throw ParseFault(
                    at: 0xfc,
                    "the check sum is \(hexadecimal(sum.state)), but must be \(hexadecimal(fields.big32(0xfc)))")
            }
        }
        guard Int(fields.big32(0xc)) == bytes.count else {
            throw ParseFault(at: 0xc, "s_blocksize is \(fields.big32(0xc)), but must be \(bytes.count)")
        }
        (length, first) = (fields.big32(0x10), fields.big32(0x14))
        (sequence, start) = (fields.big32(0x18), fields.big32(0x1c))
        let stored = fields.big32(0x54)
        let wanted = stored == 0 ? 256 : stored
        // Linux leaves the others at least 1,024.
        let isFast = features.contains(.fastCommit) && length > wanted && length - wanted >= 1024
        fastBlocks = isFast ? wanted : 0
        guard UInt64(length) <= blocks, first > 0, first < length - fastBlocks else {
            throw ParseFault(
                at: 0x10, "s_maxlen is \(length) and s_first \(first), but the journal has \(blocks) blocks")
        }
        guard start == 0 || start >= first && start < length - fastBlocks else {
            throw ParseFault(at: 0x1c, "s_start is \(start), but must be \(first) to \(length - fastBlocks)")
        }
    }
}
