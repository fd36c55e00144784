import BlockImage
import ByteFormat

/// The label of a physical volume of LVM2, in one of its first four sectors, and the header in it: lib/label/label.h and
/// lib/format_text/layout.h of LVM2.
///
///     OFFSET SIZE FIELD
///          0    8 id: "LABELONE"
///          8    8 sector_xl: the sector that it is in
///         16    4 crc_xl: of all from offset 20 to the end of the sector
///         20    4 offset_xl: where the header (pv_header) begins
///         24    8 type: "LVM2 001"
///
///     pv_header
///          0   32 pv_uuid
///         32    8 device_size_xl, in bytes
///         40   16 for each data area: offset and size in bytes; one of zeros ends the list
///               16 for each metadata area, the same
///
/// All integers are little-endian.
struct Label: Hashable, Sendable {
    /// Where an area begins and how long it is, in bytes.
    struct Area: Hashable, Sendable {
        var offset: UInt64
        var size: UInt64
    }

    static let sectorSize = 512
    /// How many sectors may have it.
    static let sectorCount = 4
    static let id = Array("LABELONE".utf8)

    /// Which physical volume it is.
    var volume: VolumeID
    /// The size of the device that the volume was made on.
    var deviceSize: UInt64
    /// Where the group's description is.
    var metadataAreas: [Area]

    /// The label in `sector`, the sector `index` of the volume. Throws what is wrong with it.
    init(parsing sector: [UInt8], at index: Int) throws(ParseFault) {
        var reader = ByteReader(sector)
        try reader.skip(8)
        let place: UInt64 = try reader.read(.little)
        guard place == UInt64(index) else {
            throw ParseFault(at: 8, "the label says that it is in sector \(place), but it is in \(index)")
        }
        let sum: UInt32 = try reader.read(.little)
        let found = lvmChecksum(of: Array(sector.dropFirst(20)))
        guard sum == found else {
            throw ParseFault(
                at: 16, "the check sum of the label is \(hexadecimal(found)), but must be \(hexadecimal(sum))")
        }
        let header = Int(clamping: try reader.read(.little, as: UInt32.self))
        guard header >= 32, header < sector.count else {
            throw ParseFault(at: 20, "the header is at \(header), but must be at 32 to \(sector.count)")
        }
        reader = ByteReader(sector, at: header)
        guard let volume = VolumeID(try reader.read(bytes: 32)) else {
            throw ParseFault(at: header, "the identifier of the physical volume has other characters than LVM uses")
        }
        self.volume = volume
        deviceSize = try reader.read(.little)
        while try Self.area(&reader) != nil {}
        metadataAreas = []
        while let area = try Self.area(&reader) { metadataAreas.append(area) }
    }

    /// Whether `sector` begins as a label of LVM2 does.
    static func isThere(in sector: some Collection<UInt8>) -> Bool {
        sector.starts(with: id) && sector.dropFirst(24).starts(with: "LVM2 001".utf8)
    }

    /// The next area of a list; nil at its end.
    private static func area(_ reader: inout ByteReader) throws(ParseFault) -> Area? {
        let area = Area(offset: try reader.read(.little), size: try reader.read(.little))
        return area.offset == 0 ? nil : area
    }
}

/// The first sector of a metadata area (mda_header): lib/format_text/layout.h of LVM2.
///
///     OFFSET SIZE FIELD
///          0    4 checksum_xl: of the other 508 bytes
///          4   16 magic
///         20    4 version: 1
///         24    8 start: where the area begins on the volume
///         32    8 size of the area in bytes, this sector included
///         40   24 for each text (raw_locn), the current one first: offset from the area's start, size, check sum, flags;
///                 an offset of 0 ends the list
struct MetadataHeader: Sendable {
    static let magic: [UInt8] = Array(" LVM2 x[5A%r0N*>".utf8)
    /// Set where the text is not kept up to date.
    private static let ignored: UInt32 = 1

    /// The size of the area.
    var size: UInt64
    /// Where in the area the current text is: its offset, size and check sum; nil where there is none.
    var text: (offset: UInt64, size: UInt64, sum: UInt32)?

    /// The header in `sector`, of the area that begins at `start`.
    init(parsing sector: [UInt8], at start: UInt64) throws(ParseFault) {
        var reader = ByteReader(sector)
        let sum: UInt32 = try reader.read(.little)
        let found = lvmChecksum(of: Array(sector.dropFirst(4)))
        guard try reader.read(bytes: 16) == Self.magic else {
            throw ParseFault(at: 4, "there is no header of a metadata area")
        }
        guard sum == found else {
            throw ParseFault(
                at: 0, "the check sum of the header is \(hexadecimal(found)), but must be \(hexadecimal(sum))")
        }
        let version: UInt32 = try reader.read(.little)
        guard version == 1 else { throw ParseFault(at: 20, "the version is \(version), but must be 1") }
        let place: UInt64 = try reader.read(.little)
        guard place == start else {
            throw ParseFault(at: 24, "the header says that it is at \(place), but it is at \(start)")
        }
        size = try reader.read(.little)
        let (offset, count): (UInt64, UInt64) = (try reader.read(.little), try reader.read(.little))
        let textSum: UInt32 = try reader.read(.little)
        let flags: UInt32 = try reader.read(.little)
        guard offset != 0, flags & Self.ignored == 0 else { return }
        guard offset >= UInt64(sector.count), offset < size, count <= size - UInt64(sector.count) else {
            throw ParseFault(
                at: 40,
                "the text is \(count) bytes at \(offset) of the area, but the area has \(size) bytes, the header included"
            )
        }
        text = (offset, count, textSum)
    }
}
