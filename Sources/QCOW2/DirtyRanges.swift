import BlockImage
import ByteFormat

/// An entry of a bitmap table: docs/interop/qcow2 "Bitmap table".
///
///     BIT   FIELD
///      0    all ones: where there is no data cluster, all bits are 1 instead of 0
///      1-8  reserved
///      9-55 offset of the cluster of bits; 0: none
///     56-63 reserved
struct BitmapTableEntry: RawRepresentable, Hashable {
    let rawValue: UInt64

    static let allOnes = BitField<UInt64>(0)
    static let reservedLow = BitField<UInt64>(1...8)
    static let offset = BitField<UInt64>(9...55)
    static let reservedHigh = BitField<UInt64>(56...63)

    /// Where a cluster of bits comes from.
    enum Content: Hashable {
        case uniform(isDirty: Bool)
        case stored(HostOffset)
    }

    /// What the entry says. Reserved bits are no matter in L2 entries, but a bitmap that is misread loses data, and
    /// QEMU refuses them, too. Throws a message of what is wrong with the entry.
    func content(clusterSize: UInt64) throws(ParseFault) -> Content {
        guard !Self.reservedLow.isSet(in: rawValue), !Self.reservedHigh.isSet(in: rawValue) else {
            throw ParseFault(at: 0, "has reserved bits set: \(hexadecimal(rawValue))")
        }
        let offset = Self.offset.masked(in: rawValue)
        let isDirty = Self.allOnes.isSet(in: rawValue)
        if offset == 0 { return .uniform(isDirty: isDirty) }
        guard !isDirty else { throw ParseFault(at: 0, "has both a cluster of bits and the flag that all are ones") }
        guard offset % clusterSize == 0 else {
            throw ParseFault(
                at: 0, "points to \(HostOffset(offset)), which is not aligned to the cluster size (\(clusterSize))")
        }
        return .stored(HostOffset(offset))
    }
}

/// The parts of the disk that one bitmap marks as written to, in order, found while they are asked for: memory for one
/// cluster of bits and one page of the bitmap's table is all it takes, however large the bitmap is.
public struct DirtyRanges: DirtyRangeReader {
    /// The entries of the bitmap's table that are read at once.
    private static let pageEntries: UInt64 = 4096

    private let file: any HostFile
    private let bitmap: Bitmap
    private let clusterSize: UInt64
    private let diskSize: UInt64
    /// The bits of the bitmap that stand for something.
    private let bitCount: UInt64
    /// Where the caller wants to begin; inside the first bit's bytes, perhaps.
    private let start: UInt64
    /// The next bit to look at.
    private var position: UInt64
    private var page: (first: UInt64, entries: [UInt64]) = (0, [])
    private var cluster: (index: UInt64, words: [UInt64])?

    /// The ranges of `bitmap`, which was checked, of a disk of `diskSize` bytes, from `start` on.
    fileprivate init(
        _ bitmap: Bitmap, of file: any HostFile, clusterSize: UInt64, diskSize: UInt64, from start: UInt64
    ) {
        self.bitmap = bitmap
        self.file = file
        self.clusterSize = clusterSize
        self.diskSize = diskSize
        bitCount = bitmap.bitCount(diskSize: diskSize)
        self.start = start
        position = start >> UInt64(bitmap.granularityBits)
    }

    /// The next range, which does not touch the one before; nil at the end.
    ///
    /// Throws `corrupt` and `truncated` about the bitmap's table and its clusters of bits.
    public mutating func next() throws(ImageError) -> DirtyRange? {
        guard let first = try firstBit(from: position, isDirty: true) else {
            position = bitCount
            return nil
        }
        position = try firstBit(from: first, isDirty: false) ?? bitCount
        // No overflow: the bits that stand for something begin inside the disk.
        let begin = max(first << UInt64(bitmap.granularityBits), start)
        let end = min(position << UInt64(bitmap.granularityBits), diskSize)
        return DirtyRange(start: GuestOffset(begin), count: end - begin)
    }

    /// The first bit from `position` on that is dirty, or is not.
    private mutating func firstBit(from position: UInt64, isDirty: Bool) throws(ImageError) -> UInt64? {
        let bitsOfCluster = clusterSize * 8
        var position = position
        while position < bitCount {
            let index = position / bitsOfCluster
            switch try content(of: index) {
            case .uniform(isDirty): return position
            case .uniform: break
            case .stored(let offset):
                let words = try words(of: index, at: offset)
                let bit = Self.firstBit(of: words, from: Int(position % bitsOfCluster), isDirty: isDirty)
                // The bits after the last that stands for something should be zeros, but no reader checks.
                if let bit, index * bitsOfCluster + UInt64(bit) < bitCount {
                    return index * bitsOfCluster + UInt64(bit)
                }
            }
            position = (index + 1) * bitsOfCluster
        }
        return nil
    }

    private static func firstBit(of words: [UInt64], from position: Int, isDirty: Bool) -> Int? {
        var index = position / 64
        guard index < words.count else { return nil }
        let flip: UInt64 = isDirty ? 0 : .max
        var word = (words[index] ^ flip) & (.max << UInt64(position % 64))
        while word == 0 {
            index += 1
            guard index < words.count else { return nil }
            word = words[index] ^ flip
        }
        return index * 64 + word.trailingZeroBitCount
    }

    /// What the entry `index` of the bitmap's table says, which is in the table.
    private mutating func content(of index: UInt64) throws(ImageError) -> BitmapTableEntry.Content {
        let first = index - index % Self.pageEntries
        if page.entries.isEmpty || page.first != first {
            let count = min(Self.pageEntries, UInt64(bitmap.tableSize) - first)
            let offset = HostOffset(bitmap.tableOffset).advanced(by: first * 8)
            page = (first, try words(count, at: offset, .big, of: "table of bitmap \"\(bitmap.name)\""))
        }
        do throws(ParseFault) {
            return try BitmapTableEntry(rawValue: page.entries[Int(index - first)]).content(clusterSize: clusterSize)
        } catch {
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(bitmap.tableOffset).advanced(by: index * 8),
                "table of bitmap \"\(bitmap.name)\": entry \(index) \(error.message)")
        }
    }

    /// The bits of the cluster `index` of the bitmap, at `offset`, as far as they stand for something: bit 0 of a byte
    /// is the first, so that little-endian words keep them in order.
    private mutating func words(of index: UInt64, at offset: HostOffset) throws(ImageError) -> [UInt64] {
        if let cluster, cluster.index == index { return cluster.words }
        let wordsOfCluster = clusterSize / 8
        let count = min(wordsOfCluster, (bitCount + 63) / 64 - index * wordsOfCluster)
        let words = try words(count, at: offset, .little, of: "bitmap \"\(bitmap.name)\"")
        cluster = (index, words)
        return words
    }

    private func words(
        _ count: UInt64, at offset: HostOffset, _ order: ByteOrder, of what: String
    ) throws(ImageError) -> [UInt64] {
        let bytes = try file.bytes(Int(count) * 8, at: offset, of: what)
        // Safe: the span does not outlive the array.
        return unsafe decodeTable(bytes.span.bytes, of: UInt64.self, order)
    }
}

extension Bitmap {
    /// The most bytes that the clusters of one bitmap may take, as in QEMU (BME_MAX_PHYS_SIZE).
    static let sizeLimit: UInt64 = 512 << 20

    /// The bits that a disk of `diskSize` bytes needs.
    public func bitCount(diskSize: UInt64) -> UInt64 {
        let granularity: UInt64 = 1 << UInt64(granularityBits)
        return diskSize / granularity + (diskSize % granularity == 0 ? 0 : 1)
    }

    /// Throws why it cannot be read: `unsupported` where nothing can be learned from it, `corrupt` where its entry
    /// contradicts the header.
    fileprivate func check(_ header: Header, _ file: any HostFile) throws(ImageError) {
        func refuse(_ code: ImageError.Code, at position: UInt64, _ message: String) -> ImageError {
            ImageError(
                code, path: file.path, offset: entryOffset.advanced(by: position), "bitmap \"\(name)\": \(message)")
        }
        guard !isInconsistent else {
            throw refuse(.unsupported, at: 12, "was not saved after the disk was last written to, and says nothing")
        }
        guard type == 1 else { throw refuse(.unsupported, at: 16, "type is \(type), but only 1 is known") }
        guard extraDataSize == 0 || flags.contains(.extraDataCompatible) else {
            throw refuse(.unsupported, at: 20, "has extra data, without which it must not be used")
        }
        guard tableOffset != 0, header.isTableOffset(tableOffset) else {
            throw refuse(.corrupt, at: 0, header.misplaced("bitmap_table_offset", tableOffset))
        }
        let bitsOfCluster = header.clusterSize * 8
        let needed = (bitCount(diskSize: header.virtualSize) + bitsOfCluster - 1) / bitsOfCluster
        guard needed <= Self.sizeLimit / header.clusterSize else {
            throw refuse(.corrupt, at: 17, "takes \(needed) clusters, more than \(Self.sizeLimit) bytes")
        }
        guard UInt64(tableSize) == needed else {
            throw refuse(.corrupt, at: 8, "bitmap_table_size is \(tableSize), but the disk needs \(needed)")
        }
    }
}

extension QCOW2Description {
    /// The parts of the disk from `start` on that `bitmap`, one of `bitmaps`, marks as written to; `file` is the
    /// image's.
    ///
    /// Throws `unsupported` for a bitmap from which nothing can be learned, and `corrupt` about its directory entry.
    public func dirtyRanges(
        of bitmap: Bitmap, in file: any HostFile, from start: GuestOffset = GuestOffset(0)
    ) throws(ImageError) -> DirtyRanges {
        try bitmap.check(header, file)
        return DirtyRanges(
            bitmap, of: file, clusterSize: header.clusterSize, diskSize: header.virtualSize, from: start.rawValue)
    }

    /// How many bytes of the disk `bitmap` marks as written to. Reads the whole bitmap; throws what `dirtyRanges` and
    /// its `next` throw, and `unsupported` where the bytes lie in more than 2^24 ranges: a small hostile image may name
    /// one cluster of bits again and again.
    public func dirtyBytes(of bitmap: Bitmap, in file: any HostFile) throws(ImageError) -> UInt64 {
        var ranges = try dirtyRanges(of: bitmap, in: file)
        var sum: UInt64 = 0
        for _ in 0..<1 << 24 {
            guard let range = try ranges.next() else { return sum }
            sum += range.count
        }
        throw ImageError(
            .unsupported, path: file.path, offset: bitmap.entryOffset, "bitmap: has too many ranges to count them")
    }
}
