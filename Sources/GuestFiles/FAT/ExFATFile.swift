import BlockImage

/// One file in a directory of exFAT: a set of records, of which the first is "File", the second "Stream Extension", and the
/// others have the name: Microsoft's exFAT specification 1.00, "Directory Entry Definitions".
///
///     File                              Stream Extension
///          0    1 EntryType: 0x85            0    1 EntryType: 0xc0
///          1    1 SecondaryCount             1    1 GeneralSecondaryFlags: bit 1: NoFatChain
///          2    2 SetChecksum                3    1 NameLength
///          4    2 FileAttributes             8    8 ValidDataLength
///          8    4 CreateTimestamp           20    4 FirstCluster
///         12    4 LastModifiedTimestamp     24    8 DataLength
///         16    4 LastAccessedTimestamp
///         20    1 Create10msIncrement   File Name
///         21    1 LastModified10ms…          0    1 EntryType: 0xc1
///         22    3 the three UtcOffsets       2   30 FileName: 15 characters in UTF-16
struct ExFATFile {
    /// What a set may be called; bit 7 says that a record is in use.
    enum RecordType {
        static let end: UInt8 = 0
        static let bitmap: UInt8 = 0x81
        static let upcase: UInt8 = 0x82
        static let label: UInt8 = 0x83
        static let file: UInt8 = 0x85
        static let stream: UInt8 = 0xc0
        static let name: UInt8 = 0xc1

        /// Whether it is in use and belongs to the one before it.
        static func isSecondary(_ type: UInt8) -> Bool { type & 0xc0 == 0xc0 }
        /// Whether those who do not know it may do without it.
        static func isBenign(_ type: UInt8) -> Bool { type & 0x20 != 0 }
    }

    /// The most records that belong to the first one.
    static let secondaryLimit = 255

    let bytes: [UInt8]
    /// Where on the disk its first record is.
    let offset: UInt64
    /// The name in UTF-16.
    let units: [UInt16]

    /// The file whose records `bytes` are. Throws why it is none that can be read.
    init(_ bytes: [UInt8], at offset: UInt64) throws(ExFATFault) {
        (self.bytes, self.offset) = (bytes, offset)
        let size = DirectoryRecords.size
        guard bytes.count >= 3 * size, bytes[size] == RecordType.stream else {
            throw ExFATFault("the record of its content does not follow")
        }
        let length = Int(bytes[size + 3])
        var units: [UInt16] = []
        for start in stride(from: 2 * size, to: bytes.count, by: size) {
            switch bytes[start] {
            case RecordType.name where units.count < length:
                let part = bytes[start..<start + size]
                for index in 0..<15 { units.append(littleEndian(part, 2 + index * 2)) }
            case let type where RecordType.isBenign(type): break
            case let type: throw ExFATFault("a record of the type \(type) belongs to it, which is not known")
            }
        }
        guard length > 0, units.count >= length else { throw ExFATFault("its name is cut short") }
        self.units = Array(units[..<length])
    }

    /// Its times: when it was made, changed and read.
    enum Moment: Int {
        case born, modified, accessed
    }

    /// The time `moment`.
    func time(_ moment: Moment) -> FileTime {
        let place = 8 + moment.rawValue * 4
        let hundredths = moment == .accessed ? 0 : bytes[20 + moment.rawValue]
        let time = FileTime(
            date: littleEndian(bytes[...], place + 2), time: littleEndian(bytes[...], place), hundredths: hundredths)
        return time.inZone(bytes[22 + moment.rawValue])
    }

    private var stream: ArraySlice<UInt8> { bytes[DirectoryRecords.size..<2 * DirectoryRecords.size] }

    var isReadOnly: Bool { bytes[4] & 1 != 0 }
    var isDirectory: Bool { bytes[4] & 16 != 0 }
    /// Whether its clusters are neighbours, of which the FAT says nothing.
    var isContiguous: Bool { littleEndian(stream, 1, as: UInt8.self) & 2 != 0 }
    var writtenSize: UInt64 { littleEndian(stream, 8) }
    var firstCluster: UInt32 { littleEndian(stream, 20) }
    var size: UInt64 { littleEndian(stream, 24) }

    /// What it is called.
    var name: [UInt8] { GuestName.utf8(units) }

    /// The sum that it states, and that of its records.
    var checksums: (stated: UInt16, found: UInt16) {
        var sum: UInt16 = 0
        for (index, byte) in bytes.enumerated() where index != 2 && index != 3 {
            sum = (sum << 15 | sum >> 1) &+ UInt16(byte)
        }
        return (littleEndian(bytes[...], 2), sum)
    }
}

extension DirectoryRecords {
    /// The file of exFAT whose first record is `first`, of which the others are the next ones; or why it is none.
    mutating func file(_ first: Record) throws(ImageError) -> Result<ExFATFile, ExFATFault> {
        let count = Int(littleEndian(first.bytes, 1, as: UInt8.self))
        var bytes = Array(first.bytes)
        for index in 0..<count {
            guard let next = try record() else {
                return .failure(ExFATFault("the directory ends before its last record"))
            }
            guard let type = next.bytes.first, ExFATFile.RecordType.isSecondary(type) else {
                putBack(next)
                return .failure(ExFATFault("\(count) records belong to it, but only \(index) follow"))
            }
            bytes += next.bytes
        }
        do throws(ExFATFault) {
            return .success(try ExFATFile(bytes, at: first.offset))
        } catch {
            return .failure(error)
        }
    }
}

/// Why a set of records is no file.
struct ExFATFault: Error {
    /// What is wrong.
    let message: String

    /// `message` is wrong.
    init(_ message: String) { self.message = message }
}

/// The letters and their capitals in an exFAT file system: "Up-case Table" in the specification.
struct ExFATUpcase: Sendable {
    /// The most bytes of a table.
    static let sizeLimit: UInt64 = 131_072

    private let capitals: [UInt16]

    /// The table in `bytes`: 0xffff and a number stand for so many letters that are their own capitals. Letters for which there is
    /// nothing are, too.
    init(_ bytes: [UInt8]) {
        var capitals: [UInt16] = []
        var position = 0
        while position + 1 < bytes.count, capitals.count < 65536 {
            let unit: UInt16 = littleEndian(bytes[...], position)
            position += 2
            guard unit == 0xffff, position + 1 < bytes.count else {
                capitals.append(unit)
                continue
            }
            let count: UInt16 = littleEndian(bytes[...], position)
            position += 2
            for _ in 0..<count where capitals.count < 65536 { capitals.append(UInt16(capitals.count)) }
        }
        self.capitals = capitals
    }

    /// `units` in capitals.
    func folded(_ units: some Sequence<UInt16>) -> [UInt16] {
        units.map { Int($0) < capitals.count ? capitals[Int($0)] : $0 }
    }

    /// The check sum of the table in `bytes`.
    static func checksum(of bytes: [UInt8]) -> UInt32 {
        bytes.reduce(0) { ($0 << 31 | $0 >> 1) &+ UInt32($1) }
    }
}
