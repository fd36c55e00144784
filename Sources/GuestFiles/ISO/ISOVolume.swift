import BlockImage
import ByteFormat

/// A primary or supplementary volume descriptor: ECMA-119, 8.4 and 8.5.
///
///     OFFSET SIZE FIELD (of those that are read)
///          0    1 type: 1 primary, 2 supplementary, 255 the last
///          1    5 "CD001"
///         40   32 volume identifier
///         80    8 volume space size, in logical blocks
///         88   32 escape sequences: those of Joliet are "%/@", "%/C" and "%/E"
///        128    4 logical block size
///        156   34 directory record of the root
///        813   17 when the volume was made
///        830   17 when it was changed
///
/// Integers are there in both byte orders, one after the other; as in Linux, the little-endian ones count.
struct ISOVolume: Hashable, Sendable {
    /// The bytes of a sector of a CD, in which volume descriptors and directories are counted.
    static let sectorSize = 2048

    /// Where it lies on the disk.
    let offset: UInt64
    let blockSize: UInt64
    /// The blocks of the whole volume.
    let blocks: UInt64
    /// Where the root directory begins, in bytes.
    let root: UInt64
    private let identifier: ArraySlice<UInt8>
    /// When it was made and changed, as 16 digits and a zone.
    private let times: [ArraySlice<UInt8>]

    /// What is in the sector `bytes` at `offset`. Throws what contradicts itself.
    init(parsing bytes: [UInt8], at offset: UInt64) throws(ParseFault) {
        self.offset = offset
        identifier = bytes[40..<72]
        times = [bytes[830..<847], bytes[813..<830]]
        blocks = UInt64(littleEndian(bytes[...], 80, as: UInt32.self))
        blockSize = UInt64(littleEndian(bytes[...], 128, as: UInt16.self))
        guard [512, 1024, 2048].contains(blockSize) else {
            throw ParseFault(at: 128, "the logical block size is \(blockSize), but must be 512, 1024 or 2048")
        }
        // The factors have at most 33 and 12 bits.
        root = (UInt64(littleEndian(bytes[...], 158, as: UInt32.self)) + UInt64(bytes[157])) * blockSize
    }

    /// The identifier in UTF-8, without the spaces at its end.
    var label: String {
        String(decoding: Self.trimmed(identifier), as: UTF8.self)
    }

    /// The same of Joliet's identifier, in UTF-16.
    var jolietLabel: String {
        let units = Self.units(of: identifier).prefix { $0 != 0 }
        return String(decoding: Self.trimmed(GuestName.utf8(units)[...]), as: UTF8.self)
    }

    /// Whether it is that of `joliet`, where that has its letters in UTF-16 as far as there is space for them.
    func hasLabel(of joliet: ISOVolume) -> Bool {
        identifier.prefix(16).map { UInt16($0) } == Self.units(of: joliet.identifier)
    }

    private static func units(of bytes: ArraySlice<UInt8>) -> [UInt16] { ISOName.units(of: bytes) }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let text = bytes.prefix { $0 != 0 }
        guard let last = text.lastIndex(where: { $0 != UInt8(ascii: " ") }) else { return [] }
        return text[...last]
    }

    /// When it was changed, or else made, as blkid(8) writes it; nil where neither is known.
    var uuid: String? {
        for time in times {
            let isUnknown = time.allSatisfy { $0 == UInt8(ascii: "0") || $0 == 0 } && time.last == 0
            let digits = time.prefix(16)
            guard !isUnknown, digits.allSatisfy({ (0x20..<0x7f).contains($0) }) else { continue }
            let text = String(decoding: digits, as: UTF8.self)
            let rest = text.dropFirst(4)
            let pairs = stride(from: 0, to: 12, by: 2).map { String(rest.dropFirst($0).prefix(2)) }
            return ([String(text.prefix(4))] + pairs).joined(separator: "-")
        }
        return nil
    }
}

/// The volume descriptors of a disk.
struct ISOVolumes: Sendable {
    /// The first one, in bytes.
    private static let start: UInt64 = 0x8000
    /// How many Linux looks at.
    private static let limit: UInt64 = 84

    private(set) var primary: ISOVolume?
    private(set) var joliet: ISOVolume?
    /// Whether the disk says that it has UDF as well, or only that.
    private(set) var hasUDF = false
    /// Whether there is the format that ISO 9660 was made of.
    private(set) var isHighSierra = false

    /// Those of `disk`. Throws `corrupt` for one that contradicts itself.
    init(of disk: GuestDisk) throws(ImageError) {
        var isEnded = false
        for index in 0..<Self.limit {
            let offset = Self.start + index * UInt64(ISOVolume.sectorSize)
            guard disk.image.virtualSize >= offset + UInt64(ISOVolume.sectorSize) else { return }
            let bytes = try disk.bytes(ISOVolume.sectorSize, at: offset)
            let identifier = bytes[1..<6]
            if identifier.elementsEqual("CD001".utf8) {
                if !isEnded { try add(bytes, at: offset, of: disk) }
                isEnded = isEnded || bytes[0] == 255
            } else if ["NSR02", "NSR03"].contains(where: { identifier.elementsEqual($0.utf8) }) {
                hasUDF = true
            } else if !["BEA01", "BOOT2", "TEA01"].contains(where: { identifier.elementsEqual($0.utf8) }) {
                if index == 0, bytes[9..<14].elementsEqual("CDROM".utf8) { isHighSierra = true }
                // Linux goes on to look for the last one, and UDF is described right behind it.
                if isEnded || primary == nil { return }
            }
        }
    }

    private mutating func add(_ bytes: [UInt8], at offset: UInt64, of disk: GuestDisk) throws(ImageError) {
        let isJoliet = bytes[0] == 2 && bytes[88..<90].elementsEqual("%/".utf8) && "@CE".utf8.contains(bytes[90])
        guard bytes[0] == 1 && primary == nil || isJoliet && joliet == nil else { return }
        do throws(ParseFault) {
            let volume = try ISOVolume(parsing: bytes, at: offset)
            if isJoliet { joliet = volume } else { primary = volume }
        } catch {
            throw disk.corrupt(at: offset + UInt64(clamping: error.position), "\(error.message)")
        }
    }
}
