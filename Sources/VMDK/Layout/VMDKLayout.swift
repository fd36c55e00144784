import BlockImage
import ByteFormat
import FormatCore

/// The structures of a VMDK file as they stand in it, sound or not: what `inspect` shows. Where a reader refuses, it goes
/// on; what is wrong is reported with the field that it is about.
public struct VMDKLayout: FormatLayout {
    let file: any HostFile
    /// What the first bytes say; nil for a descriptor, and for what is none of them.
    let magic: Magic?
    /// What opens the files that extent lines name, to say where they lead; nil: they are not opened.
    let policy: (any OpenPolicy)?

    /// Looks at the first bytes of `file`, whatever it is; `policy` opens what extent lines name, if they are to be
    /// followed. Throws where the file cannot be read at all.
    public init(_ file: any HostFile, policy: (any OpenPolicy)? = nil) throws(ImageError) {
        self.file = file
        self.policy = policy
        let start = try file.bytes(Int(min(file.size, 16)), at: HostOffset(0), of: "VMDK image")
        magic = Magic(firstBytes: start)
    }

    /// A sector.
    public var unit: UInt64 { sectorSize }

    /// Reports every structure to `consumer`. Throws what the consumer throws.
    public func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        switch magic {
        case .hostedSparse: try listHosted(to: consumer, options)
        case .cowd: try listCOWD(to: consumer, options)
        case .seSparse: try listSESparse(to: consumer, options)
        case nil: try listText(to: consumer, options)
        }
    }

    /// The bytes from `offset` on, at most `count`: as many as the file has.
    func held(_ count: UInt64, at offset: UInt64, of what: String) throws(ImageError) -> [UInt8] {
        guard offset < file.size else { return [] }
        return try file.bytes(Int(min(count, file.size - offset)), at: HostOffset(offset), of: what)
    }

    /// Does what reads the file; where the host cannot, that is reported as a fault.
    func reportingReadErrors(
        _ consumer: any LayoutConsumer, _ body: () throws(ImageError) -> Void
    ) throws(ImageError) {
        do throws(ImageError) {
            try body()
        } catch {
            // What the consumer threw is about no place of this file.
            guard error.subject == .file(file.path) else { throw error }
            try consumer.fault(error.detail)
        }
    }
}

/// A grain directory with its grain tables, as a header leads to them, sound or not.
struct GrainLayout {
    /// What its entries mean.
    let format: TableFormat
    /// The first sector of the grain directory.
    let sector: UInt64
    /// The sector of the redundant one, where there is one.
    var redundantSector: UInt64?
    /// How many entries it has.
    let count: UInt64
    /// The sectors of a grain.
    let grainSize: UInt64
    /// How many entries a grain table has.
    let tableEntryCount: UInt64
    /// The size of the extent in sectors.
    let capacity: UInt64
    /// Whether the grains are compressed and have markers.
    var isCompressed = false

    /// The bytes of an entry.
    var entrySize: UInt64 { UInt64(format.entrySize) }
    /// The bytes of a grain table.
    var tableSize: UInt64 { tableEntryCount * entrySize }
    /// The bytes of the disk that a grain table covers: at most 2^42.
    var tableCoverage: UInt64 { grainSize * sectorSize * tableEntryCount }
}

/// A table of little-endian integers in the file, read a page at a time: as much of it as the file has.
struct StoredGrainTable {
    let file: any HostFile
    let offset: HostOffset
    /// How many entries the file has of it.
    let count: UInt64
    private let entrySize: UInt64

    private static let pageSize: UInt64 = 65536

    /// The table of at most `count` entries of `entrySize` bytes, 4 or 8, at `sector`.
    init(_ file: any HostFile, sector: UInt64, count: UInt64, entrySize: UInt64) {
        self.file = file
        self.entrySize = entrySize
        let start = sector <= sectorLimit ? sector * sectorSize : .max
        offset = HostOffset(start)
        self.count = start < file.size ? min(count, (file.size - start) / entrySize) : 0
    }

    /// Where the entry `index` begins.
    func offset(of index: UInt64) -> HostOffset { offset.advanced(by: index * entrySize) }

    /// The entries from `first` on that one page has, at most `limit`.
    func page(from first: UInt64, limit: UInt64 = .max) throws(ImageError) -> [UInt64] {
        let here = min(Self.pageSize / entrySize, count - first, limit)
        let buffer = AlignedBuffer(capacity: Int(Self.pageSize))
        let size = Int(here * entrySize)
        try buffer.fill(size) { output throws(ImageError) in
            try file.read(size, at: offset(of: first), into: &output)
        }
        return entrySize == 8
            ? decodeTable(buffer.bytes, of: UInt64.self, .little)
            : decodeTable(buffer.bytes, of: UInt32.self, .little)
    }

    /// Hands over each entry with its index. Ends where `body` answers false.
    func visit(_ body: (UInt64, UInt64) throws(ImageError) -> Bool) throws(ImageError) {
        var index: UInt64 = 0
        while index < count {
            let page = try page(from: index)
            for (place, entry) in page.enumerated() {
                guard try body(index + UInt64(place), entry) else { return }
            }
            index += UInt64(page.count)
        }
    }
}

/// Sectors as people read them.
func sectorsText(_ count: UInt64) -> String {
    counted(count, "sector") + (count <= sectorLimit ? " (\(humanSize(count * sectorSize)))" : "")
}

/// A sector's place as people read it.
func sectorText(_ sector: UInt64) -> String {
    sector <= sectorLimit ? "sector \(sector), at \(HostOffset(sector * sectorSize))" : "sector \(sector)"
}
