import BlockImage

/// What the system use of a directory record says of a file: the System Use Sharing Protocol (SUSP, IEEE P1281) and the Rock
/// Ridge Interchange Protocol (RRIP, IEEE P1282).
///
///     OFFSET SIZE FIELD
///          0    2 what it is
///          2    1 its length
///          3    1 its version
///
///     SP  4  2 0xbe 0xef, 6 1 how many bytes are not of SUSP in other records; in the first record of the disk only
///     CE  4  8 block, 12 8 offset in it, 20 8 length: where there is more
///     NM  4  1 flags: bit 0 continued, 1 ".", 2 ".."; then a part of the name
///     PX  4  8 mode, 12 8 links, 20 8 user, 28 8 group
///     PN  4  8 high half of the device's number, 12 8 the low half
///     TF  4  1 flags: which times there are, in this order: made, changed, read, changed in its status; bit 7: of 17 bytes
///     SL  4  1 flags; then parts of the target: flags, length, text
///     CL  4  8 block of the directory that was moved; PL of the one that it was in; RE: it was moved to here
///     ZF  4  2 "pz", 8 8 size before compression
///     SF        the file is stored without its holes
struct RockRidge: Sendable {
    /// Of a file that is stored otherwise than it is read.
    enum Coding: Sendable { case compressed, sparse }

    /// The areas of one record; Linux follows as many.
    private static let areaLimit = 32
    private static let nameLimit = 255

    /// Whether the first record said that there is SUSP, and RRIP or what goes by its name.
    private(set) var skip: Int?
    private(set) var hasExtension = false
    private(set) var mode: UInt32?
    private(set) var links: UInt32 = 1
    private(set) var user: UInt32 = 0
    private(set) var group: UInt32 = 0
    private(set) var device: (major: UInt32, minor: UInt32)?
    private(set) var made: FileTime?
    private(set) var modified: FileTime?
    private(set) var accessed: FileTime?
    private(set) var changed: FileTime?
    /// The target of a link.
    private(set) var target = LinkTarget()
    /// The block of the directory that is meant.
    private(set) var child: UInt32?
    /// Whether the directory is shown elsewhere.
    private(set) var isMoved = false
    private(set) var coding: Coding?
    /// Its bytes before compression.
    private(set) var size: UInt64?
    /// What was wrong, and where; what comes after it is not known.
    private(set) var fault: (offset: UInt64, detail: ErrorText)?
    private var parts: [UInt8] = []

    /// The name; nil where there is none, or what has it is damaged.
    var name: [UInt8]? { fault != nil || parts.isEmpty ? nil : parts }

    /// What `record` has, but for its first `skip` bytes; more of it is read from `disk`, in blocks of `blockSize`.
    init(
        _ record: ISORecord, skip: Int, blockSize: UInt64, of disk: GuestDisk, _ areas: inout ContinuationAreas
    ) throws(ImageError) {
        var area = record.systemUse.dropFirst(skip)
        var offset = record.offset + UInt64(area.startIndex - record.bytes.startIndex)
        for _ in 0..<Self.areaLimit {
            var next: Continuation?
            while area.count >= 4 {
                let length = Int(area[area.startIndex + 2])
                guard length >= 4, length <= area.count else {
                    // Linux ends here as well; bytes that were left over begin with 0.
                    if area.first == 0 { break }
                    fault = (offset, "an entry of the system use has \(length) bytes, but \(area.count) are left")
                    return
                }
                let entry = area.prefix(length)
                let kind = Kind(rawValue: UInt16(entry[entry.startIndex]) << 8 | UInt16(entry[entry.startIndex + 1]))
                if let kind, length < kind.least {
                    fault = (offset, "the entry of the system use has \(length) bytes, but must have \(kind.least)")
                    return
                }
                if kind == .end { break }
                if kind == .continuation { next = Continuation(entry) }
                if let kind { take(entry, kind) }
                area = area.dropFirst(length)
                offset += UInt64(length)
            }
            guard let next else { return }
            offset = UInt64(next.block) * blockSize + UInt64(next.offset)
            guard UInt64(next.offset) + UInt64(next.size) <= blockSize else {
                fault = (
                    offset, "the continuation of the system use has \(next.size) bytes, more than its block has left"
                )
                return
            }
            area = try areas.bytes(Int(next.size), at: offset, of: disk)
        }
        fault = (offset, "the system use of \(GuestOffset(record.offset)) has more than \(Self.areaLimit) parts")
    }

    private mutating func take(_ entry: ArraySlice<UInt8>, _ kind: Kind) {
        func number(_ place: Int) -> UInt32 { littleEndian(entry, place) }
        switch kind {
        case .protocolHere:
            guard entry.dropFirst(4).prefix(2).elementsEqual([0xbe, 0xef]) else { break }
            skip = Int(entry[entry.startIndex + 6])
        case .extensions: hasExtension = true
        case .name: addName(entry)
        case .attributes: (mode, links, user, group) = (number(4), number(12), number(20), number(28))
        case .device:
            let (high, low) = (number(4), number(12))
            // Some writers put the whole number into the low half. Linux has 12 bits for the upper number, 20 for the lower.
            let packed = high == 0 && low > 0xff ? (low >> 8) << 20 | low & 0xff : high << 20 | low
            device = (packed >> 20, packed & 0xfffff)
        case .times: addTimes(entry)
        case .link: target.add(entry)
        case .child: child = number(4)
        case .moved: isMoved = true
        case .compressed:
            coding = .compressed
            size = UInt64(number(8))
        case .sparse: coding = .sparse
        case .continuation, .end: break
        }
    }

    private mutating func addName(_ entry: ArraySlice<UInt8>) {
        // Those of "." and ".." say so by a flag; the others are reserved.
        guard entry[entry.startIndex + 4] & ~1 == 0 else { return }
        // Linux leaves out a part with which the name would have more than 253 bytes, and all after it.
        parts += entry.dropFirst(5).prefix { $0 != 0 }.prefix(Self.nameLimit - parts.count)
    }

    private mutating func addTimes(_ entry: ArraySlice<UInt8>) {
        let flags = entry[entry.startIndex + 4]
        let size = flags & 0x80 == 0 ? 7 : 17
        var rest = entry.dropFirst(5)
        for bit in 0..<4 where flags & 1 << UInt8(bit) != 0 {
            guard rest.count >= size else { return }
            let time = size == 7 ? FileTime(record: rest.prefix(7)) : FileTime(digits: rest.prefix(17))
            switch bit {
            case 0: made = time
            case 1: modified = time
            case 2: accessed = time
            default: changed = time
            }
            rest = rest.dropFirst(size)
        }
    }
}

extension RockRidge {
    /// What entries are read, by their two letters.
    private enum Kind: UInt16 {
        case protocolHere = 0x5350
        case continuation = 0x4345
        case end = 0x5354
        case extensions = 0x4552
        case name = 0x4e4d
        case attributes = 0x5058
        case device = 0x504e
        case times = 0x5446
        case link = 0x534c
        case child = 0x434c
        case moved = 0x5245
        case compressed = 0x5a46
        case sparse = 0x5346

        /// The fewest bytes that one has.
        var least: Int {
            switch self {
            case .protocolHere: 7
            case .continuation: 28
            case .extensions: 8
            case .name, .times, .link: 5
            case .attributes: 36
            case .device: 20
            case .child: 12
            case .compressed: 16
            case .end, .moved, .sparse: 4
            }
        }
    }

    /// Where the system use of a record goes on.
    private struct Continuation {
        var block: UInt32
        var offset: UInt32
        var size: UInt32

        init(_ entry: ArraySlice<UInt8>) {
            (block, offset, size) = (littleEndian(entry, 4), littleEndian(entry, 12), littleEndian(entry, 20))
        }
    }
}

/// The sectors that the system use of records goes on in: those of neighbours are mostly in the same one, which is kept.
struct ContinuationAreas {
    private var start: UInt64?
    private var sector: [UInt8] = []

    /// None yet.
    init() {}

    /// The `count` bytes at `offset` of `disk`, which are in one sector.
    mutating func bytes(_ count: Int, at offset: UInt64, of disk: GuestDisk) throws(ImageError) -> ArraySlice<UInt8> {
        let size = UInt64(ISOVolume.sectorSize)
        let wanted = offset / size * size
        if start != wanted {
            sector = try disk.bytes(ISOVolume.sectorSize, at: wanted)
            start = wanted
        }
        return sector.dropFirst(Int(offset - wanted)).prefix(count)
    }
}

/// The target of a link, in parts: RRIP, 4.1.3.
///
///     OFFSET SIZE FIELD (of a part)
///          0    1 flags: bit 0 the name goes on in the next part, 1 ".", 2 "..", 3 "/"
///          1    1 length of the text, which follows
struct LinkTarget: Sendable {
    private(set) var path: [UInt8] = []
    /// Whether a part is damaged, or of a kind that Linux does not know either.
    private(set) var isDamaged = false

    /// No parts yet.
    init() {}

    /// Adds those in `entry`.
    mutating func add(_ entry: ArraySlice<UInt8>) {
        let goesOn = entry[entry.startIndex + 4] & 1 != 0
        var rest = entry.dropFirst(5)
        while rest.count >= 2 {
            let (flags, length) = (rest[rest.startIndex], Int(rest[rest.startIndex + 1]))
            rest = rest.dropFirst(2)
            guard length <= rest.count else {
                isDamaged = true
                return
            }
            switch flags & ~1 {
            case 0: path += rest.prefix(length)
            case 2: path += ".".utf8
            case 4: path += "..".utf8
            case 8: path += "/".utf8
            default: isDamaged = true
            }
            rest = rest.dropFirst(length)
            let hasNext = rest.count >= 2 || goesOn
            if hasNext, flags & 1 == 0, flags & 8 == 0 { path += "/".utf8 }
        }
    }
}
