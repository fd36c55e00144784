import BlockImage

/// A directory record: ECMA-119, 9.1.
///
///     OFFSET SIZE FIELD (of those that are read)
///          0    1 length of the record; 0: the next one begins with the next sector
///          1    1 blocks of the extended attribute record, before the data
///          2    8 location of the extent
///         10    8 data length
///         18    7 when it was recorded
///         25    1 flags: bit 1 directory, 2 associated file, 7 there is a next section
///         27    1 interleave gap size
///         32    1 length of the identifier, which follows; 0 and 1 are those of "." and ".."
///                 then, at an even byte, the system use
struct ISORecord: Sendable {
    /// The bytes of one before its identifier.
    static let headSize = 33

    /// All of it.
    let bytes: ArraySlice<UInt8>
    /// Where it lies on the disk.
    let offset: UInt64

    /// What `bytes` begin with; nil where that is none.
    init?(_ bytes: ArraySlice<UInt8>, at offset: UInt64) {
        guard let length = bytes.first, Int(length) > Self.headSize, Int(length) <= bytes.count else { return nil }
        self.bytes = bytes.prefix(Int(length))
        self.offset = offset
        guard nameCount > 0, Self.headSize + nameCount <= Int(length) else { return nil }
    }

    private func byte(_ place: Int) -> UInt8 { bytes[bytes.startIndex + place] }
    private var nameCount: Int { Int(byte(32)) }

    /// The first block of its data.
    var block: UInt64 { UInt64(littleEndian(bytes, 2, as: UInt32.self)) + UInt64(byte(1)) }
    var size: UInt32 { littleEndian(bytes, 10) }
    var time: FileTime { FileTime(record: bytes.dropFirst(18).prefix(7)) }
    var isDirectory: Bool { byte(25) & 2 != 0 }
    /// Whether it belongs to another file of the same name, which is shown.
    var isAssociated: Bool { byte(25) & 4 != 0 }
    /// Whether the next record has more of the same file.
    var isContinued: Bool { byte(25) & 0x80 != 0 }
    /// Whether its data lies in pieces with gaps.
    var isInterleaved: Bool { byte(27) != 0 }
    var identifier: ArraySlice<UInt8> { bytes.dropFirst(Self.headSize).prefix(nameCount) }
    /// Whether it is that of the directory itself.
    var isSelf: Bool { nameCount == 1 && byte(33) == 0 }
    var isParent: Bool { nameCount == 1 && byte(33) == 1 }

    /// What follows the identifier.
    var systemUse: ArraySlice<UInt8> { bytes.dropFirst((Self.headSize + nameCount + 1) / 2 * 2) }
}

/// The records of a directory, one after the other.
struct ISORecords {
    private static let pieceSize: UInt64 = 32768
    private static let sectorSize = UInt64(ISOVolume.sectorSize)

    private let disk: GuestDisk
    /// Where the first sector begins.
    private let start: UInt64
    private let end: UInt64
    /// What of the directory was not read yet, and not given yet.
    private var position: UInt64
    private var piece: ArraySlice<UInt8> = []

    /// Those in `range` of the disk, the sectors of which are counted from `start`.
    init(_ range: Range<UInt64>, of disk: GuestDisk, start: UInt64) {
        (self.disk, self.start, position, end) = (disk, start, range.lowerBound, range.upperBound)
    }

    /// The next one; nil after the last. Throws `corrupt` for what is none.
    mutating func record() throws(ImageError) -> ISORecord? {
        while true {
            if piece.isEmpty {
                guard position < end else { return nil }
                // To the end of a sector: no record reaches past one.
                let count = min(Self.pieceSize - (position - start) % Self.sectorSize, end - position)
                piece = try disk.bytes(Int(count), at: position)[...]
                position += count
            }
            let offset = position - UInt64(piece.count)
            let left = piece.prefix(Int(Self.sectorSize - (offset - start) % Self.sectorSize))
            guard left.first != 0 else {
                piece = piece.dropFirst(left.count)
                continue
            }
            guard let record = ISORecord(left, at: offset) else {
                throw disk.corrupt(
                    at: offset,
                    "the directory record has \(left.first ?? 0) bytes, but must have its name, and end before the sector does"
                )
            }
            piece = piece.dropFirst(record.bytes.count)
            return record
        }
    }
}
