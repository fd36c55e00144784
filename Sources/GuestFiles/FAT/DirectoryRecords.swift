import BlockImage

/// The 32-byte records of a directory, one after the other.
struct DirectoryRecords {
    /// The bytes of one.
    static let size = 32
    private static let pieceSize: UInt64 = 32768

    /// One of them, and where it is on the disk.
    struct Record {
        var bytes: ArraySlice<UInt8>
        var offset: UInt64
    }

    private let disk: GuestDisk
    private let ranges: [Range<UInt64>]
    private let fault: ImageError?
    private var next = 0
    private var position: UInt64 = 0
    private var piece: ArraySlice<UInt8> = []
    private var pieceEnd: UInt64 = 0
    private var putBack: Record?

    /// Those in `ranges` of the disk, in that order; then `fault` is thrown, if any.
    init(_ ranges: [Range<UInt64>], of disk: GuestDisk, fault: ImageError? = nil) {
        (self.ranges, self.disk, self.fault) = (ranges, disk, fault)
        position = ranges.first?.lowerBound ?? 0
    }

    /// The next one; nil after the last.
    mutating func record() throws(ImageError) -> Record? {
        if let record = putBack {
            putBack = nil
            return record
        }
        while piece.isEmpty {
            guard next < ranges.count else {
                if let fault { throw fault }
                return nil
            }
            guard position < ranges[next].upperBound else {
                next += 1
                if next < ranges.count { position = ranges[next].lowerBound }
                continue
            }
            let count = min(Self.pieceSize, ranges[next].upperBound - position)
            piece = try disk.bytes(Int(count) / Self.size * Self.size, at: position)[...]
            position += count
            pieceEnd = position
        }
        defer { piece = piece.dropFirst(Self.size) }
        return Record(bytes: piece.prefix(Self.size), offset: pieceEnd - UInt64(piece.count))
    }

    /// Has `record` be the next one again.
    mutating func putBack(_ record: Record) { putBack = record }
}
