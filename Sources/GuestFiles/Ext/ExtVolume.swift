import BlockImage
import ByteFormat
import Synchronization

/// A block of metadata that is kept.
final class ExtBlock: Sendable {
    /// Where it is.
    let number: UInt64
    /// What is in it.
    let fields: ExtFields
    /// As what it was checked; 0: not yet.
    private let checked = Atomic<UInt64>(0)

    /// The block `number`, of `bytes`.
    init(_ number: UInt64, _ bytes: [UInt8]) {
        self.number = number
        fields = ExtFields(bytes)
    }

    /// Calls `check` unless it passed before for the same `role`, which is not 0.
    func check(once role: UInt64, _ check: () throws(ImageError) -> Void) throws(ImageError) {
        if checked.load(ordering: .relaxed) == role { return }
        try check()
        checked.store(role, ordering: .relaxed)
    }
}

/// The blocks of a file system as they are after its journal was replayed. Every method may be called from any thread.
final class ExtVolume: Sendable {
    /// The most bytes of metadata that are kept.
    private static let cacheSize = 8 << 20

    let disk: Image
    let path: String
    let superblock: ExtSuperblock
    /// What the journal has in the place of blocks.
    let copies: JournalCopies
    /// The group that was read last.
    let lastGroup = Guarded<(index: UInt64, group: ExtGroup)?>(nil)
    private let cache = BoundedCache<UInt64, ExtBlock>(capacity: cacheSize)

    /// That of `disk`.
    init(_ disk: Image, path: String, _ superblock: ExtSuperblock, _ copies: JournalCopies) {
        (self.disk, self.path, self.superblock, self.copies) = (disk, path, superblock, copies)
    }

    var blockSize: Int { superblock.blockSize }
    var blockShift: Int { superblock.blockShift }
    /// Where the block `number`, which is one of the file system, begins on the disk.
    func place(_ number: UInt64) -> UInt64 { number << UInt64(blockShift) }

    /// An error about what is wrong at the byte `place` of the file system.
    func corrupt(_ what: String, at place: UInt64, _ message: String) -> ImageError {
        ImageError(.corrupt, path: path, "\(what), at \(hexadecimal(place)) of the file system: \(message)")
    }

    /// An error about what this program does not read.
    func unsupported(_ message: String) -> ImageError { ImageError(.unsupported, path: path, ErrorText(message)) }

    /// Throws unless the `count` blocks from `number` on may be those of a file.
    func check(_ number: UInt64, _ count: UInt64 = 1, of what: String, at place: UInt64) throws(ImageError) {
        let end = number.addingReportingOverflow(count)
        guard number > superblock.firstDataBlock, !end.overflow,
            end.partialValue <= superblock.blockCount
        else {
            let blocks = count == 1 ? "the block \(number)" : "\(count) blocks from \(number) on"
            throw corrupt(what, at: place, "leads to \(blocks), but there are \(superblock.blockCount)")
        }
    }

    /// The block `number`, as metadata of `what`.
    func block(_ number: UInt64, of what: @autoclosure () -> String) throws(ImageError) -> ExtBlock {
        if let block = cache.value(for: number) { return block }
        guard number < superblock.blockCount else {
            throw corrupt(what(), at: 0, "leads to the block \(number), but there are \(superblock.blockCount)")
        }
        let block = ExtBlock(number, try bytes(blockSize, at: place(number)))
        return cache.insert(block, cost: blockSize + 256, for: number)
    }

    /// The `count` bytes at `place` of the file system, which lie in it.
    func bytes(_ count: Int, at place: UInt64) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in try read(count, at: place, into: &output) }
        return buffer.array
    }

    /// Appends the `count` bytes at `place` of the file system, which lie in it, as the journal has them or the disk.
    func read(_ count: Int, at place: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        var (place, left) = (place, count)
        while left > 0 {
            let number = place >> UInt64(blockShift)
            guard let next = copies.next(from: number), next.block << UInt64(blockShift) < place + UInt64(left) else {
                return try readDisk(left, at: place, into: &output)
            }
            let start = next.block << UInt64(blockShift)
            if start > place {
                let step = Int(start - place)
                try readDisk(step, at: place, into: &output)
                (place, left) = (start, left - step)
            }
            let inside = Int(place - start)
            let step = min(left, blockSize - inside)
            let bytes = try content(of: next.copy, for: next.block)
            // Safe: the span is used in this call only, in which the array stays.
            unsafe output.append(copying: bytes.span.bytes.extracting(inside..<inside + step))
            (place, left) = (place + UInt64(step), left - step)
        }
    }

    private func readDisk(_ count: Int, at place: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        guard place <= disk.virtualSize, UInt64(count) <= disk.virtualSize - place else {
            throw ImageError(
                .truncated, path: path,
                "the disk has \(disk.virtualSize) bytes, but \(count) are needed at \(hexadecimal(place)) of the file system"
            )
        }
        try disk.read(count, at: GuestOffset(place), into: &output)
    }

    /// The bytes of `copy`, which are those of the block `number`.
    private func content(of copy: JournalCopies.Copy, for number: UInt64) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: blockSize)
        let start = place(copy.place)
        try buffer.fill(blockSize) { output throws(ImageError) in try readDisk(blockSize, at: start, into: &output) }
        var bytes = buffer.array
        if !copies.isSound(bytes, copy) {
            throw corrupt(
                "the journal", at: start,
                "the copy of the block \(number) has a wrong check sum: e2fsck(8) can replay the rest of the journal")
        }
        if copy.isEscaped { bytes.replaceSubrange(0..<4, with: JournalCopies.magic) }
        return bytes
    }
}
