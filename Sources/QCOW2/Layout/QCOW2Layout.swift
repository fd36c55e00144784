import BlockImage
import ByteFormat
import FormatCore

/// The structures of a QCOW2 file as they stand in it, sound or not: what `inspect` shows. Where a reader refuses, it
/// goes on; what is wrong is reported with the field that it is about.
public struct QCOW2Layout: FormatLayout {
    let file: any HostFile
    /// The bytes of the first cluster, or of what stands for it where the header does not say how large that is.
    let start: [UInt8]
    /// The header's fields; nil where the file is no QCOW2 image of a version that could be read so.
    let header: Header?
    /// What is wrong with the header, where there is one.
    let headerFaults: [ParseFault]
    /// The version as stored; nil where the file is shorter than that.
    public let version: UInt32?

    /// Reads the header of `file`, whatever it is. Throws where the file cannot be read at all.
    public init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        let first = try file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "header")
        version = first.count < 8 ? nil : first[4..<8].reduce(0) { $0 << 8 | UInt32($1) }
        let isMagic = first.starts(with: Header.magic)
        var faults: [ParseFault] = []
        if !isMagic { faults.append(ParseFault(at: 0, "no QCOW2 image: the magic must be 'QFI\\xfb'")) }
        if let version, version != 2, version != 3 {
            faults.append(ParseFault(at: 4, "version must be 2 or 3"))
        }
        // Another version is read as the newest: that is how its fields look to who repairs a damaged version field.
        var text = first
        if text.count >= 8 {
            text.replaceSubrange(0..<4, with: Header.magic)
            if version != 2 { text.replaceSubrange(4..<8, with: [0, 0, 0, 3]) }
        }
        var reader = ByteReader(text + Array(repeating: 0, count: max(0, 112 - text.count)))
        header = try? Header(parsing: &reader)
        headerFaults = faults + (header?.faults ?? [])
        let knowsClusters = header.map { (9...21).contains($0.clusterBits) } ?? false
        guard knowsClusters, let header, header.clusterSize > 4096 else {
            start = Array(first.prefix(knowsClusters ? Int(header?.clusterSize ?? 4096) : 4096))
            return
        }
        start = try file.bytes(Int(min(file.size, header.clusterSize)), at: HostOffset(0), of: "header cluster")
    }

    /// The bytes of a cluster; a sector where the header does not say it.
    public var unit: UInt64 { clusterSize ?? 512 }

    /// The header where clusters can be counted by it; nil where cluster_bits is wrong.
    var clusters: Header? {
        guard let header, (9...21).contains(header.clusterBits) else { return nil }
        return header
    }

    /// Where refcounts are looked up; nil where the header does not say how large they are.
    func refcounts(_ header: Header) -> RefcountLookup? {
        header.refcountOrder <= 6 ? RefcountLookup(header, of: file) : nil
    }

    /// How L2 entries are to be read. Only where there are clusters.
    func l2Format(_ header: Header) -> L2Format { L2Format(header) }

    /// The bytes of a cluster; nil where the header does not say it.
    public var clusterSize: UInt64? { clusters?.clusterSize }

    /// Reports every structure to `consumer`. Throws what the consumer throws.
    public func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        guard let header else {
            return try consumer.structure(LayoutStructure("header", at: HostOffset(0), size: 72)) {
                () throws(ImageError) in
                try consumer.fault("the file has \(counted(file.size, "byte")), and a header has at least 72")
            }
        }
        try listHeader(header, to: consumer)
        let extensions = try listExtensions(header, to: consumer, options)
        try listBackingFile(header, to: consumer)
        guard let header = clusters else { return }
        let refcounts = refcounts(header)
        try listEncryption(header, extensions, to: consumer)
        if let refcounts { try listRefcounts(header, refcounts, to: consumer, options) }
        try listSnapshots(header, to: consumer, options)
        try listBitmaps(header, extensions, to: consumer, options)
        try listL1Tables(header, refcounts, to: consumer, options)
    }
}

/// A table of 64-bit integers in the file, read a page at a time: as much of it as the file has.
struct StoredTable {
    let file: any HostFile
    /// Where it begins.
    let offset: HostOffset
    /// How many entries the file has of it.
    let count: UInt64
    /// The words of one entry, 1 or 2.
    let words: Int

    /// The bytes that are read at once.
    private static let pageSize = 65536

    /// The table of at most `count` entries at `offset`.
    init(_ file: any HostFile, at offset: UInt64, count: UInt64, words: Int = 1) {
        self.file = file
        self.offset = HostOffset(offset)
        self.words = words
        let held = offset < file.size ? (file.size - offset) / UInt64(words * 8) : 0
        self.count = min(count, held)
    }

    /// Where the entry `index` begins.
    func offset(of index: UInt64) -> HostOffset { offset.advanced(by: index * UInt64(words * 8)) }

    /// Hands over each entry: its index and its words, the second 0 where there is none. Ends where `body` answers false.
    func visit(_ body: (UInt64, UInt64, UInt64) throws(ImageError) -> Bool) throws(ImageError) {
        let perPage = UInt64(Self.pageSize / (words * 8))
        let buffer = AlignedBuffer(capacity: Self.pageSize)
        var index: UInt64 = 0
        while index < count {
            let here = min(perPage, count - index)
            let size = Int(here) * words * 8
            try buffer.fill(size) { output throws(ImageError) in
                try file.read(size, at: offset(of: index), into: &output)
            }
            let page = decodeTable(buffer.bytes, of: UInt64.self, .big)
            for place in 0..<Int(here) {
                let second = words == 2 ? page[place * 2 + 1] : 0
                guard try body(index + UInt64(place), page[place * words], second) else { return }
            }
            index += here
        }
    }
}
