import BlockImage
import ByteFormat

/// What an entry of a grain table says about its grain.
enum GrainMapping: Equatable {
    /// Nothing is stored: the parent decides, and without one it is zeros.
    case unallocated
    /// The grain is zeros, whatever the parent has.
    case zeroed
    /// The grain lies at this sector of the file.
    case allocated(sector: UInt64)
    /// No grain can be what the entry says: see `TableFormat.grainFault`.
    case invalid
}

/// How the entries of the grain directory and of the grain tables of an extent are to be read.
enum TableFormat: Sendable {
    /// Sectors of 32 bits; 1 stands for zeros where the flags say so.
    case hosted(hasZeroedGrains: Bool)
    /// Sectors of 32 bits.
    case cowd
    /// Words of 64 bits, which count in areas of the file.
    case seSparse(SESparseAreas)

    /// The bytes of an entry.
    var entrySize: Int {
        switch self {
        case .hosted, .cowd: 4
        case .seSparse: 8
        }
    }

    /// The table of `count` entries at `sector`, which must be less than 2^55.
    func table(in file: any HostFile, sector: UInt64, count: Int, name: String) -> TableLocation {
        TableLocation(
            file: file, offset: HostOffset(sector * sectorSize), count: count, entrySize: entrySize, name: name,
            decode: entrySize == 8 ? decodeWideTable : decodeNarrowTable)
    }

    /// The sector of the grain table that an entry of the grain directory other than 0 names; nil where none can.
    func tableSector(_ entry: UInt64) -> UInt64? {
        switch self {
        case .hosted, .cowd: entry
        case .seSparse(let areas): areas.tableSector(entry)
        }
    }

    /// Why `tableSector` is nil.
    func tableFault(_ entry: UInt64) -> String {
        if case .seSparse(let areas) = self { areas.tableFault(entry) } else { "" }
    }

    /// The meaning of an entry of a grain table. Sectors are less than 2^54.
    func grain(_ entry: UInt64) -> GrainMapping {
        switch (self, entry) {
        case (.seSparse(let areas), _): areas.grain(entry)
        case (_, 0): .unallocated
        case (.hosted(hasZeroedGrains: true), 1): .zeroed
        // The second sector of the file is part of its header or descriptor.
        case (_, 1): .invalid
        default: .allocated(sector: entry)
        }
    }

    /// Why the entry is `invalid`.
    func grainFault(_ entry: UInt64) -> String {
        switch self {
        case .hosted: "is 1, which means zeros only where flags has bit 2, and no grain can lie there"
        case .cowd: "is 1, which lies in the header, where no grain can lie"
        case .seSparse(let areas): areas.grainFault(entry)
        }
    }
}

// Functions, since a closure that captures the size of an entry would be allocated for each look-up.
private func decodeWideTable(_ bytes: RawSpan) -> [UInt64] { decodeTable(bytes, of: UInt64.self, .little) }
private func decodeNarrowTable(_ bytes: RawSpan) -> [UInt64] { decodeTable(bytes, of: UInt32.self, .little) }

/// Where the grain tables and the grains of an seSparse extent lie, in sectors; each area ends within `sectorLimit`.
///
/// An entry of the grain directory is 0, or
///
///     BITS  FIELD
///     63-32 0x10000000
///     31-0  number of the grain table: 64 sectors each, from the start of the tables on
///
/// and an entry of a grain table is
///
///     BITS  FIELD
///     63-60 type: 0 unallocated (the rest is 0), 1 unmapped, 2 zeroed, 3 allocated
///     59-48 number of the grain, its low 12 bits
///     47-0  number of the grain, its high 48 bits
///
/// as QEMU's block/vmdk.c reads them: VMware has not published the format.
struct SESparseAreas: Sendable {
    let tablesOffset: UInt64
    let tablesSize: UInt64
    let grainsOffset: UInt64
    let grainsSize: UInt64

    static let tableMark = BitField<UInt64>(32...63)
    static let tableNumber = BitField<UInt64>(0...31)
    static let grainType = BitField<UInt64>(60...63)
    static let grainNumberLow = BitField<UInt64>(48...59)
    static let grainNumberHigh = BitField<UInt64>(0...47)

    private var tableCount: UInt64 { tablesSize / SESparseHeader.tableSize }
    private var grainCount: UInt64 { grainsSize / SESparseHeader.grainSize }

    func tableSector(_ entry: UInt64) -> UInt64? {
        let number = Self.tableNumber.value(in: entry)
        guard Self.tableMark.value(in: entry) == 0x1000_0000, number < tableCount else { return nil }
        return tablesOffset + number * SESparseHeader.tableSize
    }

    func tableFault(_ entry: UInt64) -> String {
        let number = Self.tableNumber.value(in: entry)
        return Self.tableMark.value(in: entry) == 0x1000_0000
            ? "names grain table \(number), but there are \(tableCount)"
            : "is \(hexadecimal(entry)), but must be 0 or begin with 0x10000000"
    }

    func grain(_ entry: UInt64) -> GrainMapping {
        switch Self.grainType.value(in: entry) {
        case 0: return entry == 0 ? .unallocated : .invalid
        // Unmapped: the guest discarded it, so that the parent's data is not wanted either.
        case 1, 2: return .zeroed
        case 3:
            let number = Self.grainNumber(entry)
            guard number < grainCount else { return .invalid }
            return .allocated(sector: grainsOffset + number * SESparseHeader.grainSize)
        default: return .invalid
        }
    }

    func grainFault(_ entry: UInt64) -> String {
        Self.grainType.value(in: entry) == 3
            ? "names grain \(Self.grainNumber(entry)), but there are \(grainCount)"
            : "is \(hexadecimal(entry)), which has no meaning"
    }

    /// At most 2^60 - 1.
    private static func grainNumber(_ entry: UInt64) -> UInt64 {
        grainNumberLow.value(in: entry) | grainNumberHigh.value(in: entry) << 12
    }
}
