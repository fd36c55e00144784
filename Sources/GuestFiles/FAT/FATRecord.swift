/// One file in a directory of FAT: Microsoft's FAT specification 1.03, "FAT Directory".
///
///     OFFSET SIZE FIELD
///          0   11 DIR_Name: 0 at its first byte ends the directory, 0xe5 stands there where it was deleted, 0x05 for 0xe5
///         11    1 DIR_Attr
///         12    1 DIR_NTRes: bit 3: the name, bit 4: the extension is in lower case
///         13    1 DIR_CrtTimeTenth: hundredths of a second, 0 to 199
///         14    2 DIR_CrtTime
///         16    2 DIR_CrtDate
///         18    2 DIR_LstAccDate
///         20    2 DIR_FstClusHI: in FAT32
///         22    2 DIR_WrtTime
///         24    2 DIR_WrtDate
///         26    2 DIR_FstClusLO
///         28    4 DIR_FileSize: 0 for directories
struct FATRecord {
    /// What a record of a directory is.
    enum Kind {
        case end, deleted, longName, label, file
    }

    private static let readOnly: UInt8 = 1
    private static let volume: UInt8 = 8
    private static let directory: UInt8 = 16

    let bytes: ArraySlice<UInt8>
    /// Where on the disk it is.
    let offset: UInt64
    let kind: Kind

    /// The record `record`.
    init(_ record: DirectoryRecords.Record) {
        (bytes, offset) = (record.bytes, record.offset)
        let attributes: UInt8 = littleEndian(bytes, 11)
        switch littleEndian(bytes, 0, as: UInt8.self) {
        case 0: kind = .end
        case 0xe5: kind = .deleted
        default:
            kind = attributes & 0x3f == 0x0f ? .longName : attributes & Self.volume != 0 ? .label : .file
        }
    }

    private var attributes: UInt8 { littleEndian(bytes, 11) }
    var isReadOnly: Bool { attributes & Self.readOnly != 0 }
    var isDirectory: Bool { attributes & Self.directory != 0 }
    var size: UInt32 { littleEndian(bytes, 28) }

    /// The first cluster of the file: its upper half is something else in FAT12 and FAT16.
    func firstCluster(_ width: ClusterTable.Width) -> UInt32 {
        let low = UInt32(littleEndian(bytes, 26, as: UInt16.self))
        return width == .fat32 ? UInt32(littleEndian(bytes, 20, as: UInt16.self)) << 16 | low : low
    }

    /// Whether it is "." or "..".
    var isDots: Bool {
        let name = storedName
        return name.first == UInt8(ascii: ".") && name.dropFirst(2).allSatisfy { $0 == UInt8(ascii: " ") }
            && (name[1] == UInt8(ascii: ".") || name[1] == UInt8(ascii: " "))
    }

    /// The eleven bytes.
    private var storedName: [UInt8] { Array(bytes.prefix(11)) }

    /// The sum of the short name that belongs to the long one.
    var checksum: UInt8 {
        bytes.prefix(11).reduce(0) { ($0 << 7 | $0 >> 1) &+ $1 }
    }

    /// The short name, as Linux shows it with `shortname=mixed`.
    var shortName: [UInt8] {
        var name = storedName
        if name[0] == 0x05 { name[0] = 0xe5 }
        let flags: UInt8 = littleEndian(bytes, 12)
        let base = FATText.codePage437(Self.trimmed(name[..<8]), isLower: flags & 8 != 0)
        let suffix = FATText.codePage437(Self.trimmed(name[8...]), isLower: flags & 16 != 0)
        return GuestName.utf8(suffix.isEmpty ? base : base + [UInt16(UInt8(ascii: "."))] + suffix)
    }

    /// The name of the volume, if it is a label.
    var label: String {
        var name = storedName
        if name[0] == 0x05 { name[0] = 0xe5 }
        return String(
            decoding: GuestName.utf8(FATText.codePage437(Self.trimmed(name[...]), isLower: false)), as: UTF8.self)
    }

    /// `bytes` to the first NUL, without the spaces at the end.
    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let name = bytes.prefix { $0 != 0 }
        return name.prefix((name.lastIndex { $0 != UInt8(ascii: " ") } ?? name.startIndex - 1) - name.startIndex + 1)
    }

    /// The times when it was changed, read and made.
    var modified: (date: UInt16, time: UInt16) { (littleEndian(bytes, 24), littleEndian(bytes, 22)) }
    var accessedDate: UInt16 { littleEndian(bytes, 18) }
    var born: (date: UInt16, time: UInt16, hundredths: UInt8) {
        (littleEndian(bytes, 16), littleEndian(bytes, 14), littleEndian(bytes, 13))
    }
}

/// A long name, which is put together of the records before that of its file: "FAT Long Directory Entries" in the
/// specification.
///
///     OFFSET SIZE FIELD
///          0    1 LDIR_Ord: which part it is, from 1; bit 6 is set in the last one, which comes first
///          1   10 LDIR_Name1: five characters in UTF-16
///         11    1 LDIR_Attr: 0x0f
///         13    1 LDIR_Chksum: of the short name
///         14   12 LDIR_Name2: six
///         28    4 LDIR_Name3: two
struct FATLongName {
    private static let partSize = 13
    private static let partLimit = 20

    private var units: [UInt16] = []
    /// How many parts are still to come; nil where there is no name, or a broken one.
    private var partsLeft: Int?
    private var checksum: UInt8 = 0

    /// None yet.
    init() {}

    /// Forgets what there is.
    mutating func reset() { partsLeft = nil }

    /// Adds the part in `record`. One that does not go on where the last one ended makes the name broken.
    mutating func add(_ record: FATRecord) {
        let order: UInt8 = littleEndian(record.bytes, 0)
        let sum: UInt8 = littleEndian(record.bytes, 13)
        let index = Int(order & 0x3f)
        if order & 0x40 != 0 {
            guard (1...Self.partLimit).contains(index) else { return reset() }
            units = [UInt16](repeating: 0, count: index * Self.partSize)
            (partsLeft, checksum) = (index, sum)
        }
        // Bit 7 is set in none.
        guard order & 0x80 == 0, index > 0, index == partsLeft, sum == checksum else { return reset() }
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30]
        for (place, position) in places.enumerated() {
            units[(index - 1) * Self.partSize + place] = littleEndian(record.bytes, position)
        }
        partsLeft = index - 1
    }

    /// The name, if it is whole and that of `record`; it is forgotten then.
    mutating func take(for record: FATRecord) -> [UInt8]? {
        defer { reset() }
        guard partsLeft == 0, checksum == record.checksum else { return nil }
        let name = GuestName.utf8(units.prefix { $0 != 0 })
        return name.isEmpty ? nil : name
    }
}
