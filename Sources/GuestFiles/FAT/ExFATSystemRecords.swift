import BlockImage
import ByteFormat

/// What the root directory of exFAT says of the file system: its label, which clusters are in use, and which letters are the
/// same in names.
///
///     Allocation Bitmap, Up-case Table      Volume Label
///          0    1 EntryType: 0x81, 0x82          0    1 EntryType: 0x83
///          4    4 TableChecksum: of the latter   1    1 CharacterCount, at most 11
///         20    4 FirstCluster                   2   22 VolumeLabel in UTF-16
///         24    8 DataLength
struct ExFATSystemRecords: Sendable {
    /// A piece of the bitmap.
    private static let pieceSize: UInt64 = 65536

    private(set) var label: String?
    private var upcase: ExFATUpcase?
    private var bitmap: ClusterContent?

    /// What `records`, those of the root directory, say. What is damaged is noted, and comes to light again where it is needed.
    init(
        in records: DirectoryRecords, _ table: ClusterTable, _ disk: GuestDisk, noting notes: GuestNotes
    ) throws(ImageError) {
        var records = records
        do throws(ImageError) {
            while let record = try records.record(), let type = record.bytes.first, type != ExFATFile.RecordType.end {
                switch type {
                case ExFATFile.RecordType.label where label == nil: label = Self.label(record.bytes)
                case ExFATFile.RecordType.bitmap where bitmap == nil:
                    bitmap = Self.content(record, table, disk)
                case ExFATFile.RecordType.upcase where upcase == nil:
                    upcase = try Self.upcase(record, table, disk)
                default: break
                }
            }
        } catch {
            notes.add("\(error)")
        }
        if upcase == nil { notes.add("there is no sound up-case table: names are found by the capitals of Unicode") }
    }

    private static func label(_ record: ArraySlice<UInt8>) -> String? {
        let count = min(11, Int(littleEndian(record, 1, as: UInt8.self)))
        let units = (0..<count).map { littleEndian(record, 2 + $0 * 2, as: UInt16.self) }
        let label = String(decoding: GuestName.utf8(units.prefix { $0 != 0 }), as: UTF8.self)
        return label.isEmpty ? nil : label
    }

    private static func content(
        _ record: DirectoryRecords.Record, _ table: ClusterTable, _ disk: GuestDisk
    ) -> ClusterContent {
        let size: UInt64 = littleEndian(record.bytes, 24)
        let limit = min(table.heap.clusters(for: size), UInt64(table.heap.count))
        let chain = table.chain(from: littleEndian(record.bytes, 20), limit: limit, entry: record.offset)
        return ClusterContent(
            chain, size: size, writtenSize: size, in: table.heap, of: disk, entry: record.offset)
    }

    private static func upcase(
        _ record: DirectoryRecords.Record, _ table: ClusterTable, _ disk: GuestDisk
    ) throws(ImageError) -> ExFATUpcase {
        let content = content(record, table, disk)
        guard content.size <= ExFATUpcase.sizeLimit else {
            throw disk.corrupt(at: record.offset, "the up-case table has \(content.size) bytes, more than it can have")
        }
        let bytes = try content.bytes(Int(content.size), at: 0)
        let (found, stated) = (ExFATUpcase.checksum(of: bytes), littleEndian(record.bytes, 4, as: UInt32.self))
        guard found == stated else {
            throw disk.corrupt(
                at: record.offset,
                "the check sum of the up-case table is \(hexadecimal(found)), but must be \(hexadecimal(stated))")
        }
        return ExFATUpcase(bytes)
    }

    /// `units` in capitals.
    func folded(_ units: some Sequence<UInt16>) -> [UInt16] {
        upcase?.folded(units) ?? FATText.folded(GuestName.utf8(units))
    }

    /// How many clusters of `heap` are free.
    func freeClusters(in heap: ClusterHeap, of disk: GuestDisk) throws(ImageError) -> UInt64 {
        guard let bitmap else { throw disk.corrupt(at: 96, "the root directory has no allocation bitmap") }
        let count = UInt64(heap.count)
        let size = count / 8 + (count % 8 == 0 ? 0 : 1)
        guard bitmap.size >= size else {
            throw disk.corrupt(
                at: 96, "the allocation bitmap has \(bitmap.size) bytes, but \(count) clusters need \(size)")
        }
        var used: UInt64 = 0
        var position: UInt64 = 0
        while position < size {
            var bytes = try bitmap.bytes(Int(min(size - position, Self.pieceSize)), at: position)
            position += UInt64(bytes.count)
            // Bits after the last cluster mean nothing.
            if position == size, count % 8 != 0 { bytes[bytes.count - 1] &= (1 << UInt8(count % 8)) - 1 }
            used += UInt64(bytes.reduce(0) { $0 + $1.nonzeroBitCount })
        }
        return count - used
    }
}

extension ClusterContent {
    /// The `count` bytes at `offset`.
    fileprivate func bytes(_ count: Int, at offset: UInt64) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in try read(count, at: offset, into: &output) }
        return buffer.array
    }
}
