import BlockImage
import ByteFormat

/// The journal of a file system (JBD2), read once, from its first transaction to the last that was committed:
/// Documentation/filesystems/ext4/journal.rst of Linux. A transaction is one or more of these blocks, each of which begins with the
/// magic, its kind and the transaction's number, and a commit block:
///
///     1  descriptor: a tag for each of the blocks behind it, which are copies of blocks of the file system
///     5  revoke: older copies of these blocks are not to be used
///     2  commit
struct ExtJournal {
    /// The most copies and revoked blocks that are taken note of: with what takes some 70 MiB at most while it is read.
    private static let limit = 1 << 19

    private let volume: ExtVolume
    private let inode: ExtInode
    private let superblock: JournalSuperblock
    private var found: [(block: UInt64, copy: JournalCopies.Copy)] = []
    /// The last transaction that revoked a block.
    private var revoked: [UInt64: UInt32] = [:]
    /// How many transactions were committed.
    private var transactions = 0
    private var lastTime: UInt64 = 0
    /// Why the replay ended before the last block that looks like one of a transaction.
    private var fault: ErrorText?
    /// The place that was last found.
    private var run: (logical: UInt64, run: ExtRun)?

    /// What the journal of `volume`, which is read as it is stored, has in the place of blocks.
    static func replay(_ volume: ExtVolume, _ notes: inout [ErrorText]) throws(ImageError) -> JournalCopies {
        let isNeeded = volume.superblock.features.contains(.recover)
        guard volume.superblock.hasJournal else {
            guard !isNeeded else {
                throw volume.corrupt(
                    "superblock", at: ExtSuperblock.offset + 0x60, "a journal is to be replayed, but there is none")
            }
            return JournalCopies()
        }
        guard volume.superblock.journalInode != 0 else {
            guard !isNeeded else {
                throw volume.unsupported(
                    "the journal is on another device, and has not been replayed: mount the file system, or run e2fsck(8)"
                )
            }
            notes.append("the journal is on another device; nothing in it is needed")
            return JournalCopies()
        }
        guard isNeeded else { return JournalCopies() }
        guard var journal = try ExtJournal(volume) else { return JournalCopies() }
        try journal.scan()
        let copies = journal.copies()
        if journal.transactions > 0 {
            let few = journal.transactions == 1 ? "transaction that was" : "transactions that were"
            notes.append("the journal has \(journal.transactions) \(few) replayed in memory")
        }
        if let fault = journal.fault { notes.append(fault) }
        return copies
    }

    /// The journal of `volume`; nil for one without a transaction.
    private init?(_ volume: ExtVolume) throws(ImageError) {
        let inode = try volume.inode(volume.superblock.journalInode)
        guard inode.kind == .regular, !inode.flags.contains(.inlineData) else {
            throw volume.corrupt("inode \(inode.number)", at: inode.place, "is the journal, but no regular file")
        }
        (self.volume, self.inode) = (volume, inode)
        let first = try volume.block(0, of: inode)
        do throws(ParseFault) {
            superblock = try JournalSuperblock(
                parsing: first.fields.bytes,
                blocks: min(inode.size >> UInt64(volume.blockShift), volume.superblock.blockCount))
        } catch {
            throw volume.corrupt(
                "superblock of the journal", at: volume.place(first.number) + UInt64(error.position), error.message)
        }
        if let unknown = superblock.unknown {
            throw volume.unsupported("the journal has features that this program does not know: \(unknown)")
        }
        guard superblock.start != 0 else { return nil }
    }

    /// Where the block `index` of the journal is.
    private mutating func place(_ index: UInt32) throws(ImageError) -> UInt64 {
        let index = UInt64(index)
        if let (logical, run) = run, index >= logical, index - logical < run.count, let start = run.start {
            return start + (index - logical)
        }
        let next = try volume.run(of: inode, at: index, limit: UInt64(superblock.length))
        guard let start = next.start else {
            throw volume.corrupt(
                "inode \(inode.number)", at: inode.place, "the block \(index) of the journal is a hole")
        }
        run = (index, next)
        return start
    }

    /// The block after `index`: from the last on to the first.
    private func next(_ index: UInt32, by count: UInt32 = 1) -> UInt32 {
        var next = UInt64(index) + UInt64(count)
        let (first, end) = (UInt64(superblock.first), UInt64(superblock.end))
        if next >= end { next = first + (next - end) % (end - first) }
        return UInt32(truncatingIfNeeded: next)
    }

    /// What one transaction has until it is committed.
    private struct Transaction {
        var copies: [(block: UInt64, copy: JournalCopies.Copy)] = []
        var revoked: [UInt64] = []
        /// Whether a block of it has a wrong check sum: it may be one of an earlier use of the journal.
        var isDoubtful = false
        /// The check sum of all of its blocks, where commit blocks have one.
        var sum = BigEndianCRC32()
    }

    /// Reads all transactions.
    private mutating func scan() throws(ImageError) {
        var (index, sequence) = (superblock.start, superblock.sequence)
        var transaction = Transaction()
        // A block is read once at most.
        var left = superblock.end - superblock.first
        while left > 0 {
            let place = try place(index)
            let fields = ExtFields(try volume.bytes(volume.blockSize, at: volume.place(place)))
            guard fields.slice(0..<4) == JournalCopies.magic, fields.big32(8) == sequence else { break }
            let start = index
            index = next(index)
            switch fields.big32(4) {
            case 1:
                if superblock.hasTransactionSums { transaction.sum.update(fields.bytes) }
                let count = try read(descriptor: fields, sequence, start, &transaction)
                guard count < left else { break }
                left -= count
                index = next(index, by: count)
            case 5: try read(revocation: fields, at: place, &transaction)
            case 2:
                guard commit(fields, transaction, sequence, at: place) else { return try refuseFastCommits(sequence) }
                transaction = Transaction()
                sequence &+= 1
            default: return try refuseFastCommits(sequence)
            }
            left -= 1
        }
        try refuseFastCommits(sequence)
    }

    /// Takes note of the tags of a descriptor, and answers how many blocks follow it.
    private mutating func read(
        descriptor fields: ExtFields, _ sequence: UInt32, _ index: UInt32, _ transaction: inout Transaction
    ) throws(ImageError) -> UInt32 {
        var end = fields.count
        if superblock.hasSums {
            end -= 4
            if !hasTail(fields) { transaction.isDoubtful = true }
        }
        var (position, count): (Int, UInt32) = (12, 0)
        while position + superblock.tagSize <= end {
            let isThird = superblock.features.contains(.checksums3)
            let flags = isThird ? fields.big32(position + 4) : fields.big32(position + 4) & 0xffff
            var block = UInt64(fields.big32(position))
            if superblock.features.contains(.wide) { block |= UInt64(fields.big32(position + 8)) << 32 }
            count += 1
            guard count <= superblock.end - superblock.first else { break }
            let place = try place(next(index, by: count))
            if superblock.hasTransactionSums {
                transaction.sum.update(try volume.bytes(volume.blockSize, at: volume.place(place)))
            }
            guard found.count + transaction.copies.count < Self.limit else { throw tooMany() }
            transaction.copies.append(
                (
                    block,
                    JournalCopies.Copy(
                        place: place, sequence: sequence,
                        checksum: isThird ? fields.big32(position + 12) : fields.big32(position + 4) >> 16,
                        isEscaped: flags & 1 != 0)
                ))
            position += superblock.tagSize + (flags & 2 == 0 ? 16 : 0)
            if flags & 8 != 0 { break }
        }
        return count
    }

    private mutating func read(
        revocation fields: ExtFields, at place: UInt64, _ transaction: inout Transaction
    ) throws(ImageError) {
        let end = Int(fields.big32(12))
        let most = fields.count - (superblock.hasSums ? 4 : 0)
        if superblock.hasSums, !hasTail(fields) {
            transaction.isDoubtful = true
            return
        }
        guard end >= 16, end <= most else {
            throw volume.corrupt(
                "revoke block of the journal", at: volume.place(place) + 12, "has \(end) bytes, but at most \(most)")
        }
        let size = superblock.features.contains(.wide) ? 8 : 4
        guard revoked.count + transaction.revoked.count + (end - 16) / size < Self.limit else { throw tooMany() }
        for position in stride(from: 16, through: end - size, by: size) {
            transaction.revoked.append(size == 8 ? fields.big64(position) : UInt64(fields.big32(position)))
        }
    }

    private func tooMany() -> ImageError {
        volume.unsupported(
            "the journal has more than \(Self.limit) copies of blocks: mount the file system, or run e2fsck(8)")
    }

    /// Whether the last four bytes of a block are its check sum.
    private func hasTail(_ fields: ExtFields) -> Bool {
        var sum = CRC32C(state: superblock.seed)
        sum.update(fields.bytes, without: fields.count - 4..<fields.count)
        return sum.state == fields.big32(fields.count - 4)
    }

    /// Adds what `transaction` has if its commit block is sound; answers whether it is.
    private mutating func commit(
        _ fields: ExtFields, _ transaction: Transaction, _ sequence: UInt32, at place: UInt64
    ) -> Bool {
        let time = fields.big64(0x30)
        guard !transaction.isDoubtful, isSound(commit: fields, transaction) else {
            // An older one is of an earlier use of the journal, after whose end there is nothing.
            if time >= lastTime {
                fault =
                    "the transaction \(sequence) of the journal, committed at \(hexadecimal(volume.place(place))) of the file system, has a wrong check sum: neither it nor what comes after it is shown, and Linux does not mount the file system"
            }
            return false
        }
        lastTime = time
        transactions += 1
        found += transaction.copies
        for block in transaction.revoked { revoked[block] = sequence }
        return true
    }

    /// Whether a commit block, and what it says of its transaction, has the check sum that it must have.
    ///
    ///     OFFSET SIZE FIELD
    ///        0xc    1 h_chksum_type
    ///        0xd    1 h_chksum_size
    ///       0x10    4 h_chksum
    ///       0x30    8 h_commit_sec
    private func isSound(commit fields: ExtFields, _ transaction: Transaction) -> Bool {
        let stored = fields.big32(0x10)
        if superblock.hasSums {
            var sum = CRC32C(state: superblock.seed)
            sum.update(fields.bytes, without: 0x10..<0x14)
            if sum.state == stored { return true }
            // Of a block that was cut short when it was written, only the fields need be there.
            sum = CRC32C(state: superblock.seed)
            sum.update(fields.slice(0..<0x3c) + [UInt8](repeating: 0, count: fields.count - 0x3c), without: 0x10..<0x14)
            return sum.state == stored
        }
        guard superblock.hasTransactionSums else { return true }
        let (type, size) = (fields.u8(0xc), fields.u8(0xd))
        return type == 1 && size == 4 && stored == transaction.sum.value || type == 0 && size == 0 && stored == 0
    }

    /// The newest copy of each block that is not revoked.
    private func copies() -> JournalCopies {
        var copies: [UInt64: JournalCopies.Copy] = [:]
        for (block, copy) in found {
            // The numbers of transactions begin again after the largest.
            if let last = revoked[block], Int32(bitPattern: copy.sequence &- last) <= 0 { continue }
            copies[block] = copy
        }
        let checksums: JournalCopies.Checksums =
            if superblock.features.contains(.checksums3) {
                .version3(seed: superblock.seed)
            } else if superblock.features.contains(.checksums2) { .version2(seed: superblock.seed) } else { .none }
        return JournalCopies(copies, checksums)
    }

    /// Throws `unsupported` where fast commits follow the last transaction, before `sequence`: they are changes, not copies.
    /// Their head alone says so: where what follows it is damaged, Linux does not mount the file system.
    private mutating func refuseFastCommits(_ sequence: UInt32) throws(ImageError) {
        guard fault == nil, superblock.fastBlocks > 0 else { return }
        // Linux has left one block out.
        for index in [superblock.end, superblock.end + 1] where index < superblock.length {
            let place = try place(index)
            let fields = ExtFields(try volume.bytes(volume.blockSize, at: volume.place(place)))
            // The tag of a head, its length, its features, and the transaction that it goes on from.
            guard fields.u16(0) == 9, fields.u16(2) >= 8, fields.u32(8) == sequence else { continue }
            throw volume.unsupported(
                "the journal has fast commits, which this program does not replay: mount the file system, or run e2fsck(8)"
            )
        }
    }
}

/// CRC-32 with the most significant bit first, and not inverted at the end: in commit blocks of the first version.
struct BigEndianCRC32 {
    private(set) var value = UInt32.max

    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte) << 24) { sum, _ in sum & 0x8000_0000 == 0 ? sum << 1 : sum << 1 ^ 0x04c1_1db7 }
    }

    mutating func update(_ bytes: [UInt8]) {
        let table = Self.table
        var sum = value
        for byte in bytes { sum = sum << 8 ^ table[Int(UInt8(truncatingIfNeeded: sum >> 24) ^ byte)] }
        value = sum
    }
}
