import BlockImage
import ByteFormat

/// The log of a file: a ring of sectors of 4 KiB, in which entries lie one after the other (MS-VHDX 2.3).
struct LogArea {
    let file: any HostFile
    let offset: UInt64
    let length: UInt32
    /// The identifier of the entries that count.
    let id: ImageIdentity

    init(_ header: VHDXHeader, of file: any HostFile) {
        self.file = file
        offset = header.logOffset
        length = header.logLength
        id = header.logID
    }

    /// The place `count` bytes behind `position`, which is in the ring.
    func position(_ position: UInt32, advancedBy count: UInt32) -> UInt32 {
        // Both are at most 2^32 - 2^20.
        UInt32((UInt64(position) + UInt64(count)) % UInt64(length))
    }

    /// Where in the file the byte at `position` of the ring lies.
    func hostOffset(of position: UInt32) -> HostOffset { HostOffset(offset + UInt64(position)) }

    /// The `count` bytes from `position` on, which may go on at the start of the ring.
    func bytes(_ count: Int, at position: UInt32) throws(ImageError) -> [UInt8] {
        let first = min(count, Int(length - position))
        let bytes = try file.bytes(first, at: hostOffset(of: position), of: "log")
        return first == count ? bytes : bytes + (try file.bytes(count - first, at: HostOffset(offset), of: "log"))
    }

    /// The header of the entry at `position`; nil where none of this log begins there.
    func header(at position: UInt32) throws(ImageError) -> LogEntryHeader? {
        let bytes = try bytes(LogEntryHeader.size, at: position)
        guard let header = try? LogEntryHeader(parsing: bytes, logLength: length), header.logID == id else {
            return nil
        }
        return header
    }

    /// Whether the entry at `position`, which begins with `header`, is whole: its check sum, its descriptors and its data sectors.
    func isWhole(_ header: LogEntryHeader, at position: UInt32) throws(ImageError) -> Bool {
        let bytes = try bytes(Int(header.entryLength), at: position)
        var reader = ByteReader(bytes, at: 4)
        return (try? reader.checkSum(of: bytes.count)) != nil && Self.writes(of: header, bytes) != nil
    }

    /// What the entry at `position`, which begins with `header`, writes, in its order. Throws where it is not whole.
    func writes(of header: LogEntryHeader, at position: UInt32) throws(ImageError) -> [LogWrite] {
        guard let writes = Self.writes(of: header, try bytes(Int(header.entryLength), at: position)) else {
            throw ImageError(
                .corrupt, path: file.path, offset: hostOffset(of: position), "log: the entry changed while it was read")
        }
        return writes.map { write in
            var write = write
            // Counted from the start of the entry so far.
            write.sector = self.position(position, advancedBy: write.sector)
            return write
        }
    }

    private static func writes(of header: LogEntryHeader, _ bytes: [UInt8]) -> [LogWrite]? {
        let sectorSize = LogEntryHeader.sectorSize
        var reader = ByteReader(bytes, at: LogEntryHeader.size)
        var writes: [LogWrite] = []
        // As far as the entry was checked to go.
        var sector = Int(header.descriptorSectors) * sectorSize
        for _ in 0..<header.descriptorCount {
            guard let found = try? LogDescriptor(parsing: &reader, sequenceNumber: header.sequenceNumber) else {
                return nil
            }
            writes.append(LogWrite(descriptor: found, sector: UInt32(clamping: sector)))
            guard case .data = found.content else { continue }
            guard isData(bytes, at: sector, sequenceNumber: header.sequenceNumber) else { return nil }
            sector += sectorSize
        }
        return writes
    }

    /// Whether a data sector of the entry `sequenceNumber` is at `position` of its `bytes` (MS-VHDX 2.3.1.4):
    ///
    ///     OFFSET SIZE FIELD
    ///          0    4 signature "data"
    ///          4    4 sequenceHigh
    ///          8 4084 data
    ///       4092    4 sequenceLow
    private static func isData(_ bytes: [UInt8], at position: Int, sequenceNumber: UInt64) -> Bool {
        guard position <= bytes.count - LogEntryHeader.sectorSize else { return false }
        var reader = ByteReader(bytes, at: position)
        guard (try? reader.checkSignature("data")) != nil, let high = try? reader.read(.little, as: UInt32.self),
            (try? reader.skip(4084)) != nil, let low = try? reader.read(.little, as: UInt32.self)
        else { return false }
        return UInt64(high) << 32 | UInt64(low) == sequenceNumber
    }
}

/// What one descriptor of the log writes.
struct LogWrite: Hashable {
    var descriptor: LogDescriptor
    /// Where in the log its data sector lies, where it has one.
    var sector: UInt32
}
